"""A request's way through the service: model, features, choice, slot, events, deadlines, account.

The engine is scripted (see conftest).
"""

from __future__ import annotations

import asyncio

import pytest

from enginehouse.config import Config
from enginehouse.fleet import (
    Draining,
    FirstTokenTimeout,
    HostedInstance,
    IdleTimeout,
    InstanceUnavailable,
    ModelNotFound,
    QueueFull,
    TotalTimeout,
)
from enginehouse.plugins import Plugins
from enginehouse.service import Service
from enginehouse_plugin import (
    Capabilities,
    Finished,
    Started,
    TextDelta,
    UsageReport,
    hookimpl,
)
from enginehouse_plugin.errors import (
    ContextTooLong,
    EngineDied,
    EngineFailure,
    EnginehouseError,
    EngineMissing,
    UnsupportedFeature,
)

from .conftest import a_request, hello


class Desk:
    """A service in front of the house."""

    def __init__(self, house, config: Config | None = None, plugins: Plugins | None = None, **build) -> None:
        self.house = house
        config = config or house.config()
        self.service = Service(config, plugins or Plugins(), house.build(config, **build))
        self.service.fleet.start()

    def open(self, *, model: str = "m", client: str = "a", **fields):
        self.trace = self.service.begin("r1")
        return self.service.open(a_request(**fields), model, client=client, trace=self.trace)

    async def ask(self, **fields) -> list:
        async with self.open(**fields) as events:
            return [event async for event in events]

    @property
    def gate(self):
        return self.house.hosted.gate


async def waits_for_ever(instance, request):
    yield Started(prompt_tokens=7)
    await asyncio.get_running_loop().create_future()


async def says_one_word_then_waits(instance, request):
    yield Started(prompt_tokens=7)
    yield TextDelta(choice=0, text="well", completion_tokens=1)
    await asyncio.get_running_loop().create_future()


async def dies_before_the_first_delta(instance, request):
    yield Started(prompt_tokens=7)
    instance.script.answer = hello
    raise EngineDied("gone")


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
    assert desk.trace.is_cancelled


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
    assert desk.trace.is_cancelled


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
    assert desk.trace.error_code == "internal_error"
    assert not desk.trace.is_cancelled


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
    seen = []

    async def read():
        async with desk.open() as events:
            async for event in events:
                seen.append(event)  # noqa: PERF401  # what came before the failure is wanted

    with pytest.raises(EngineDied):
        await read()
    assert len(seen) == 2
    assert desk.trace.error_code == "engine_died"


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


async def two_instances(house, desk: Desk) -> list[HostedInstance]:
    model = desk.service.fleet.models["m"]
    first = model.instances[0]
    second = HostedInstance("m#1", "m", model.config, first.chosen, on_change=house._changed)
    model.instances.append(second)
    second.start()
    await house.until("ready", first)
    await house.until("ready", second)
    return [first, second]


async def test_the_least_loaded_instance_is_chosen(house):
    desk = Desk(house)
    first, second = await two_instances(house, desk)
    await first.gate.enter("x", 1)
    assert desk.service.choose(desk.service.fleet.models["m"], a_request()) is second


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
    assert desk.trace.instance_id == "m#1"


async def test_instances_without_a_needed_feature_are_set_aside(house):
    desk = Desk(house)
    first, second = await two_instances(house, desk)
    second.capabilities = Capabilities(
        context_tokens=1, max_concurrent_requests=1, features=frozenset({"streaming", "seed"})
    )
    model = desk.service.fleet.models["m"]
    assert desk.service.choose(model, a_request(seed=1)) is second
    assert desk.service.choose(model, a_request(stop=("x",))) is first


async def test_an_instance_that_restarts_is_passed_over_for_one_that_is_ready(house):
    desk = Desk(house)
    first, second = await two_instances(house, desk)
    await second.gate.enter("x", 1)
    house.script.may_load.clear()
    house.script.instances[0].crash()
    await house.until("failed", first)
    assert desk.service.choose(desk.service.fleet.models["m"], a_request()) is second


async def test_a_plugins_choice_goes_before_the_routers(house):
    class Last:
        enginehouse_api = "1.0"

        @hookimpl
        def enginehouse_select(self, candidates):
            return candidates[-1].instance_id

    plugins = Plugins()
    plugins.add(Last(), "last")
    desk = Desk(house, plugins=plugins)
    _, second = await two_instances(house, desk)
    await second.gate.enter("x", 1)
    assert desk.service.choose(desk.service.fleet.models["m"], a_request()) is second


# ---- deadlines ----


async def test_an_engine_that_does_not_begin_in_time_is_given_up(house):
    house.script.answer = waits_for_ever
    desk = Desk(house, house.config(server={"first_token_timeout_s": 0.01}))
    with pytest.raises(FirstTokenTimeout) as caught:
        await desk.ask()
    assert caught.value.code == "timeout"
    assert (desk.gate.running, house.script.instances[0].active) == (0, 0)
    assert desk.trace.error_code == "timeout"
    assert not desk.trace.is_cancelled


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
    assert desk.trace.error_code == "timeout"
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
    assert desk.trace.is_cancelled


# ---- the account ----


async def test_a_finished_request_is_accounted_from_the_engines_counts_once(house, logs):
    desk = Desk(house)
    await desk.ask()
    desk.trace.key = "alice"
    record = desk.service.finish(desk.trace, 200)
    assert desk.service.finish(desk.trace, 200) is None
    assert record is not None
    assert (record.prompt_tokens, record.cached_tokens, record.completion_tokens) == (7, 2, 2)
    assert (record.model, record.instance_id, record.key, record.status) == ("m", "m#0", "alice", 200)
    assert record.finish_reasons == ("stop",)
    assert record.ttft_s is not None
    assert not record.is_cancelled
    lines = [line for line in logs if line["event"] == "request"]
    assert len(lines) == 1
    assert {"id", "model", "instance", "key", "status", "ttft_s", "duration_s", "finish", "error"} <= lines[0].keys()
    text = desk.service.metrics_text()
    assert 'enginehouse_requests_total{model="m",status="200"} 1' in text
    assert 'enginehouse_tokens_total{model="m",kind="completion"} 2' in text


async def test_a_cancelled_stream_is_charged_the_last_counts_seen(house):
    async def two_choices(instance, request):
        yield Started(prompt_tokens=7, cached_tokens=3)
        yield TextDelta(choice=0, text="a", completion_tokens=4)
        yield TextDelta(choice=1, text="b", completion_tokens=2)
        yield TextDelta(choice=0, text="c", completion_tokens=5)
        await asyncio.get_running_loop().create_future()

    house.script.answer = two_choices
    desk = Desk(house)
    async with desk.open(n=2) as events:
        for _ in range(4):
            await anext(events)
    record = desk.service.finish(desk.trace, 499)
    assert record is not None
    assert record.is_cancelled
    assert (record.prompt_tokens, record.cached_tokens, record.completion_tokens) == (7, 3, 7)


async def test_a_refused_request_is_accounted_too_and_its_model_is_no_label(house, logs):
    desk = Desk(house)
    trace = desk.service.begin("r9")
    trace.model = "made-up"
    trace.fail(ModelNotFound("made-up", known=["m"]))
    record = desk.service.finish(trace, 404)
    assert record is not None
    assert (record.error_code, record.instance_id, record.ttft_s) == ("model_not_found", None, None)
    assert 'enginehouse_requests_total{model="",status="404"} 1' in desk.service.metrics_text()
    assert logs[-1]["model"] == "made-up"


async def test_observers_get_the_record(house):
    seen = []

    class Observer:
        enginehouse_api = "1.0"

        @hookimpl
        def enginehouse_request_finished(self, record):
            seen.append(record)

    plugins = Plugins()
    plugins.add(Observer(), "observer")
    desk = Desk(house, plugins=plugins)
    await desk.ask()
    assert desk.service.finish(desk.trace, 200) is seen[0]


async def test_no_prompt_and_no_text_is_logged(house, logs):
    desk = Desk(house)
    await desk.ask()
    desk.service.finish(desk.trace, 200)
    assert "hello" not in str(logs)
    assert "hi" not in [value for line in logs for value in line.values()]


async def test_a_finish_without_a_delta_counts_as_the_first_token(house):
    async def says_nothing(instance, request):
        yield Started(prompt_tokens=1)
        yield Finished(choice=0, reason="stop")
        yield UsageReport(prompt_tokens=1, completion_tokens=0)

    house.script.answer = says_nothing
    desk = Desk(house)
    await desk.ask()
    record = desk.service.finish(desk.trace, 200)
    assert record is not None
    assert record.ttft_s is not None


async def test_every_error_of_the_fleet_is_one_of_the_contract():
    for error in (Draining, QueueFull, InstanceUnavailable, ModelNotFound, TotalTimeout):
        assert issubclass(error, EnginehouseError)
