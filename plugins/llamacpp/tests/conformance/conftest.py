"""What the conformance suite tests: the embedded model, with the options that a first start gives it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from enginehouse_conformance import BackendTarget, Declared, read_declared
from enginehouse_llamacpp import enginehouse_backends
from enginehouse_llamacpp.options import LlamaCppOptions
from enginehouse_plugin import Placement

FEATURES = Path(__file__).parents[4] / "conformance/reports/features.toml"


@pytest.fixture(scope="session")
def served(weights: Path) -> Placement:
    """The embedded model."""
    return Placement(
        model="smollm2-135m",
        backend="llamacpp",
        source=weights.name,
        path=str(weights),
        context_tokens=8192,
        options=LlamaCppOptions(reproducible=True),
    )


@pytest.fixture(scope="session")
def conformance_target(served: Placement) -> BackendTarget:
    """Its features are those that the instance declares; of the file only the end of a turn is used."""
    (backend,) = enginehouse_backends()
    declared = Declared(eos_ids=read_declared(FEATURES).eos_ids)
    return BackendTarget(backend, served, declared=declared, hardware=f"{os.cpu_count()} cores, CPU")
