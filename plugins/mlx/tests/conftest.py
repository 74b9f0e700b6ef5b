"""One loaded model for the session; tests that change an instance load their own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from enginehouse_mlx.backend import MlxBackend
from enginehouse_mlx.options import MlxOptions
from enginehouse_plugin import Instance, Placement
from tests.weights import tiny_hf

Load = Callable[..., Awaitable[Instance]]


@pytest.fixture(scope="session")
def tiny() -> Path:
    """A random model in f32 with a real tokenizer."""
    return tiny_hf()


@pytest.fixture(scope="session")
def placement(tiny: Path) -> Callable[..., Placement]:
    """`placement(path, context_tokens, **options)` on the tiny model, unless *path* names another."""

    def place(path: Path = tiny, context_tokens: int | None = None, **options: Any) -> Placement:
        return Placement(
            model="tiny",
            backend="mlx",
            source=path.name,
            path=str(path),
            context_tokens=context_tokens,
            options=MlxOptions(**{"slots": 4, **options}),
        )

    return place


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def model(placement: Callable[..., Placement]) -> AsyncIterator[Instance]:
    """A loaded instance that no test unloads."""
    instance = await MlxBackend().load(placement(), (), lambda _: None)
    try:
        yield instance
    finally:
        await instance.unload()


@pytest_asyncio.fixture(loop_scope="session")
async def load(placement: Callable[..., Placement]) -> AsyncIterator[Load]:
    """`await load(path, **options)`: an instance of its own, unloaded after the test.

    In a worker, as the router has it: MLX used by several threads of one process can abort at its exit.
    """
    async with AsyncExitStack() as stack:

        async def start(*path: Path, **options: Any) -> Instance:
            instance = await MlxBackend().load(placement(*path, **options), (), lambda _: None)
            stack.push_async_callback(instance.unload)
            return instance

        yield start
