"""What the conformance suite tests: the Markov chain of one very long line."""

from pathlib import Path

import pytest
from enginehouse_markov import Options, enginehouse_backends

from enginehouse_conformance import BackendTarget
from enginehouse_plugin import Placement

FABLES = Path(__file__).parents[2] / "fables.txt"


@pytest.fixture(scope="session")
def conformance_target(tmp_path_factory: pytest.TempPathFactory) -> BackendTarget:
    # Rules about lengths, and about clients that leave, need answers that do not end by themselves at once.
    weights = tmp_path_factory.mktemp("weights") / "line.txt"
    weights.write_text(" ".join(FABLES.read_text().split() * 1000))
    (backend,) = enginehouse_backends()
    placement = Placement(
        model="parrot", backend="markov", source="line.txt", path=str(weights), options=Options(step_s=0.015)
    )
    return BackendTarget(backend, placement)
