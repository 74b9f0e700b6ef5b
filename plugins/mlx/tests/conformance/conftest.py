"""What the conformance suite tests: the tiny random model in f32, with the declaration that every engine shares."""

from __future__ import annotations

from pathlib import Path

import pytest

from enginehouse_conformance import BackendTarget, read_declared
from enginehouse_mlx import enginehouse_backends
from enginehouse_mlx.options import MlxOptions
from enginehouse_plugin import Placement

FEATURES = Path(__file__).parents[4] / "conformance/reports/features.toml"


@pytest.fixture(scope="session")
def conformance_target(tiny: Path) -> BackendTarget:
    """Four slots, with the 2048 tokens each that the model has."""
    (backend,) = enginehouse_backends()
    placement = Placement(
        model="tiny", backend="mlx", source="tiny-hf", path=str(tiny), options=MlxOptions(slots=4, dtype="float32")
    )
    return BackendTarget(backend, placement, declared=read_declared(FEATURES), hardware="2 cores, CPU")
