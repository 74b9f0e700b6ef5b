"""Work that is awaited, as a run: one event and an end, or nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from enginehouse.fleet.awaited import AwaitedRun
from enginehouse_plugin import AnyEvent, UsageReport
from enginehouse_plugin.errors import EngineFailure

USED = UsageReport(prompt_tokens=3, completion_tokens=0)


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


async def used() -> UsageReport:
    return USED


async def test_what_was_used_is_the_one_event() -> None:
    ear = Ear()
    run = AwaitedRun(used, ear)
    await run.wait_released()
    await ear.ended
    assert ear.heard == [USED]


async def test_while_it_is_paused_nothing_comes() -> None:
    ear = Ear()
    run = AwaitedRun(used, ear)
    run.pause()
    for _ in range(10):
        await asyncio.sleep(0)
    assert not ear.heard
    run.resume()
    run.pause()
    for _ in range(10):
        await asyncio.sleep(0)
    assert not ear.heard
    assert not ear.ended.done()
    run.resume()
    await run.wait_released()
    assert ear.heard == [USED]
    assert ear.ended.done()


async def test_what_fails_ends_with_its_error() -> None:
    async def fails() -> UsageReport:
        raise EngineFailure("It broke.")

    ear = Ear()
    await AwaitedRun(fails, ear).wait_released()
    with pytest.raises(EngineFailure, match="It broke"):
        await ear.ended
    assert not ear.heard


async def test_what_is_cancelled_under_its_hands_is_a_failure() -> None:
    async def loses_its_engine() -> UsageReport:
        answer: asyncio.Future[UsageReport] = asyncio.get_running_loop().create_future()
        answer.cancel()
        return await answer

    ear = Ear()
    await AwaitedRun(loses_its_engine, ear).wait_released()
    with pytest.raises(EngineFailure):
        await ear.ended


@pytest.mark.parametrize("turns", [0, 3])
async def test_after_its_cancellation_nobody_hears_of_it(turns: int) -> None:
    """Before its first step, and where a backend swallows the cancellation."""

    async def goes_on() -> UsageReport:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return USED
        raise AssertionError

    ear = Ear()
    run = AwaitedRun(goes_on, ear)
    for _ in range(turns):
        await asyncio.sleep(0)
    run.cancel()
    await run.wait_released()
    run.cancel()
    assert not ear.heard
    assert not ear.ended.done()


async def test_a_sink_that_cancels_at_the_event_hears_no_end() -> None:
    class Leaves(Ear):
        def events(self, batch: Sequence[AnyEvent]) -> None:
            super().events(batch)
            run.cancel()

    ear = Leaves()
    run = AwaitedRun(used, ear)
    await run.wait_released()
    assert ear.heard == [USED]
    assert not ear.ended.done()
