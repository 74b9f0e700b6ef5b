"""The engines with the tiny model, started once for all modules that ask them: to start one takes a minute.

They end with the last module of this folder: an engine that has nothing to do takes a tenth of a processor, too.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack

import pytest
import pytest_asyncio
from tests.integration.served import Served
from tests.parity.engines import LOAD_S, MODELS, Loaded, configured


@pytest_asyncio.fixture(scope="package", loop_scope="session")
async def engines() -> AsyncIterator[Loaded]:
    """Through the contract alone."""
    async with AsyncExitStack() as stack:
        yield Loaded(stack)


@pytest.fixture(scope="package")
def router(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Behind one router, each a model of its own, on dottxt's API too; without those that are not here."""
    config = "[server]\nport = 0\n"
    for name, engine in MODELS.items():
        if not engine.missing:
            config += configured(name, engine)
            config += f"""
[[mounts]]
profile = "dottxt"
path = "/{engine.backend}"
models = {{ "Qwen/Qwen3-30B-A3B-FP8" = {json.dumps(name)} }}
"""
    running = Served(config, tmp_path_factory.mktemp("router"))
    try:
        yield running.wait_ready(LOAD_S)
        assert running.end() == 0, running.text()
    finally:
        running.close()
