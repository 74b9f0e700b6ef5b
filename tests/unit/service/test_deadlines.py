"""The times that a request is given."""

from __future__ import annotations

import asyncio

import pytest
from tests.unit.conftest import hello

from enginehouse.fleet import (
    FirstTokenTimeout,
    IdleTimeout,
    TotalTimeout,
)
from enginehouse_plugin import (
    Started,
    TextDelta,
)

from .desk import Desk, NoRun, says_one_word_then_waits, waits_for_ever

# ---- deadlines ----


async def test_an_engine_that_does_not_begin_in_time_is_given_up(house):
    house.script.answer = waits_for_ever
    desk = Desk(house, house.config(server={"first_token_timeout_s": 0.01}))
    await house.until("ready")
    with pytest.raises(FirstTokenTimeout) as caught:
        await desk.ask()
    assert caught.value.code == "timeout"
    await desk.lease.wait_released()
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
    await desk.lease.wait_released()
    assert desk.gate.running == 0


async def test_a_client_hears_of_its_deadline_also_where_the_engine_cannot_be_cancelled(house):
    class Breaks(NoRun):
        def cancel(self) -> None:
            raise ZeroDivisionError

    desk = Desk(house, house.config(server={"first_token_timeout_s": 0.01}))
    await house.until("ready")
    house.hosted.instance.start = lambda request, sink: Breaks()
    with pytest.raises(FirstTokenTimeout):
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


@pytest.mark.parametrize("deadline", ["first_token_timeout_s", "idle_timeout_s"])
async def test_a_client_that_reads_slowly_is_not_an_engine_that_pauses(house, deadline):
    may_go_on = asyncio.Event()

    async def waits(instance, request):
        yield Started(prompt_tokens=7)
        if deadline == "idle_timeout_s":
            yield TextDelta(choice=0, text="well", completion_tokens=1)
        await may_go_on.wait()
        async for event in hello(instance, request):
            yield event

    house.script.answer = waits
    desk = Desk(house, house.config(server={"first_token_timeout_s": 60, "idle_timeout_s": 60, deadline: 0.05}))
    await house.until("ready")
    desk.open()
    desk.lease.pause()
    await asyncio.sleep(0.2)  # some times the deadline
    assert not desk.reader.ended.done()
    desk.lease.resume()
    may_go_on.set()
    await desk.reader.answer()


async def test_once_the_client_reads_again_the_engine_is_waited_for_no_longer_than_ever(house):
    house.script.answer = says_one_word_then_waits
    desk = Desk(house, house.config(server={"idle_timeout_s": 0.02}))
    await house.until("ready")
    desk.open()
    await desk.hear(2)
    desk.lease.pause()
    await asyncio.sleep(0.06)
    assert not desk.reader.ended.done()
    desk.lease.resume()
    with pytest.raises(IdleTimeout):
        await desk.reader.answer()


async def test_a_client_that_pauses_before_its_request_has_begun_pauses_the_engine_at_once(house):
    desk = Desk(house)
    await house.until("ready")
    run = NoRun()
    house.hosted.instance.start = lambda request, sink: run
    desk.gate.enter(2)
    desk.open()
    desk.lease.pause()
    desk.lease.pause()
    desk.gate.leave(2)
    desk.lease.resume()
    desk.lease.resume()
    assert run.calls == ["pause", "resume"]


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
    await desk.lease.wait_released()
    assert desk.gate.running == 0


async def test_the_total_time_frees_the_slot_of_a_client_that_does_not_read(house):
    house.script.answer = waits_for_ever
    desk = Desk(house, house.config(server={"total_timeout_s": 0.02}))
    await house.until("ready")
    desk.open()
    desk.lease.pause()
    with pytest.raises(TotalTimeout):
        await desk.reader.answer()
    await desk.lease.wait_released()
    assert desk.gate.running == 0
    assert desk.facts.error_code == "timeout"


async def test_a_deadline_that_passes_ends_the_run_and_the_sink_hears_of_it_once(house):
    desk = Desk(house, house.config(server={"first_token_timeout_s": 0.01}))
    await house.until("ready")
    run = NoRun()
    house.hosted.instance.start = lambda request, sink: run
    desk.open()
    with pytest.raises(FirstTokenTimeout):
        await desk.reader.answer()
    assert run.calls == ["cancel"]
    desk.lease.cancel()
    run.released.set()
    await desk.lease.wait_released()
    assert (run.calls, desk.facts.is_cancelled, desk.gate.running) == (["cancel"], False, 0)
