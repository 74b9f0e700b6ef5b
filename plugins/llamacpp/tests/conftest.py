"""One loaded model for the session; tests that change an instance load their own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from enginehouse_llamacpp.backend import LlamaCppBackend
from enginehouse_llamacpp.instance import LlamaCppInstance
from enginehouse_llamacpp.options import LlamaCppOptions
from enginehouse_plugin import Placement

from .weights import demo_weights

Load = Callable[..., Awaitable[LlamaCppInstance]]
CONTEXT_TOKENS = 2048


@pytest.fixture(scope="session")
def weights() -> Path:
    """Real weights, small."""
    return demo_weights()


@pytest.fixture(scope="session")
def placement(weights: Path) -> Callable[..., Placement]:
    """`placement(**options)` on the demo weights."""

    def place(context_tokens: int | None = CONTEXT_TOKENS, **options: Any) -> Placement:
        return Placement(
            model="demo",
            backend="llamacpp",
            source=str(weights),
            path=str(weights),
            context_tokens=context_tokens,
            options=LlamaCppOptions(**{"reproducible": True, **options}),
        )

    return place


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def model(placement: Callable[..., Placement]) -> AsyncIterator[LlamaCppInstance]:
    """A loaded instance that no test unloads."""
    instance = await LlamaCppBackend().load(placement(), (), lambda _: None)
    try:
        yield instance
    finally:
        await instance.unload()


@pytest_asyncio.fixture(loop_scope="session")
async def load(placement: Callable[..., Placement]) -> AsyncIterator[Load]:
    """`await load(**options)`: an instance of its own, unloaded after the test."""
    async with AsyncExitStack() as stack:

        async def start(**options: Any) -> LlamaCppInstance:
            instance = await LlamaCppBackend().load(placement(**options), (), lambda _: None)
            stack.push_async_callback(instance.unload)
            return instance

        yield start
