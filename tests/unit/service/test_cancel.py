"""A lease is one cancel scope: in whatever state a request is, `cancel` ends its work and frees its slot."""

from __future__ import annotations

import asyncio

import pytest
from tests.unit.conftest import hello, turn_until

from enginehouse_plugin import Started, TextDelta
from enginehouse_plugin.errors import EngineDied, UnsupportedFeature

from .desk import Desk, NoRun, says_one_word_then_waits, waits_for_ever


async def queued(house, desk: Desk) -> None:
    await house.until("ready")
    desk.gate.enter(2)
    desk.open()
    assert desk.gate.waiting == 1
    house.others = 2


async def waiting_for_a_load(house, desk: Desk) -> None:
    await house.until("loading")
    desk.open()
    assert desk.gate.waiting == 1


async def waiting_for_the_first_load(house, desk: Desk) -> None:
    desk.open()
    assert house.hosted.state == "loading"


async def started_without_an_event(house, desk: Desk) -> None:
    async def says_nothing(instance, request):
        await asyncio.Event().wait()
        yield

    house.script.answer = says_nothing
    await house.until("ready")
    desk.open()
    await turn_until(lambda: house.script.instances[0].active == 1)


async def begun_without_a_delta(house, desk: Desk) -> None:
    house.script.answer = waits_for_ever
    await house.until("ready")
    desk.open()
    await desk.hear(1)


async def streaming(house, desk: Desk) -> None:
    house.script.answer = says_one_word_then_waits
    await house.until("ready")
    desk.open()
    await desk.hear(2)


async def paused(house, desk: Desk) -> None:
    async def babbles(instance, request):
        yield Started(prompt_tokens=7)
        while True:
            yield TextDelta(choice=0, text="la", completion_tokens=1)

    house.script.answer = babbles
    await house.until("ready")
    desk.open()
    desk.lease.pause()
    await desk.hear(1)


async def waiting_for_the_second_try(house, desk: Desk) -> None:
    async def dies(instance, request):
        house.script.may_load.clear()
        instance.is_answering = False
        instance.crash()
        raise EngineDied("gone")
        yield

    house.script.answer = dies
    await house.until("ready")
    desk.open()
    await house.until("failed")
    assert desk.gate.waiting == 1


async def at_the_second_try(house, desk: Desk) -> None:
    async def fails_once(instance, request):
        house.script.answer = waits_for_ever
        raise EngineDied("gone")
        yield

    house.script.answer = fails_once
    await house.until("ready")
    desk.open()
    await desk.hear(1)


STATES = [
    queued,
    waiting_for_a_load,
    waiting_for_the_first_load,
    started_without_an_event,
    begun_without_a_delta,
    streaming,
    paused,
    waiting_for_the_second_try,
    at_the_second_try,
]


@pytest.mark.parametrize("reach", STATES)
async def test_cancelling_ends_the_work_and_frees_the_slot_in_every_state(house, reach):
    house.others = 0
    if reach in (waiting_for_a_load, waiting_for_the_first_load):
        house.script.may_load.clear()
    desk = Desk(house, house.config(load="first_request" if reach is waiting_for_the_first_load else "start"))
    await reach(house, desk)
    heard = len(desk.reader.heard)
    desk.lease.cancel()
    assert desk.gate.waiting == 0
    async with asyncio.timeout(10):
        await desk.lease.wait_released()
    assert desk.gate.running == house.others
    assert all(instance.active == 0 for instance in house.script.instances)
    assert desk.facts.is_cancelled
    house.script.may_load.set()
    await house.until("ready")
    await asyncio.sleep(0.01)
    assert len(desk.reader.heard) == heard, "the sink hears nothing more"
    assert not desk.reader.ended.done()
    desk.lease.cancel()
    assert desk.gate.running == house.others, "a second time it does nothing"


@pytest.mark.parametrize("reach", STATES)
async def test_after_a_cancellation_in_any_state_every_slot_serves(house, reach):
    house.others = 0
    desk = Desk(house, house.config(load="first_request" if reach is waiting_for_the_first_load else "start"))
    await reach(house, desk)
    desk.lease.cancel()
    await desk.lease.wait_released()
    desk.gate.leave(house.others)
    house.script.may_load.set()
    house.script.answer = hello
    await desk.ask(n=2)
    assert not desk.facts.is_cancelled


async def test_the_slot_comes_back_when_the_engine_has_let_go_and_not_before(house):
    desk = Desk(house)
    await house.until("ready")
    run = NoRun()
    house.hosted.instance.start = lambda request, sink: run
    desk.open()
    desk.lease.cancel()
    await asyncio.sleep(0)
    assert (run.calls, desk.gate.running) == (["cancel"], 1)
    run.released.set()
    await desk.lease.wait_released()
    assert desk.gate.running == 0


async def test_an_engine_that_breaks_as_it_lets_go_costs_no_slot(house, logs):
    class Breaks(NoRun):
        async def wait_released(self) -> None:
            raise ZeroDivisionError

    desk = Desk(house)
    await house.until("ready")
    house.hosted.instance.start = lambda request, sink: Breaks()
    desk.open()
    desk.lease.cancel()
    await desk.lease.wait_released()
    assert desk.gate.running == 0
    assert any(line["event"] == "backend broke while it released a request" for line in logs)


async def test_an_engine_that_breaks_as_it_is_cancelled_costs_no_slot(house, logs):
    class Breaks(NoRun):
        def cancel(self) -> None:
            raise ZeroDivisionError

    desk = Desk(house)
    await house.until("ready")
    house.hosted.instance.start = lambda request, sink: Breaks()
    desk.open()
    desk.lease.cancel()
    await desk.lease.wait_released()
    assert desk.gate.running == 0
    assert any(line["event"] == "backend broke while it released a request" for line in logs)


async def test_what_an_engine_says_after_a_cancellation_is_not_heard(house):
    desk = Desk(house)
    await house.until("ready")
    run = NoRun()
    house.hosted.instance.start = lambda request, sink: run
    desk.open()
    desk.lease.cancel()
    desk.lease.events((Started(prompt_tokens=7),))
    desk.lease.end(None)
    run.released.set()
    await desk.lease.wait_released()
    assert (desk.reader.heard, desk.reader.ended.done(), desk.gate.running) == ([], False, 0)


async def test_cancelling_after_the_end_changes_nothing(house):
    desk = Desk(house)
    await desk.ask()
    desk.lease.cancel()
    await desk.lease.wait_released()
    assert not desk.facts.is_cancelled
    assert desk.gate.running == 0


async def test_a_fault_on_our_side_ends_the_work_and_is_no_cancellation(house):
    desk = Desk(house)
    await house.until("ready")
    desk.open()
    desk.lease.cancel(ZeroDivisionError())
    await desk.lease.wait_released()
    assert (desk.facts.error_code, desk.facts.is_cancelled, desk.gate.running) == ("internal_error", False, 0)


async def test_a_request_that_is_refused_at_once_leaves_nothing_behind(house):
    desk = Desk(house)
    await house.until("ready")
    with pytest.raises(UnsupportedFeature):
        desk.open(seed=1)
    assert repr(desk.gate) == "<Gate 'm' open running=0/2 waiting=0>"
