"""What `Instance.start` makes of an author's generator."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

import pytest

from enginehouse_plugin import AnyEvent, GeneratedRun, Started
from enginehouse_plugin.errors import EngineFailure


class Ear:
    """A sink that keeps what it hears; `ended` has the error, if there was one."""

    def __init__(self) -> None:
        self.heard: list[AnyEvent] = []
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def events(self, batch: Sequence[AnyEvent]) -> None:
        self.heard.extend(batch)

    def end(self, error: Exception | None) -> None:
        if error is None:
            self.ended.set_result(None)
        else:
            self.ended.set_exception(error)


async def test_a_generator_whose_own_work_is_cancelled_ends_with_a_failure():
    async def loses_its_engine():
        yield Started()
        answer = asyncio.get_running_loop().create_future()
        answer.cancel()
        await answer

    ear = Ear()
    run = GeneratedRun(loses_its_engine(), ear)
    async with asyncio.timeout(5):
        with pytest.raises(EngineFailure):
            await ear.ended
        await run.wait_released()
    assert ear.heard == [Started()]


async def test_a_run_that_is_cancelled_from_outside_tells_nothing():
    """As a loop does with all tasks at its end."""

    async def waits():
        yield Started()
        await asyncio.Event().wait()

    ear = Ear()
    run = GeneratedRun(waits(), ear)
    while not ear.heard:  # noqa: ASYNC110  # a sink has no event of its own
        await asyncio.sleep(0)
    (task,) = asyncio.all_tasks() - {asyncio.current_task()}
    task.cancel()
    await run.wait_released()
    assert not ear.ended.done()


async def test_events_that_have_piled_up_give_others_their_turn():
    async def has_many():
        for _ in range(200):
            yield Started()

    class Slow(Ear):
        def events(self, batch: Sequence[AnyEvent]) -> None:
            super().events(batch)
            ends = time.monotonic() + 0.001  # as encoding takes
            while time.monotonic() < ends:
                pass

    ear = Slow()
    run = GeneratedRun(has_many(), ear)
    longest_s = 0.0
    while not ear.ended.done():
        began = time.thread_time()
        await asyncio.sleep(0)
        longest_s = max(longest_s, time.thread_time() - began)
    await run.wait_released()
    assert len(ear.heard) == 200
    assert longest_s < 0.05
