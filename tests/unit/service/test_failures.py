"""What becomes of requests when engines fail, and which of several instances they go to."""

from __future__ import annotations

import msgspec
import pytest
from tests.unit.conftest import a_request, hello

from enginehouse.fleet import Draining, HostedInstance, InstanceUnavailable, choose
from enginehouse.plugins import Plugins
from enginehouse_plugin import (
    Started,
    TextDelta,
    hookimpl,
)
from enginehouse_plugin.errors import (
    ContextTooLong,
    EngineDied,
    EngineFailure,
    EngineMissing,
    UnsupportedFeature,
)

from .desk import Desk, dies_before_the_first_delta

# ---- engines that fail ----


async def test_an_engine_that_dies_before_the_first_delta_is_asked_once_more_after_its_restart(house):
    house.script.answer = dies_before_the_first_delta
    desk = Desk(house)
    events = await desk.ask()
    assert [type(event).__name__ for event in events] == [
        "Started", "TextDelta", "TextDelta", "Finished", "UsageReport"
    ]  # fmt: skip
    assert desk.gate.running == 0


async def test_a_request_waits_for_the_restart_of_an_engine_that_is_gone(house):
    async def dies(instance, request):
        house.script.answer = hello
        instance.is_answering = False
        instance.crash()
        raise EngineDied("gone")
        yield

    house.script.answer = dies
    desk = Desk(house)
    assert len(await desk.ask()) == 5
    assert house.hosted.restarts == 1


async def test_of_two_tries_the_client_sees_one_start(house):
    house.script.answer = dies_before_the_first_delta
    desk = Desk(house)
    await desk.ask()
    assert [type(event) is Started for event in desk.reader.heard] == [True, False, False, False, False]
    assert len(house.script.requests) == 2


async def test_an_instance_that_fails_at_once_is_left_for_another(house):
    desk = Desk(house)
    first, second = await two_instances(house, desk)

    def refuses(request, sink):
        raise EngineFailure("bad weather")

    first.instance.start = refuses
    second.gate.enter(1)
    await desk.ask()
    assert desk.facts.instance_id == "m#1"
    assert (first.gate.running, second.gate.running) == (0, 1)


async def test_an_instance_that_fails_at_once_is_told_at_once_where_there_is_no_other(house):
    desk = Desk(house)
    await house.until("ready")
    asked = []

    def refuses(request, sink):
        asked.append(request)
        raise EngineFailure("bad weather")

    house.hosted.instance.start = refuses
    with pytest.raises(EngineFailure, match="bad weather"):
        desk.open()
    assert len(asked) == 1
    assert desk.gate.running == 0


@pytest.mark.parametrize("fault", [EngineFailure("bad weather"), ZeroDivisionError("oops")])
async def test_a_start_that_breaks_after_the_queue_costs_its_own_request_only(house, fault):
    desk = Desk(house)
    await house.until("ready")
    instance, start = house.hosted.instance, house.hosted.instance.start

    def breaks(request, sink):
        instance.start = start
        raise fault

    desk.gate.enter(2)
    first = desk.open() and desk.reader
    second = desk.open() and desk.reader
    instance.start = breaks
    desk.gate.leave(2)
    with pytest.raises(type(fault)):
        await first.answer()
    assert len(await second.answer()) == 5
    assert repr(desk.gate) == "<Gate 'm' open running=0/2 waiting=0>"


async def test_where_no_other_instance_has_the_feature_the_first_failure_is_told(house):
    async def fails(instance, request):
        raise EngineFailure("bad weather")
        yield

    house.script.answer = fails
    desk = Desk(house)
    await two_instances(house, desk, second_can=frozenset())
    with pytest.raises(EngineFailure, match="bad weather"):
        await desk.ask(stream=True)


async def test_a_second_failure_is_the_requests_answer(house):
    asked = 0

    async def dies(instance, request):
        nonlocal asked
        asked += 1
        raise EngineDied("gone")
        yield

    house.script.answer = dies
    desk = Desk(house)
    with pytest.raises(EngineDied):
        await desk.ask()
    assert asked == 2
    assert desk.gate.running == 0


async def test_after_the_first_delta_a_failure_is_never_retried(house):
    async def dies(instance, request):
        yield Started(prompt_tokens=7)
        yield TextDelta(choice=0, text="we", completion_tokens=1)
        house.script.answer = hello
        raise EngineDied("gone")

    house.script.answer = dies
    desk = Desk(house)
    with pytest.raises(EngineDied):
        await desk.ask()
    assert len(desk.reader.heard) == 2
    assert desk.facts.error_code == "engine_died"


@pytest.mark.parametrize(
    "error", [ContextTooLong(prompt_tokens=9, limit_tokens=8), EngineFailure("no", retryable=False)]
)
async def test_an_error_that_another_try_would_meet_again_is_not_retried(house, error):
    asked = 0

    async def refuses(instance, request):
        nonlocal asked
        asked += 1
        raise error
        yield

    house.script.answer = refuses
    desk = Desk(house)
    with pytest.raises(type(error)):
        await desk.ask()
    assert asked == 1


async def test_a_failure_of_a_living_engine_goes_to_another_instance_or_to_the_client(house):
    async def fails(instance, request):
        raise EngineFailure("bad weather")
        yield

    house.script.answer = fails
    desk = Desk(house)
    with pytest.raises(EngineFailure, match="bad weather"):
        await desk.ask()


async def test_a_model_that_cannot_be_loaded_says_why(house):
    house.script.load_errors = [EngineMissing("vroom", fix="pip install vroom")]
    desk = Desk(house)
    with pytest.raises(InstanceUnavailable, match="pip install vroom"):
        await desk.ask()


# ---- several instances of a model ----


async def two_instances(house, desk: Desk, *, second_can: frozenset[str] | None = None) -> list[HostedInstance]:
    """Two that are ready; where the second is to have other features, its engine says so from the beginning, because
    what is known of an instance is judged again whenever its certificate is read.
    """
    await house.until("ready")
    usual = house.script.capabilities
    if second_can is not None:
        house.script.capabilities = msgspec.structs.replace(usual, features=second_can)
    fleet = desk.service.fleet
    fleet.add_instance("m").wake()
    first, second = fleet.instances()
    await house.until("ready", second)
    house.script.capabilities = usual  # also of the first one where it is loaded again
    return [first, second]


async def test_the_least_loaded_instance_is_chosen(house):
    desk = Desk(house)
    first, second = await two_instances(house, desk)
    first.gate.enter(1)
    assert choose(a_request(), [first, second]) is second


async def test_a_retry_goes_to_another_instance(house):
    async def first_fails(instance, request):
        if instance is house.script.instances[0]:
            raise EngineFailure("bad weather")
        async for event in hello(instance, request):
            yield event

    house.script.answer = first_fails
    desk = Desk(house)
    await two_instances(house, desk)
    await desk.ask()
    assert desk.facts.instance_id == "m#1"


async def test_instances_without_a_needed_feature_are_set_aside(house):
    desk = Desk(house)
    first, second = await two_instances(house, desk, second_can=frozenset({"streaming", "seed"}))
    assert choose(a_request(seed=1), [first, second]) is second
    assert choose(a_request(stop=("x",)), [first, second]) is first


async def test_what_an_instance_that_has_failed_could_do_is_not_refused_as_a_feature(house):
    """It may be back when the client comes again; what no instance can do stays refused, also by one that failed."""
    desk = Desk(house)
    first, second = await two_instances(house, desk, second_can=frozenset({"streaming", "seed"}))
    second.stop_admitting()
    with pytest.raises(Draining):
        choose(a_request(seed=1), [first, second])
    with pytest.raises(UnsupportedFeature):
        choose(a_request(min_p=0.5), [first, second])


async def test_an_instance_that_restarts_is_passed_over_for_one_that_is_ready(house):
    desk = Desk(house)
    first, second = await two_instances(house, desk)
    second.gate.enter(1)
    house.script.may_load.clear()
    house.script.instances[0].crash()
    await house.until("failed", first)
    assert choose(a_request(), [first, second]) is second


async def test_a_request_that_waits_at_an_instance_that_dies_moves_on_to_another(house):
    desk = Desk(house)
    first, second = await two_instances(house, desk)
    house.script.may_load.clear()
    for hosted in (first, second):
        hosted.gate.enter(2)
    desk.open()
    assert (first.gate.waiting, second.gate.waiting) == (1, 0)
    house.script.instances[0].crash()
    await house.until("failed", first)
    assert (first.gate.waiting, second.gate.waiting) == (0, 1)
    second.gate.leave(2)
    await desk.reader.answer()
    assert desk.facts.instance_id == "m#1"


async def test_a_request_waits_on_where_no_other_instance_has_the_feature(house):
    desk = Desk(house)
    first, second = await two_instances(house, desk, second_can=frozenset())
    house.script.may_load.clear()
    first.gate.enter(2)
    desk.open(stream=True)
    house.script.instances[0].crash()
    await house.until("failed", first)
    assert (first.gate.waiting, second.gate.waiting) == (1, 0)
    first.gate.leave(2)
    house.script.may_load.set()
    assert len(await desk.reader.answer()) == 5
    assert desk.facts.instance_id == "m#0"


async def test_a_plugins_choice_goes_before_the_routers(house):
    class Last:
        enginehouse_api = "2.0"

        @hookimpl
        def enginehouse_select(self, candidates):
            return candidates[-1].instance_id

    plugins = Plugins()
    plugins.add(Last(), "last")
    desk = Desk(house, plugins=plugins)
    _, second = await two_instances(house, desk)
    second.gate.enter(1)
    await desk.ask()
    assert desk.facts.instance_id == "m#1"
