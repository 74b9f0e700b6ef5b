"""What is noted of a request: its account, its log line, its record."""

from __future__ import annotations

import asyncio

from enginehouse.fleet import (
    Draining,
    InstanceUnavailable,
    ModelNotFound,
    QueueFull,
    TotalTimeout,
)
from enginehouse.plugins import Plugins
from enginehouse_plugin import (
    Finished,
    Started,
    TextDelta,
    UsageReport,
    hookimpl,
)
from enginehouse_plugin.errors import (
    EnginehouseError,
)

from .desk import Desk

# ---- the account ----


async def test_a_finished_request_is_accounted_from_the_engines_counts_once(house, logs):
    desk = Desk(house)
    await desk.ask()
    desk.facts.key = "alice"
    record = desk.finish(200)
    assert desk.finish(500) == record
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


async def test_what_has_ended_is_accounted_for_in_its_time_and_before_metrics_are_read(house, logs):
    desk = Desk(house)
    await desk.ask()
    desk.service.finish(desk.facts, 200)
    assert 'enginehouse_requests_total{model="m",status="200"} 1' in desk.service.metrics_text()
    await desk.ask()
    desk.service.finish(desk.facts, 200)
    async with asyncio.timeout(10):
        while [line["event"] for line in logs].count("request") < 2:  # noqa: ASYNC110  # a log has no event of its own
            await asyncio.sleep(0.002)


async def test_a_cancelled_stream_is_charged_the_last_counts_seen(house):
    async def two_choices(instance, request):
        yield Started(prompt_tokens=7, cached_tokens=3)
        yield TextDelta(choice=0, text="a", completion_tokens=4)
        yield TextDelta(choice=1, text="b", completion_tokens=2)
        yield TextDelta(choice=0, text="c", completion_tokens=5)
        await asyncio.get_running_loop().create_future()

    house.script.answer = two_choices
    desk = Desk(house)
    await house.until("ready")
    desk.open(n=2)
    await desk.hear(4)
    desk.lease.cancel()
    record = desk.finish(499)
    assert record.is_cancelled
    assert (record.prompt_tokens, record.cached_tokens, record.completion_tokens) == (7, 3, 7)


async def test_a_refused_request_is_accounted_too_and_its_model_is_no_label(house, logs):
    desk = Desk(house)
    facts = desk.service.begin("r9")
    facts.model = "made-up"
    facts.fail(ModelNotFound("made-up", known=["m"]))
    record = desk.finish(404, facts)
    assert (record.error_code, record.instance_id, record.ttft_s) == ("model_not_found", None, None)
    assert 'enginehouse_requests_total{model="",status="404"} 1' in desk.service.metrics_text()
    assert logs[-1]["model"] == "made-up"


async def test_observers_get_the_record(house):
    seen = []

    class Observer:
        enginehouse_api = "2.0"

        @hookimpl
        def enginehouse_request_finished(self, facts):
            seen.append(facts)

    plugins = Plugins()
    plugins.add(Observer(), "observer")
    desk = Desk(house, plugins=plugins)
    await desk.ask()
    assert [desk.finish(200)] == seen


async def test_no_prompt_and_no_text_is_logged(house, logs):
    desk = Desk(house)
    await desk.ask()
    desk.finish(200)
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
    record = desk.finish(200)
    assert record.ttft_s is not None


async def test_every_error_of_the_fleet_is_one_of_the_contract():
    for error in (Draining, QueueFull, InstanceUnavailable, ModelNotFound, TotalTimeout):
        assert issubclass(error, EnginehouseError)
