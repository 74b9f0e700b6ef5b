"""The times that a request is given."""

from __future__ import annotations

import asyncio

import pytest

from enginehouse.fleet import (
    FirstTokenTimeout,
    IdleTimeout,
    TotalTimeout,
)
from enginehouse_plugin import (
    Started,
    TextDelta,
)

from .desk import Desk, says_one_word_then_waits, waits_for_ever

# ---- deadlines ----


async def test_an_engine_that_does_not_begin_in_time_is_given_up(house):
    house.script.answer = waits_for_ever
    desk = Desk(house, house.config(server={"first_token_timeout_s": 0.01}))
    with pytest.raises(FirstTokenTimeout) as caught:
        await desk.ask()
    assert caught.value.code == "timeout"
    assert (desk.gate.running, house.script.instances[0].active) == (0, 0)
    assert desk.facts.error_code == "timeout"
    assert not desk.facts.is_cancelled


async def test_the_wait_for_a_load_counts_as_not_beginning(house):
    house.script.may_load.clear()
    desk = Desk(house, house.config(server={"first_token_timeout_s": 0.01}))
    with pytest.raises(FirstTokenTimeout):
        await desk.ask()
    assert desk.gate.waiting == 0


async def test_an_engine_that_pauses_too_long_is_given_up(house):
    house.script.answer = says_one_word_then_waits
    desk = Desk(house, house.config(server={"idle_timeout_s": 0.01, "first_token_timeout_s": 60}))
    await house.until("ready")
    with pytest.raises(IdleTimeout):
        await desk.ask()
    assert desk.gate.running == 0


async def test_an_engine_that_began_late_is_still_given_up_when_it_pauses(house):
    async def begins_late(instance, request):
        await asyncio.sleep(0.03)  # some times the idle timeout, which does not count yet
        async for event in says_one_word_then_waits(instance, request):
            yield event

    house.script.answer = begins_late
    desk = Desk(house, house.config(server={"idle_timeout_s": 0.01, "first_token_timeout_s": 60}))
    await house.until("ready")
    with pytest.raises(IdleTimeout):
        await asyncio.wait_for(desk.ask(), 10)


async def test_a_client_that_reads_slowly_is_not_an_engine_that_pauses(house):
    desk = Desk(house, house.config(server={"idle_timeout_s": 0.001, "first_token_timeout_s": 60}))
    await house.until("ready")
    seen = 0
    async with desk.open() as events:
        async for _ in events:
            seen += 1
            await asyncio.sleep(0.01)  # many times the idle timeout
    assert seen == 5


async def test_the_total_time_ends_an_answer_that_goes_on_and_on(house):
    async def babbles(instance, request):
        yield Started(prompt_tokens=7)
        while True:
            await asyncio.sleep(0)
            yield TextDelta(choice=0, text="la", completion_tokens=1)

    house.script.answer = babbles
    desk = Desk(house, house.config(server={"total_timeout_s": 0.02}))
    with pytest.raises(TotalTimeout):
        await desk.ask()
    assert desk.gate.running == 0


async def test_the_total_time_frees_the_slot_of_a_client_that_does_not_read(house):
    desk = Desk(house, house.config(server={"total_timeout_s": 0.02}))

    async def never_reads_on():
        async with desk.open() as events:
            await anext(events)
            await asyncio.get_running_loop().create_future()  # a send that is blocked for ever

    with pytest.raises(TotalTimeout):
        await never_reads_on()
    assert desk.gate.running == 0
    assert desk.facts.error_code == "timeout"
    current = asyncio.current_task()
    assert current is not None
    assert current.cancelling() == 0


async def test_a_cancellation_that_meets_a_deadline_stays_a_cancellation(house, eventually):
    house.script.answer = waits_for_ever
    desk = Desk(house)
    generation = desk.open()
    seen = []

    async def ask():
        try:
            async with generation as events:
                async for _ in events:
                    pass
        except BaseException as error:
            seen.append((type(error), asyncio.current_task().cancelling()))
            raise

    await house.until("ready")
    task = asyncio.create_task(ask())
    await eventually(lambda: house.script.instances[0].active == 1)
    generation._expire(TotalTimeout(1))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert seen == [(asyncio.CancelledError, 1)]
    assert desk.facts.is_cancelled
