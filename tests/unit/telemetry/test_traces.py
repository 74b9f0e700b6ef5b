"""Trace context in and out, and which traces are told."""

from __future__ import annotations

import asyncio

import pytest

from enginehouse.telemetry.traces import Parent, Sampling, Trace, begun
from enginehouse_plugin import trace_headers

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
GOOD = f"00-{TRACE}-{SPAN}-01".encode()


def begin(
    sampling: Sampling | None = None, *, heeds_parent: bool = True, passes_on: bool = True, **named: bytes
) -> Trace:
    return begun(
        "POST", "/v1/chat/completions", {name.encode(): value for name, value in named.items()},
        sampling=sampling or Sampling(), is_passed_on=passes_on, heeds_parent=heeds_parent,
    )  # fmt: skip


def sent(trace: Trace) -> dict[str, str]:
    with trace.attempt("m#0", "vllm", 0.0):
        return dict(trace_headers.get())


def test_the_trace_of_a_client_is_continued_and_told_to_the_engine() -> None:
    trace = begin(traceparent=GOOD, tracestate=b"other=1,more=2")
    assert trace.parent == Parent(int(TRACE, 16), int(SPAN, 16), is_sampled=True)
    headers = sent(trace)
    version, trace_id, span_id, flags = headers["traceparent"].split("-")
    assert (version, trace_id, flags) == ("00", TRACE, "01")
    assert int(span_id, 16) == trace.attempts[0].span_id != int(SPAN, 16)
    assert headers["tracestate"] == "other=1,more=2"
    assert trace_headers.get() == ()


@pytest.mark.parametrize(
    "header",
    [
        b"", b"00", GOOD.upper(), GOOD + b"-more", b"ff" + GOOD[2:], b"00-" + b"0" * 32 + GOOD[35:],
        GOOD[:36] + b"0" * 16 + b"-01", GOOD[:-1], GOOD + b"\xff",
    ],
)  # fmt: skip
def test_what_cannot_be_understood_starts_a_trace_of_its_own(header: bytes) -> None:
    trace = begin(traceparent=header, tracestate=b"other=1")
    assert trace.parent is None
    assert f"{trace.trace_id:032x}" != TRACE
    assert "tracestate" not in sent(trace)


def test_a_later_version_may_say_more() -> None:
    assert Parent.read(b"01" + GOOD[2:] + b"-what-comes") == Parent.read(GOOD)


def test_a_state_that_no_header_may_hold_is_left_out() -> None:
    assert "tracestate" not in sent(begin(traceparent=GOOD, tracestate=b"x=" + b"y" * 600))
    assert "tracestate" not in sent(begin(traceparent=GOOD, tracestate="x=\xe9".encode()))


def test_a_sender_has_decided_unless_the_sampler_does_not_follow_it() -> None:
    untold = GOOD[:-2] + b"00"
    assert not begin(traceparent=untold).is_sampled
    assert sent(begin(traceparent=untold))["traceparent"].endswith("-00")
    assert begin(Sampling(1.0, follows_parent=False), traceparent=untold).is_sampled
    assert begin(Sampling(0.0), traceparent=GOOD).is_sampled
    assert not begin(Sampling(0.0, follows_parent=False), traceparent=GOOD).is_sampled


def test_a_share_of_the_traces_that_begin_here_is_told() -> None:
    told = sum(begin(Sampling(0.25)).is_sampled for _ in range(4000))
    assert 800 < told < 1200
    assert all(begin(Sampling(1.0)).is_sampled for _ in range(100))
    assert not any(begin(Sampling(0.0)).is_sampled for _ in range(100))


def test_sampling_decides_as_opentelemetry_does() -> None:
    sampling = pytest.importorskip("opentelemetry.sdk.trace.sampling", reason="install the extra otel")
    theirs = sampling.TraceIdRatioBased(0.3)
    for _ in range(200):
        trace = begin(Sampling(0.3))
        assert trace.is_sampled is theirs.should_sample(None, trace.trace_id, "x").decision.is_sampled()


def test_nothing_is_taken_or_passed_on_where_that_is_switched_off() -> None:
    trace = begin(heeds_parent=False, passes_on=False, traceparent=GOOD)
    assert trace.parent is None
    assert sent(trace) == {}


async def test_tasks_that_an_engine_makes_know_the_trace_and_later_ones_do_not() -> None:
    async def known() -> dict[str, str]:
        await asyncio.sleep(0)
        return dict(trace_headers.get())

    trace = begin(traceparent=GOOD)
    with trace.attempt("m#0", "vllm", 0.0):
        inside = asyncio.create_task(known())
    outside = asyncio.create_task(known())
    assert TRACE in (await inside)["traceparent"]
    assert await outside == {}


def test_a_try_that_failed_keeps_its_first_error() -> None:
    trace = begin()
    trace.attempt_failed("engine_died", 0.1)  # before any: refused
    trace.attempt("m#0", "vllm", 0.2)
    trace.attempt_failed("engine_died", 0.3)
    trace.attempt_failed("timeout", 0.4)
    trace.attempt("m#1", "vllm", 0.5)
    trace.answered(0.9)
    assert [(one.instance_id, one.error, one.ended_s) for one in trace.attempts] == [
        ("m#0", "engine_died", 0.3), ("m#1", None, 0.9),
    ]  # fmt: skip
