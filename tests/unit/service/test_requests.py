"""A request's way through the service: model, features, choice, slot, events. The engine is scripted (see conftest)."""

from __future__ import annotations

import asyncio

import pytest

from enginehouse.fleet import (
    Draining,
    InstanceUnavailable,
    ModelNotFound,
    QueueFull,
)
from enginehouse_plugin.errors import (
    UnsupportedFeature,
)

from .desk import Desk, says_one_word_then_waits, waits_for_ever

# ---- the plain way ----


async def test_the_engines_events_come_through_and_the_slot_comes_back(house):
    desk = Desk(house)
    events = await desk.ask()
    assert [type(event).__name__ for event in events] == [
        "Started",
        "TextDelta",
        "TextDelta",
        "Finished",
        "UsageReport",
    ]
    assert desk.gate.running == 0
    assert house.script.instances[0].active == 0


async def test_a_request_takes_a_slot_for_each_choice(house):
    desk = Desk(house)
    async with desk.open(n=2) as events:
        await anext(events)
        assert desk.gate.running == 2
    assert desk.gate.running == 0


async def test_an_unknown_model_is_refused_with_the_known_ones(house):
    desk = Desk(house)
    with pytest.raises(ModelNotFound, match="'m'"):
        await desk.ask(model="gpt-4")


async def test_a_missing_feature_is_refused_by_name_before_a_slot_is_taken(house):
    desk = Desk(house)
    await house.until("ready")
    with pytest.raises(UnsupportedFeature) as caught:
        await desk.ask(seed=1)
    assert caught.value.param == "seed"
    assert desk.gate.running == 0


async def test_a_missing_feature_is_refused_also_when_the_model_has_to_be_loaded_first(house):
    desk = Desk(house, house.config(load="first_request"))
    with pytest.raises(UnsupportedFeature) as caught:
        await desk.ask(seed=1)
    assert caught.value.param == "seed"
    assert desk.gate.running == 0


async def test_the_limit_of_a_feature_is_told(house):
    desk = Desk(house)
    await house.until("ready")
    with pytest.raises(UnsupportedFeature, match="at most 4"):
        await desk.ask(n=5)


async def test_a_model_without_a_place_on_this_host_says_why(house):
    desk = Desk(house, kinds=("cuda",))
    with pytest.raises(InstanceUnavailable, match="it needs cuda; this host has cpu"):
        await desk.ask()


async def test_while_draining_requests_are_refused(house):
    desk = Desk(house)
    await desk.service.fleet.close()
    with pytest.raises(Draining):
        await desk.ask()


async def test_a_full_queue_refuses(house):
    desk = Desk(house, house.config(max_queue=0))
    await house.until("ready")
    await desk.gate.enter("x", 2)
    with pytest.raises(QueueFull):
        await desk.ask()


# ---- leaving early ----


@pytest.mark.parametrize("events_first", [0, 1, 2])
async def test_leaving_early_closes_the_engines_stream_and_frees_the_slot(house, events_first):
    house.script.answer = says_one_word_then_waits
    desk = Desk(house)
    async with desk.open() as events:
        for _ in range(events_first):
            await anext(events)
    assert (desk.gate.running, desk.gate.waiting) == (0, 0)
    assert all(instance.active == 0 for instance in house.script.instances)
    assert desk.facts.is_cancelled


async def test_a_cancellation_while_the_engine_is_waited_for_frees_the_slot(house, eventually):
    house.script.answer = waits_for_ever
    desk = Desk(house)
    task = asyncio.create_task(desk.ask())
    await house.until("ready")
    await eventually(lambda: house.script.instances[0].active == 1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (desk.gate.running, house.script.instances[0].active) == (0, 0)
    assert desk.facts.is_cancelled


async def test_a_cancellation_in_the_queue_frees_the_place(house, eventually):
    desk = Desk(house)
    await house.until("ready")
    await desk.gate.enter("x", 2)
    task = asyncio.create_task(desk.ask())
    await eventually(lambda: desk.gate.waiting == 1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert desk.gate.waiting == 0


async def test_an_error_of_the_consumer_frees_the_slot_and_is_noted(house):
    house.script.answer = says_one_word_then_waits
    desk = Desk(house)

    async def breaks():
        async with desk.open() as events:
            await anext(events)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await breaks()
    assert desk.gate.running == 0
    assert desk.facts.error_code == "internal_error"
    assert not desk.facts.is_cancelled
