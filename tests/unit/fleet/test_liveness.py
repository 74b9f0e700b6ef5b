"""An engine that makes no progress is noticed, taken out and started again; one that is only slow is not."""

from __future__ import annotations

import asyncio
import time

import pytest
from tests.unit.conftest import a_request, hello
from tests.unit.service.desk import Desk, holds_on, never_begins, says_one_word_then_waits, waits_for_ever

from enginehouse.fleet import RequestPoisonous
from enginehouse.fleet.liveness import limit_of
from enginehouse_plugin import Started, TextDelta
from enginehouse_plugin.errors import EngineDied, EngineOverloaded, EngineUnavailable

QUICK = {"hang_timeout_s": 0.06}


@pytest.mark.parametrize(
    ("slowest_s", "limit_s"),
    [
        pytest.param(0.0, 60.0, id="nothing measured: what the configuration says"),
        pytest.param(10.0, 60.0, id="quick steps lower nothing"),
        pytest.param(50.0, 200.0, id="slow steps raise it"),
        pytest.param(1e6, 600.0, id="an answer after a night asleep is no measure"),
    ],
)
def test_the_limit_is_longer_than_any_step_that_was_seen(slowest_s, limit_s):
    assert limit_of(60.0, slowest_s) == limit_s


class Stopped:
    """Lets every question to the instances of *house* hang, until `go_on`."""

    def __init__(self, house) -> None:
        self.may_answer = asyncio.Event()

        async def check_ready() -> None:
            await self.may_answer.wait()

        for instance in house.script.instances:
            instance.check_ready = check_ready

    def go_on(self) -> None:
        self.may_answer.set()


async def test_an_idle_engine_that_hangs_is_started_again_and_all_listings_say_so(house):
    desk = Desk(house, house.config(server=QUICK))
    await house.until("ready")
    first = house.hosted.instance
    Stopped(house)
    await house.until("failed")
    assert house.hosted.reason == "it made no progress for 0.06 s"
    assert house.fleet.snapshot().state != "ready"
    assert house.hosted.instance is None
    await house.until("ready")
    assert (house.hosted.restarts, house.hosted.snapshot().hangs) == (1, 1)
    assert house.hosted.instance is not first
    assert 'enginehouse_instance_hangs_total{model="m",instance="m#0"} 1' in desk.service.metrics_text()
    assert house.script.instances[0].unloads == 1


async def test_an_engine_that_answers_between_two_steps_lives_on_however_long_a_prompt_takes(house):
    house.script.answer = waits_for_ever
    desk = Desk(house, house.config(server=QUICK))
    await house.until("ready")
    desk.open()
    await asyncio.sleep(0.3)
    assert house.hosted.state == "ready"
    assert house.hosted.restarts == 0
    desk.lease.cancel()


async def test_time_in_which_the_router_did_not_run_is_no_silence_of_the_engine(house):
    """As on a machine that was suspended."""
    Desk(house, house.config(server=QUICK))
    await house.until("ready")

    async def check_ready() -> None:
        await asyncio.sleep(0.02)

    house.script.instances[0].check_ready = check_ready
    for _ in range(3):
        time.sleep(0.2)  # noqa: ASYNC251  # that is what is tested
        await asyncio.sleep(0.03)
    assert house.hosted.restarts == 0
    assert house.hosted.state == "ready"


async def test_events_count_as_progress_where_the_question_is_not_answered(house):
    async def drips(instance, request):
        yield Started(prompt_tokens=7)
        for _ in range(15):
            await asyncio.sleep(0.02)
            async for event in hello(instance, request):
                yield event
                break

    house.script.answer = drips
    desk = Desk(house, house.config(server=QUICK))
    await house.until("ready")
    stopped = Stopped(house)
    await desk.ask()
    assert house.hosted.restarts == 0
    stopped.go_on()


async def test_a_question_that_fails_is_asked_again_before_it_counts(house):
    Desk(house, house.config(server={"hang_timeout_s": 0.3}))
    await house.until("ready")
    house.script.instances[0].is_answering = False
    await asyncio.sleep(0.12)
    house.script.instances[0].is_answering = True
    await asyncio.sleep(0.3)
    assert house.hosted.restarts == 0
    house.script.instances[0].is_answering = False
    house.script.check_error = EngineUnavailable("no descriptor is left")
    await house.until("failed")
    assert house.hosted.reason == "it made no progress for 0.3 s (no descriptor is left)"


async def test_a_question_that_this_host_cannot_ask_says_nothing_of_the_engine(house):
    """As where the router has no descriptor left: neither the watch nor a doubt ends a healthy engine for that."""
    Desk(house, house.config(server={"hang_timeout_s": 0.06}))
    await house.until("ready")
    house.script.instances[0].is_answering = False
    house.script.check_error = EngineOverloaded("too many open files")
    assert house.hosted.report(EngineUnavailable("it cannot be reached"))
    await asyncio.sleep(0.3)
    assert (house.hosted.state, house.hosted.restarts) == ("ready", 0)
    assert house.hosted.gate.is_open


async def test_a_request_that_had_no_delta_is_tried_again_on_the_engine_that_comes_back(house):
    house.script.answer = waits_for_ever
    desk = Desk(house, house.config(server=QUICK))
    await house.until("ready")
    desk.open()
    await desk.hear(1)
    Stopped(house)
    house.script.answer = hello
    events = await desk.reader.answer()
    assert [type(event).__name__ for event in events][-2:] == ["Finished", "UsageReport"]
    assert house.hosted.restarts == 1
    assert desk.gate.running == 0


async def test_a_stream_that_had_begun_ends_with_an_error_at_once(house):
    house.script.answer = says_one_word_then_waits
    desk = Desk(house, house.config(server=QUICK))
    await house.until("ready")
    desk.open()
    await desk.hear(2)
    Stopped(house)
    with pytest.raises(EngineDied, match=r"The engine was ended: it made no progress for 0\.06 s\."):
        await desk.reader.answer()
    await house.until("ready")
    assert desk.gate.running == 0


async def test_slots_come_back_also_where_a_backend_never_lets_go_of_a_request(house):
    house.script.answer = holds_on
    desk = Desk(house, house.config(server={**QUICK, "first_token_timeout_s": 30}))
    await house.until("ready")
    desk.open()
    await desk.hear(1)
    desk.lease.cancel()
    Stopped(house)
    await house.until("failed")
    await house.until("ready")
    assert desk.gate.running == 0


async def test_requests_that_time_out_unbegun_in_a_row_are_held_against_the_engine(house):
    house.script.answer = never_begins
    desk = Desk(house, house.config(server={"first_token_timeout_s": 0.01}))
    await house.until("ready")
    for turn in range(3):
        assert house.hosted.restarts == 0, turn
        desk.open()
        with pytest.raises(Exception, match="took longer to begin"):
            await desk.reader.answer()
    await house.until("failed")
    assert house.hosted.reason == "it let 3 requests in a row lie until they timed out"
    await house.until("ready")


async def test_requests_that_waited_elsewhere_for_most_of_their_time_are_not_held_against_the_engine(house):
    """Else clients could have a healthy engine ended: some hold its slots until the time of others is nearly over."""

    house.script.answer = never_begins
    desk = Desk(house, house.config(server={"first_token_timeout_s": 0.2}))
    await house.until("ready")
    for _ in range(4):
        slots = [desk.open() for _ in range(desk.gate.capacity)]
        desk.open()
        reader = desk.reader
        await asyncio.sleep(0.15)
        for lease in slots:
            lease.cancel()
        with pytest.raises(Exception, match="took longer to begin"):
            await reader.answer()
    await asyncio.sleep(0.01)
    assert (house.hosted.state, house.hosted.restarts) == ("ready", 0)


async def test_an_engine_that_works_on_others_lets_no_request_lie(house):
    """Nor by asking for more than it has room for: what waits inside of it is not begun."""

    async def works_on_one(instance, request):
        while request.max_tokens == 1:
            yield TextDelta(choice=0, text="x", completion_tokens=1)
            await asyncio.sleep(0.002)
        await asyncio.get_running_loop().create_future()

    house.script.answer = works_on_one
    desk = Desk(house, house.config(server={"first_token_timeout_s": 0.03}))
    await house.until("ready")
    busy = desk.open(max_tokens=1)
    for _ in range(4):
        with pytest.raises(Exception, match="took longer to begin"):
            await desk.ask(max_tokens=2)
    assert (house.hosted.state, house.hosted.restarts) == ("ready", 0)
    busy.cancel()


async def test_a_request_that_ends_two_engines_is_refused_by_itself_afterwards(house, eventually):
    async def kills(instance, request):
        if request.max_tokens == 4:
            instance.crash()
            raise EngineDied("gone")
        async for event in hello(instance, request):
            yield event

    house.script.answer = kills
    desk = Desk(house)
    with pytest.raises(EngineDied):
        await desk.ask(max_tokens=4)
    await eventually(lambda: house.hosted.restarts == 2)
    await house.until("ready")
    with pytest.raises(RequestPoisonous) as refused:
        desk.open(max_tokens=4, id="another")
    assert refused.value.code == "request_poisonous"
    assert len(await desk.ask(max_tokens=5)) == 5
    assert house.hosted.restarts == 2
    assert a_request(max_tokens=4) in house.script.requests
