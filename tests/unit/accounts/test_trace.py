"""Counts and times of one request, as its record gives them."""

from __future__ import annotations

import pytest

from enginehouse.accounts import Trace
from enginehouse_plugin import (
    Finished,
    ReasoningDelta,
    RefusalDelta,
    Started,
    TextDelta,
    ToolCallDelta,
    UsageReport,
)
from enginehouse_plugin.errors import EngineDied


def noted(*events) -> Trace:
    trace = Trace("r")
    for event in events:
        trace.note(event)
    return trace


@pytest.mark.parametrize(
    "delta",
    [
        TextDelta(choice=1, text="x", completion_tokens=3),
        ReasoningDelta(choice=1, text="x", completion_tokens=3),
        RefusalDelta(choice=1, text="x", completion_tokens=3),
        ToolCallDelta(choice=1, call_index=0, completion_tokens=3, id="c", name="f"),
    ],
)
def test_running_counts_add_up_over_the_choices(delta):
    trace = noted(Started(prompt_tokens=5), TextDelta(choice=0, text="x", completion_tokens=2), delta, delta)
    record = trace.record(499)
    assert (record.prompt_tokens, record.completion_tokens) == (5, 5)
    assert record.ttft_s is not None


def test_the_final_report_goes_before_the_running_counts():
    delta = TextDelta(choice=0, text="x", completion_tokens=2)
    usage = UsageReport(prompt_tokens=6, completion_tokens=9, cached_tokens=4)
    record = noted(Started(prompt_tokens=5), delta, usage).record(200)
    assert (record.prompt_tokens, record.cached_tokens, record.completion_tokens) == (6, 4, 9)


def test_finish_reasons_are_kept_in_their_order():
    assert noted(Finished(choice=1, reason="length"), Finished(choice=0, reason="stop")).record(200).finish_reasons == (
        "length", "stop"
    )  # fmt: skip


def test_without_a_delta_there_is_no_time_to_it():
    trace = noted(Started(prompt_tokens=5))
    assert not trace.has_delta
    assert trace.record(200).ttft_s is None


@pytest.mark.parametrize(("error", "code"), [(EngineDied("x"), "engine_died"), (KeyError("x"), "internal_error")])
def test_an_error_is_noted_by_its_code(error, code):
    trace = Trace("r")
    trace.fail(error)
    assert trace.record(500).error_code == code
