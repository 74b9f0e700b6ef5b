"""A request's way through the service: model, features, choice, slot, events. The engine is scripted (see conftest)."""

from __future__ import annotations

import asyncio

import msgspec
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

from .desk import Desk, NoRun

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
    await house.until("ready")
    desk.open(n=2)
    assert desk.gate.running == 2
    await desk.reader.answer()
    assert desk.gate.running == 0


async def test_a_request_to_a_ready_instance_with_a_free_slot_starts_in_the_call(house):
    """No task and no turn of the event loop lies between the call and the engine."""
    desk = Desk(house)
    await house.until("ready")
    started = []
    house.hosted.instance.start = lambda request, sink: started.append(request) or NoRun()
    tasks = asyncio.all_tasks()
    desk.open()
    assert [request.id for request in started] == ["r1"]
    assert asyncio.all_tasks() == tasks
    desk.lease.end(None)
    assert desk.reader.ended.done()
    assert asyncio.all_tasks() == tasks


async def test_the_time_in_the_queue_is_noted(house):
    desk = Desk(house)
    await house.until("ready")
    await desk.ask()
    assert desk.facts.queue_s == 0
    desk.gate.enter(2)
    desk.open()
    await asyncio.sleep(0.02)
    desk.gate.leave(2)
    await desk.reader.answer()
    assert desk.facts.queue_s >= 0.02


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


@pytest.mark.parametrize(
    "fields",
    [
        {"reasoning_effort": "none"},
        {"reasoning_effort": "minimal"},
        {"chat_template_kwargs": {"enable_thinking": False}},
        {"reasoning_effort": "none", "chat_template_kwargs": {"enable_thinking": False}},
    ],
    ids=str,
)
@pytest.mark.parametrize("load", ["start", "first_request"])
async def test_no_reasoning_is_nothing_asked_of_a_model_that_does_not_reason(house, fields, load):
    """The instance does not see the field either: it has no such feature."""
    desk = Desk(house, house.config(load=load))
    if load == "start":
        await house.until("ready")
    await desk.ask(**fields)
    (request,) = house.script.requests
    assert (request.reasoning_effort, request.chat_template_kwargs) == (None, None)


@pytest.mark.parametrize("fields", [{"reasoning_effort": "low"}, {"chat_template_kwargs": {"enable_thinking": True}}])
async def test_reasoning_is_refused_by_a_model_that_does_not_reason(house, fields):
    desk = Desk(house)
    await house.until("ready")
    with pytest.raises(UnsupportedFeature):
        await desk.ask(**fields)


async def test_no_reasoning_is_refused_by_a_model_that_reasons_whatever_it_is_told(house):
    features = frozenset({"reasoning", "streaming"})
    house.script.capabilities = msgspec.structs.replace(house.script.capabilities, features=features)
    desk = Desk(house)
    await house.until("ready")
    with pytest.raises(UnsupportedFeature, match="reasoning_effort"):
        await desk.ask(reasoning_effort="none")


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
    desk.gate.enter(2)
    with pytest.raises(QueueFull):
        await desk.ask()


async def test_what_answers_is_noted_by_a_fingerprint_that_lasts_as_long_as_what_was_loaded(house):
    desk = Desk(house)
    await house.until("ready")
    await desk.ask()
    first = desk.facts.fingerprint
    assert first is not None
    await desk.ask()
    assert desk.facts.fingerprint == first == house.hosted.fingerprint
