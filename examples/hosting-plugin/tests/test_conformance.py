"""The rules of the contract, on the chain in a worker and as a child."""

from pathlib import Path

import pytest
from enginehouse_markov import Options
from enginehouse_markov_hosted import enginehouse_backends

from enginehouse_conformance import BackendTarget, ConformanceSuite
from enginehouse_plugin import Placement

FABLES = Path(__file__).parents[2] / "fables.txt"


class Contract(ConformanceSuite):
    rules = ("CONTRACT",)
    way: str

    @pytest.fixture(scope="class")
    @classmethod
    def conformance_target(cls, tmp_path_factory: pytest.TempPathFactory) -> BackendTarget:
        weights = tmp_path_factory.mktemp("weights") / "line.txt"
        weights.write_text(" ".join(FABLES.read_text().split() * 1000))
        (backend,) = (kind for kind in enginehouse_backends() if kind.name == cls.way)
        options = Options(step_s=0.015)
        placement = Placement(model="parrot", backend=cls.way, source="line.txt", path=str(weights), options=options)
        return BackendTarget(backend, placement)


class TestWorker(Contract):
    way = "markov-worker"


class TestChild(Contract):
    way = "markov-child"
