"""Limits follow the target's own pace: a slow one gets its time, and a quick one no more than before."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from conformance_stub import Behaviour, StubServer
from enginehouse_conformance.checks.sse import free_within_s
from enginehouse_conformance.declared import Declared
from enginehouse_conformance.registry import Check
from enginehouse_conformance.runner import Options, Run, run_suite
from enginehouse_conformance.targets import Recording, UrlTarget
from enginehouse_conformance.targets.pace import Pace
from enginehouse_conformance.verdicts import Verdict
from enginehouse_conformance.vitals import Vitals


def request(**fields) -> bytes:
    return msgspec.json.encode({"messages": [], **fields})


def test_a_request_gets_what_the_pace_of_the_last_ones_makes_expect() -> None:
    pace = Pace(10.0, 8192)
    assert pace.time_for(request()) == 10.0
    pace.note(request(max_tokens=16), 16, 1.8)
    assert pace.time_for(request(max_tokens=16)) == 10.0
    assert pace.time_for(request(max_tokens=64)) == pytest.approx(4 * 65.7 / 10, rel=0.05)


def test_what_has_no_limit_may_fill_the_context_and_no_request_waits_for_ever() -> None:
    pace = Pace(10.0, 100)
    pace.note(request(max_tokens=16), 16, 1.8)
    assert pace.time_for(request()) == pytest.approx(4 * 101.5 / 10, rel=0.05)
    pace.note(request(max_tokens=1), 1, 60.0)
    assert pace.time_for(request()) == 50.0
    assert pace.time_for(b"no JSON") == 50.0


@pytest.mark.parametrize(("seen", "within_s"), [(999, 2.0), (500, 2.0), (100, 4.5), (20, 10.0), (0, 10.0)])
def test_a_slot_has_two_seconds_or_a_part_of_what_its_stream_would_take(seen, within_s) -> None:
    assert free_within_s(1000, seen) == within_s


class Slow(Behaviour):
    """A token takes 5 ms."""

    async def events(self, events, request):
        async for event in super().events(events, request):
            yield event
            await asyncio.sleep(0.005)


async def test_a_slow_target_is_waited_for() -> None:
    async with StubServer(Slow()) as server:
        target = UrlTarget(server.url, model="stub-1", declared=Declared(), timeout_s=0.4)
        body = {"messages": [{"role": "user", "content": "Hi"}], "logit_bias": {"97": 100}}
        assert (await target.ask({**body, "max_tokens": 16}, Recording())).completion_tokens == 16
        assert (await target.ask({**body, "max_tokens": 100}, Recording())).completion_tokens == 100


async def test_a_check_has_its_limit_moved_with_the_requests_of_a_slow_target() -> None:
    async with StubServer(Slow()) as server:
        target = UrlTarget(server.url, model="stub-1", declared=Declared(), timeout_s=0.3)
        report = await run_suite(target, Options(only=frozenset({"LEN7"}), check_timeout_s=0.35, patience_s=0.1))
    assert report.results[0].verdict is Verdict.PASS, report.results[0].message
    assert report.results[0].duration_s > 0.35


@pytest.mark.parametrize(
    ("own_s", "check_timeout_s", "time_scale", "verdict"),
    [
        (None, 0.02, 1.0, Verdict.ERROR),
        (0.02, 0.01, 1.0, Verdict.ERROR),
        (None, 0.02, 3000.0, Verdict.PASS),
        (60.0, 0.02, 1.0, Verdict.PASS),
        (0.02, 60.0, 1.0, Verdict.PASS),
    ],
)
async def test_a_check_has_the_run_s_time_or_its_own_whichever_is_longer_times_the_scale(
    own_s, check_timeout_s, time_scale, verdict
) -> None:
    async def slow(ctx) -> None:
        await asyncio.sleep(0.1)

    async with StubServer() as server:
        target = UrlTarget(server.url, model="stub-1", declared=Declared())
        options = Options(only=frozenset({"ENV1"}), check_timeout_s=check_timeout_s, time_scale=time_scale)
        run = Run(target, options)
        run._checks = {"ENV1": Check(rule="ENV1", function=slow, time_limit_s=own_s)}
        run._vitals = Vitals(target, timeout_s=60.0, patience_s=0.1)
        report = await run.whole()
    assert report.results[0].verdict is verdict, report.results[0].message
