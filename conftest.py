"""For every test here and in the packages."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from typing import Any

import pytest
import structlog
from hypothesis import settings

# A busy machine is no counterexample: what must be quick has a test of its own that says how quick.
settings.register_profile("enginehouse", deadline=None)
settings.load_profile("enginehouse")


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--long`, beside the suite's own options."""
    parser.addoption("--long", action="store_true", help="the tests that take minutes too, and more rounds of others")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Tests that take minutes run with `--long` alone; without it they are left out, and the summary says so."""
    if config.getoption("--long"):
        return
    left_out = [item for item in items if item.get_closest_marker("long")]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if not item.get_closest_marker("long")]


def pytest_collection_finish() -> None:
    """Modules and tests stay until the end: nobody has to look through them, again and again, for what may go."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def is_long(pytestconfig: pytest.Config) -> bool:
    """Whether there is time for all rounds of what is tried many times."""
    return bool(pytestconfig.getoption("--long"))


@pytest.fixture(scope="session", autouse=True)
def _data(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A folder for data that is not the owner's, whose certificates would speak for what the tests load."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("ENGINEHOUSE_DATA", raising=False)
        patch.setenv("XDG_DATA_HOME", str(tmp_path_factory.mktemp("data")))
        yield


@pytest.fixture(scope="session", autouse=True)
def _loggers() -> Iterator[None]:
    """Loggers that keep nothing of how they were configured first: a process tests more than one command."""
    configure = structlog.configure

    def without_cache(**settings: Any) -> None:
        configure(**{**settings, "cache_logger_on_first_use": False})

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(structlog, "configure", without_cache)
        yield


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Where several processes test, one takes a whole module, or more where they share what takes long to start."""
    from xdist.scheduler import LoadScopeScheduling

    class Modules(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            path = nodeid.partition("::")[0]
            return SHARED.get(path, path)

    return Modules(config, log)


SHARED = {
    "plugins/vllm/tests/test_engine_conformance.py": "plugins/vllm/tests/test_engine_answers.py",
    "tests/parity/test_endings.py": "tests/parity/test_same_meaning.py",
    "tests/parity/test_one_router.py": "tests/parity/test_documented_schema.py",
    "tests/packaging/test_wheels.py": "tests/packaging/test_third_party.py",
}
"""Modules that use what another has started."""
