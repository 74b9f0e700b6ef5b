"""Answers of Responses: whole, and every event of a stream in its order."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from enginehouse.dialects.openai.responses.answers import ResponseAnswer, ResponsesEvent
from enginehouse.dialects.openai.responses.endpoint import ResponsesEndpoint
from enginehouse_plugin import (
    AnyEvent,
    Finished,
    Profile,
    ReasoningDelta,
    RefusalDelta,
    Started,
    TextDelta,
    TokenLogprob,
    ToolCallDelta,
    UsageReport,
)
from enginehouse_plugin.errors import EngineDied, EngineProtocolError

ADAPTER: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)
TEXT: list[AnyEvent] = [
    Started(3),
    TextDelta(0, "Hi", 1),
    TextDelta(0, " you", 2),
    Finished(0, "stop"),
    UsageReport(3, 2, 1),
]


def encoder(**fields: Any) -> Any:
    body = json.dumps({"model": "m", "input": "Hi", "store": False, **fields}).encode()
    return ResponsesEndpoint(Profile(name="openai")).decode(body, "r").encoder


def parsed(data: bytes) -> list[dict[str, Any]]:
    """The events in *data*: each is one of the document's, and one that the SDK knows."""
    found = []
    for block in data.decode().split("\n\n")[:-1]:
        kind, text = block.split("\n")
        event = json.loads(text.removeprefix("data: "))
        assert kind == f"event: {event['type']}"
        msgspec.json.decode(text.removeprefix("data: "), type=ResponsesEvent)
        ADAPTER.validate_python(event)
        found.append(event)
    assert [event["sequence_number"] for event in found] == list(range(len(found)))
    return found


def streamed(events: list[AnyEvent], **fields: Any) -> list[dict[str, Any]]:
    writer = encoder(stream=True, **fields)
    return parsed(b"".join(writer.events([event]) for event in events) + writer.end())


def whole(events: list[AnyEvent], **fields: Any) -> dict[str, Any]:
    writer = encoder(**fields)
    assert writer.events(events) == b""
    body = writer.end()
    msgspec.json.decode(body, type=ResponseAnswer)
    Response.model_validate_json(body)
    found: dict[str, Any] = json.loads(body)
    return found


def kinds(events: list[dict[str, Any]]) -> list[str]:
    return [event["type"].removeprefix("response.") for event in events]


def told(response: dict[str, Any]) -> Any:
    """What *response* says, without what differs between two answers."""
    items = [{name: value for name, value in item.items() if name != "id"} for item in response["output"]]
    return response["status"], response["incomplete_details"], items, response["usage"]


EVERYTHING: list[AnyEvent] = [
    Started(3),
    ReasoningDelta(0, "H", 1),
    ReasoningDelta(0, "m", 2),
    TextDelta(0, "So", 3),
    RefusalDelta(0, "No", 4),
    ToolCallDelta(0, 0, 5, "c1", "f", ""),
    ToolCallDelta(0, 0, 6, arguments_fragment='{"a":'),
    ToolCallDelta(0, 0, 7, arguments_fragment="1}"),
    ToolCallDelta(0, 1, 8, "c2", "g", '{"input":"x'),
    ToolCallDelta(0, 1, 9, arguments_fragment='\\ny"}'),
    Finished(0, "tool_calls"),
    UsageReport(3, 9, 1, 2),
]
TOOLS = [{"type": "function", "name": "f", "parameters": None}, {"type": "custom", "name": "g"}]


def test_every_event_comes_in_its_order() -> None:
    events = streamed(EVERYTHING, tools=TOOLS)
    assert kinds(events) == [
        "created", "in_progress",
        "output_item.added", "content_part.added", "reasoning_text.delta", "reasoning_text.delta",
        "reasoning_text.done", "content_part.done", "output_item.done",
        "output_item.added", "content_part.added", "output_text.delta", "output_text.done", "content_part.done",
        "content_part.added", "refusal.delta", "refusal.done", "content_part.done", "output_item.done",
        "output_item.added", "function_call_arguments.delta", "function_call_arguments.delta",
        "function_call_arguments.done", "output_item.done",
        "output_item.added", "custom_tool_call_input.delta", "custom_tool_call_input.done", "output_item.done",
        "completed",
    ]  # fmt: skip
    indexes = [event["output_index"] for event in events if "output_index" in event]
    assert indexes == sorted(indexes)
    assert [event["item"]["status"] for event in events if event["type"].endswith("item.added")] == ["in_progress"] * 4
    done = [event["item"] for event in events if event["type"].endswith("item.done")]
    assert done == events[-1]["response"]["output"]
    assert events[-3]["input"] == "x\ny"


def test_stream_and_whole_answer_say_the_same() -> None:
    for events in (TEXT, EVERYTHING):
        for fields in ({}, {"reasoning": {"summary": "auto"}}, {"include": ["reasoning.encrypted_content"]}):
            one, other = streamed(events, tools=TOOLS, **fields)[-1]["response"], whole(events, tools=TOOLS, **fields)
            for response in (one, other):
                for item in response["output"]:
                    item.pop("encrypted_content", None)
            assert told(one) == told(other)


def test_reasoning_comes_as_a_summary_where_one_is_asked_for() -> None:
    events = streamed(EVERYTHING, tools=TOOLS, reasoning={"summary": "auto"})
    assert kinds(events)[2:9] == [
        "output_item.added", "reasoning_summary_part.added", "reasoning_summary_text.delta",
        "reasoning_summary_text.delta", "reasoning_summary_text.done", "reasoning_summary_part.done",
        "output_item.done",
    ]  # fmt: skip
    assert events[8]["item"]["summary"] == [{"type": "summary_text", "text": "Hm"}]
    assert "content" not in events[8]["item"]


@pytest.mark.parametrize(
    ("reason", "status", "why"),
    [
        ("stop", "completed", None),
        ("tool_calls", "completed", None),
        ("length", "incomplete", "max_output_tokens"),
        ("content_filter", "incomplete", "content_filter"),
    ],
)
def test_an_answer_that_is_cut_off_says_why(reason: Any, status: str, why: str | None) -> None:
    events = [*TEXT[:3], Finished(0, reason), UsageReport(3, 2)]
    last = streamed(events)[-1]
    assert last["type"] == f"response.{status}"
    for response in (last["response"], whole(events)):
        assert response["status"] == status
        assert (response["incomplete_details"] or {}).get("reason") == why
        assert response["output"][0]["status"] == status


def test_an_answer_without_a_word_has_an_empty_text() -> None:
    events: list[AnyEvent] = [Started(3), Finished(0, "stop"), UsageReport(3, 0)]
    assert whole(events)["output"][0]["content"][0]["text"] == ""
    assert kinds(streamed(events))[2:-1] == [
        "output_item.added", "content_part.added", "output_text.done", "content_part.done", "output_item.done",
    ]  # fmt: skip


def test_usage_has_its_details() -> None:
    assert whole(EVERYTHING, tools=TOOLS)["usage"] == {
        "input_tokens": 3,
        "input_tokens_details": {"cached_tokens": 1, "cache_write_tokens": 0},
        "output_tokens": 9,
        "output_tokens_details": {"reasoning_tokens": 2},
        "total_tokens": 12,
    }


def test_log_probabilities_come_where_they_are_asked_for() -> None:
    entries = (TokenLogprob("Hi", 5, b"Hi", -0.5), TokenLogprob("x", 6, b"x", -1.0, channel="reasoning"))
    events: list[AnyEvent] = [TextDelta(0, "Hi", 1, entries), Finished(0, "stop"), UsageReport(1, 1)]
    shown = {"token": "Hi", "logprob": -0.5, "bytes": [72, 105], "top_logprobs": []}
    asked = streamed(events, include=["message.output_text.logprobs"])
    assert asked[4]["logprobs"] == asked[5]["logprobs"] == [shown]
    assert streamed(events)[4]["logprobs"] == []


def test_obfuscation_pads_deltas_to_steps() -> None:
    plain, padded = streamed(TEXT), streamed(TEXT, stream_options={"include_obfuscation": True})
    assert kinds(plain) == kinds(padded)
    assert all(("obfuscation" in event) == event["type"].endswith(".delta") for event in padded)


def test_a_failure_ends_the_stream_and_nothing_follows() -> None:
    writer = encoder(stream=True)
    sent = writer.events(TEXT[:3]) + writer.fail(EngineDied("gone"))
    *_, last = parsed(sent)
    assert last["type"] == "response.failed"
    assert last["response"]["status"] == "failed"
    assert last["response"]["error"]["code"] == "server_error"
    assert last["response"]["output"][0]["content"][0]["text"] == "Hi you"
    early = encoder(stream=True)
    (error,) = parsed(early.events([Started(3)]) + early.fail(EngineDied("gone")))
    assert (error["type"], error["code"]) == ("error", "engine_died")


@pytest.mark.parametrize(
    "events",
    [
        TEXT[:3],
        TEXT[:4],
        [TEXT[1], TEXT[4]],
        [*TEXT[:4], TEXT[1]],
        [*TEXT[:4], TEXT[3]],
        [TextDelta(1, "x", 1)],
        [ToolCallDelta(0, 0, 1, arguments_fragment="{}")],
        [*TEXT, TEXT[1]],
    ],
)
def test_an_engine_that_breaks_the_order_is_told_apart(events: list[AnyEvent]) -> None:
    with pytest.raises(EngineProtocolError):
        streamed(events)
    if events[-1] is not TEXT[1] or len(events) < 5:
        with pytest.raises(EngineProtocolError):
            whole(events)


def test_an_engine_may_not_go_back_to_a_call_in_a_stream() -> None:
    with pytest.raises(EngineProtocolError):
        streamed([*EVERYTHING[:9], EVERYTHING[6]], tools=TOOLS)
