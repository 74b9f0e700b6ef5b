"""Whether the engine answers is asked of the threads that work, so that one that hangs does not."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from enginehouse_mlx.engine.instance import MlxInstance
from enginehouse_mlx.engine.settings import Figures


class Threads:
    """An owner and a thread that prepares, both of which may be held up."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.ended: asyncio.Future[str] = loop.create_future()
        self.may_step = asyncio.Event()
        self.may_prepare = threading.Event()
        self.preparing = ThreadPoolExecutor(max_workers=1)
        self.preparing.submit(self.may_prepare.wait)

    async def figures(self) -> Figures:
        await self.may_step.wait()
        return Figures(0, 0, 0.0)


@pytest.mark.parametrize("held", ["the model's thread", "the thread that prepares"])
async def test_an_engine_with_a_thread_that_hangs_does_not_answer(held: str) -> None:
    threads = Threads()
    instance = MlxInstance.__new__(MlxInstance)
    instance._owner = threads  # type: ignore[assignment]  # stands for it
    instance._preparing = threads.preparing
    instance._is_unloading = False
    (threads.may_prepare if held == "the model's thread" else threads.may_step).set()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await instance.check_ready()
    threads.may_prepare.set()
    threads.may_step.set()
    async with asyncio.timeout(10):
        await instance.check_ready()
    threads.preparing.shutdown()
