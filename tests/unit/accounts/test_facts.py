"""Counts and times of one request, as its record gives them."""

from __future__ import annotations

import msgspec
import pytest

from enginehouse.accounts import Facts
from enginehouse_plugin import (
    Finished,
    ReasoningDelta,
    RefusalDelta,
    RequestFacts,
    Started,
    TextDelta,
    ToolCallDelta,
    UsageReport,
)
from enginehouse_plugin.errors import EngineDied


def ended(facts: Facts, status: int) -> RequestFacts:
    """What is known of a request once it has ended."""
    facts.end(status)
    return facts.record()


def noted(*events) -> Facts:
    facts = Facts("r")
    facts.note(events)
    return facts


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
    facts = noted(Started(prompt_tokens=5), TextDelta(choice=0, text="x", completion_tokens=2), delta, delta)
    record = ended(facts, 499)
    assert (record.prompt_tokens, record.completion_tokens) == (5, 5)
    assert record.ttft_s is not None


def test_the_final_report_goes_before_the_running_counts():
    delta = TextDelta(choice=0, text="x", completion_tokens=2)
    usage = UsageReport(prompt_tokens=6, completion_tokens=9, cached_tokens=4)
    record = ended(noted(Started(prompt_tokens=5), delta, usage), 200)
    assert (record.prompt_tokens, record.cached_tokens, record.completion_tokens) == (6, 4, 9)


def test_what_the_engine_leaves_to_the_model_is_named_beside_what_the_router_left_out():
    facts = Facts("r")
    facts.ignored = ("mood",)
    facts.note((Started(ignored=("tools[0].function.parameters/uniqueItems",)),))
    assert ended(facts, 200).ignored == ("mood", "tools[0].function.parameters/uniqueItems")


def test_what_two_tries_leave_to_the_model_is_named_once():
    facts = Facts("r")
    for _ in range(2):
        facts.note((Started(ignored=("tools[0].function.parameters/uniqueItems",)),))
    assert ended(facts, 200).ignored == ("tools[0].function.parameters/uniqueItems",)


def test_it_does_not_matter_in_how_many_batches_events_come():
    events = (
        Started(prompt_tokens=5),
        TextDelta(choice=0, text="x", completion_tokens=2),
        Finished(choice=0, reason="stop"),
        UsageReport(prompt_tokens=5, completion_tokens=3),
    )
    facts = Facts("r")
    for event in events:
        facts.note((event,))
    whole, single = ended(noted(*events), 200), ended(facts, 200)
    times = {"ttft_s": 0.0, "duration_s": 0.0}
    assert msgspec.structs.replace(whole, **times) == msgspec.structs.replace(single, **times)


def test_prompt_tokens_that_come_with_the_report_are_counted():
    facts = noted(Started(prompt_tokens=None), TextDelta(choice=0, text="x", completion_tokens=2))
    assert facts.prompt_tokens == 0
    facts.note([UsageReport(prompt_tokens=6, completion_tokens=2)])
    assert facts.prompt_tokens == 6


def test_reasoning_tokens_are_those_of_the_report():
    facts = noted(ReasoningDelta(choice=0, text="x", completion_tokens=2))
    facts.note([UsageReport(prompt_tokens=6, completion_tokens=9, reasoning_tokens=5)])
    assert (facts.completion_tokens, facts.reasoning_tokens) == (9, 5)


def test_the_end_stops_the_clock_and_sets_the_status():
    facts = noted(Started(prompt_tokens=5))
    assert (facts.is_ended, facts.status) == (False, 0)
    record = ended(facts, 200)
    assert (facts.is_ended, facts.status, facts.duration_s) == (True, 200, record.duration_s)


def test_finish_reasons_are_kept_in_their_order():
    assert ended(noted(Finished(choice=1, reason="length"), Finished(choice=0, reason="stop")), 200).finish_reasons == (
        "length", "stop"
    )  # fmt: skip


def test_without_a_delta_there_is_no_time_to_it():
    facts = noted(Started(prompt_tokens=5))
    assert not facts.has_delta
    assert ended(facts, 200).ttft_s is None


@pytest.mark.parametrize(("error", "code"), [(EngineDied("x"), "engine_died"), (KeyError("x"), "internal_error")])
def test_an_error_is_noted_by_its_code(error, code):
    facts = Facts("r")
    facts.fail(error)
    assert ended(facts, 500).error_code == code


def test_every_fact_that_observers_get_is_one_that_is_kept():
    facts = Facts("r")
    assert [name for name in RequestFacts.__struct_fields__ if not hasattr(facts, name)] == []


def test_observers_get_the_facts_as_they_were_noted():
    facts = noted(Started(prompt_tokens=5, cached_tokens=1), TextDelta(choice=0, text="x", completion_tokens=2))
    facts.endpoint, facts.model, facts.instance_id, facts.key = "chat", "m", "m#0", "k"
    facts.is_stream = facts.is_cancelled = True
    facts.queue_s, facts.ignored, facts.error_code = 0.5, ("a", "b"), "engine_died"
    assert ended(facts, 499) == RequestFacts(
        request_id="r", model="m", instance_id="m#0", key="k", status=499, is_stream=True, is_cancelled=True,
        ttft_s=facts.ttft_s, duration_s=facts.duration_s, prompt_tokens=5, cached_tokens=1, completion_tokens=2,
        finish_reasons=(), error_code="engine_died", reasoning_tokens=0, queue_s=0.5, endpoint="chat",
        ignored=("a", "b"),
    )  # fmt: skip
