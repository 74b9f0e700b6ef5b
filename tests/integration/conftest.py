"""Real servers: one for the whole session, and others for tests that need a configuration of their own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from tests.cluster.network import NEEDED, Node, is_possible, network

from .served import EMBEDDED, Served

Serve = Callable[..., Served]


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server of the embedded model that nobody stops, with no keys and no limits of its own."""
    served = Served(EMBEDDED, tmp_path_factory.mktemp("server"))
    try:
        yield served.wait_ready()
        assert served.end() == 0, served.text()
    finally:
        served.close()


@pytest.fixture
def serve(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serve]:
    """`serve(config_text, *options, ready=True, folder=None)` starts a server; all are ended after the test."""
    running: list[Served] = []

    def start(config: str, *options: str, ready: bool = True, folder: Path | None = None) -> Served:
        served = Served(config, folder or tmp_path_factory.mktemp("server"), *options)
        running.append(served)
        return served.wait_ready() if ready else served

    try:
        yield start
    finally:
        for served in running:
            served.close()


@pytest.fixture(scope="module")
def nodes() -> Iterator[dict[str, Node]]:
    """Two machines, as network namespaces."""
    if not is_possible():
        pytest.skip(NEEDED)
    with network("one", "two") as made:
        yield made


@pytest.fixture
def http(server: Served) -> Iterator[httpx.Client]:
    """A client of the session's server."""
    with httpx.Client(base_url=server.url, timeout=60.0, trust_env=False) as client:
        yield client
