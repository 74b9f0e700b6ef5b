"""What the conformance suite tests: the tiny random model; in a long run the embedded one, as a first start has it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from enginehouse_conformance import BackendTarget, Declared, read_declared
from enginehouse_llamacpp import enginehouse_backends
from enginehouse_llamacpp.options import LlamaCppOptions
from enginehouse_plugin import Placement
from tests.weights import tiny_gguf

FEATURES = Path(__file__).parents[4] / "conformance/reports/features.toml"


@pytest.fixture(scope="session")
def embedded(weights: Path) -> Placement:
    """The embedded model."""
    return _placement("smollm2-135m", weights, 8192)


@pytest.fixture(scope="session")
def served(embedded: Placement, is_long: bool) -> Placement:
    """All rules on real weights take a slow processor a quarter of an hour."""
    return embedded if is_long else _placement("tiny", tiny_gguf(), 2048)


def _placement(model: str, path: Path, context_tokens: int) -> Placement:
    return Placement(
        model=model,
        backend="llamacpp",
        source=path.name,
        path=str(path),
        context_tokens=context_tokens,
        options=LlamaCppOptions(reproducible=True),
    )


@pytest.fixture(scope="session")
def conformance_target(served: Placement) -> BackendTarget:
    """Its features are those that the instance declares; of the file only the end of a turn is used."""
    (backend,) = enginehouse_backends()
    declared = Declared(eos_ids=read_declared(FEATURES).eos_ids)
    return BackendTarget(backend, served, declared=declared, hardware=f"{os.cpu_count()} cores, CPU")
