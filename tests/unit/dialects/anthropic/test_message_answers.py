"""Messages: the bytes that an instance's events become, and what errors are called."""

from __future__ import annotations

import json

import pytest

from enginehouse.accounts.meters import RateLimited
from enginehouse.dialects.anthropic.messages.endpoint import MessagesEndpoint
from enginehouse.dialects.anthropic.messages.signature import recognised
from enginehouse_plugin import (
    Finished,
    ReasoningDelta,
    RefusalDelta,
    Started,
    TextDelta,
    ToolCallDelta,
)
from enginehouse_plugin.errors import (
    EngineDied,
    EngineProtocolError,
    EngineUnavailable,
    InvalidRequest,
    UnsupportedFeature,
)

from .asking import OPENAI, USAGE, called, read, streamed, whole


def test_a_stream_of_text() -> None:
    found = streamed(
        Started(10, 4),
        TextDelta(choice=0, text="Hel", completion_tokens=1),
        TextDelta(choice=0, text="lo", completion_tokens=2),
        Finished(choice=0, reason="stop"),
        USAGE,
    )
    assert [name for name, _ in found] == [
        "message_start",
        "content_block_start",
        "content_block_delta",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    usage = found[0][1]["message"]["usage"]
    assert (usage["input_tokens"], usage["cache_read_input_tokens"], usage["output_tokens"]) == (6, 4, 0)
    assert found[-2][1]["delta"] == {"stop_reason": "end_turn", "stop_sequence": None}
    assert found[-2][1]["usage"]["output_tokens"] == 3


def test_a_stream_of_thinking_text_and_calls() -> None:
    found = streamed(
        Started(10),
        ReasoningDelta(choice=0, text="Hm", completion_tokens=1),
        ReasoningDelta(choice=0, text=".", completion_tokens=2),
        TextDelta(choice=0, text="So:", completion_tokens=3),
        ToolCallDelta(choice=0, call_index=0, completion_tokens=4, id="a", name="look", arguments_fragment='{"x"'),
        ToolCallDelta(choice=0, call_index=0, completion_tokens=5, arguments_fragment=":1}"),
        ToolCallDelta(choice=0, call_index=1, completion_tokens=6, id="b", name="look"),
        Finished(choice=0, reason="tool_calls"),
        USAGE,
    )
    deltas = [said["delta"] for name, said in found if name == "content_block_delta"]
    assert [delta["type"] for delta in deltas] == [
        *("thinking_delta", "thinking_delta", "signature_delta", "text_delta"),
        *("input_json_delta", "input_json_delta", "input_json_delta"),
    ]
    assert recognised("Hm.", deltas[2]["signature"]) == "Hm."
    blocks = [(said["index"], said["content_block"]["type"]) for name, said in found if name == "content_block_start"]
    assert blocks == [(0, "thinking"), (1, "text"), (2, "tool_use"), (3, "tool_use")]
    stops = [said["index"] for name, said in found if name == "content_block_stop"]
    assert stops == [0, 1, 2, 3]
    assert found[-2][1]["delta"]["stop_reason"] == "tool_use"


def test_thinking_that_is_not_shown_is_in_its_signature() -> None:
    events = (
        Started(10),
        ReasoningDelta(choice=0, text="Secret.", completion_tokens=1),
        TextDelta(choice=0, text="Yes.", completion_tokens=2),
        Finished(choice=0, reason="stop"),
        USAGE,
    )
    hidden = {"thinking": {"type": "adaptive", "display": "omitted"}}
    (thinking, text) = whole(*events, **hidden)["content"]
    assert (thinking["thinking"], text["text"]) == ("", "Yes.")
    assert recognised("", thinking["signature"]) == "Secret."
    found = streamed(*events, **hidden)
    assert "Secret" not in json.dumps(found)
    (signature,) = [said["delta"]["signature"] for _, said in found if "signature" in said.get("delta", {})]
    assert recognised("", signature) == "Secret."


@pytest.mark.parametrize(
    ("finished", "reason", "sequence"),
    [
        (Finished(choice=0, reason="stop"), "end_turn", None),
        (Finished(choice=0, reason="stop", matched_stop="b"), "stop_sequence", "b"),
        (Finished(choice=0, reason="length"), "max_tokens", None),
        (Finished(choice=0, reason="content_filter"), "refusal", None),
    ],
)
def test_why_an_answer_ended(finished: Finished, reason: str, sequence: str | None) -> None:
    said = whole(TextDelta(choice=0, text="a", completion_tokens=3), finished, USAGE, max_tokens=3)
    assert (said["stop_reason"], said["stop_sequence"]) == (reason, sequence)


def test_the_end_of_the_context_is_told_from_the_limit() -> None:
    text = TextDelta(choice=0, text="a", completion_tokens=3)
    said = whole(text, Finished(choice=0, reason="length"), USAGE, max_tokens=4)
    assert said["stop_reason"] == "model_context_window_exceeded"


def test_a_whole_answer_has_the_blocks_of_a_stream() -> None:
    said = whole(
        ToolCallDelta(
            choice=0, call_index=0, completion_tokens=4, id="a", name="look", arguments_fragment='{"x": 1.50}'
        ),
        ToolCallDelta(choice=0, call_index=1, completion_tokens=6, id="b", name="look"),
        ToolCallDelta(choice=0, call_index=2, completion_tokens=6, id="c", name="look", arguments_fragment='{"x'),
        Finished(choice=0, reason="stop"),
        USAGE,
    )
    assert [block["input"] for block in said["content"]] == [{"x": 1.5}, {}, {"INVALID_JSON": '{"x'}]
    assert said["stop_reason"] == "tool_use"


def test_a_refusal_is_told() -> None:
    said = whole(RefusalDelta(choice=0, text="No.", completion_tokens=1), Finished(choice=0, reason="stop"), USAGE)
    assert (said["content"][0]["text"], said["stop_reason"]) == ("No.", "refusal")


def test_an_empty_answer_has_no_block() -> None:
    events = (TextDelta(choice=0, text="", completion_tokens=1), Finished(choice=0, reason="stop"), USAGE)
    assert whole(*events)["content"] == []
    assert [name for name, _ in streamed(*events)] == ["message_start", "message_delta", "message_stop"]


def test_nothing_is_sent_before_the_first_delta_and_a_failure_ends_the_stream() -> None:
    encoder = called(stream=True).encoder
    assert encoder.events([Started(10)]) == b""
    encoder.events([TextDelta(choice=0, text="a", completion_tokens=1)])
    ((name, said),) = read(encoder.fail(EngineDied("It ended.")))
    assert (name, said["error"]["type"], said["request_id"]) == ("error", "overloaded_error", "req-1")
    assert encoder.end() == b""
    assert read(encoder.keep_alive) == [("ping", {"type": "ping"})]


def test_events_out_of_order_are_refused() -> None:
    text, finished = TextDelta(choice=0, text="a", completion_tokens=1), Finished(choice=0, reason="stop")
    for events in ([finished, text], [text, USAGE], [text, finished]):
        for stream in (True, False):
            encoder = called(stream=stream).encoder
            with pytest.raises(EngineProtocolError):
                (encoder.events(events), encoder.end())


@pytest.mark.parametrize(
    ("error", "status", "kind"),
    [
        (EngineUnavailable("Not now."), 529, "overloaded_error"),
        (ZeroDivisionError(), 500, "api_error"),
        (InvalidRequest("No.", param="x"), 400, "invalid_request_error"),
        (RateLimited("No.", retry_after_s=3), 429, "rate_limit_error"),
        (InvalidRequest("No.", param=None, code="missing_api_key"), 401, "authentication_error"),
        (InvalidRequest("No.", param=None, code="key_not_allowed"), 403, "permission_error"),
        (InvalidRequest("No.", param=None, code="model_not_found"), 404, "not_found_error"),
        (InvalidRequest("No.", param=None, code="request_too_large"), 413, "request_too_large"),
        (InvalidRequest("No.", param=None, code="insufficient_credits"), 402, "billing_error"),
        (InvalidRequest("No.", param=None, code="timeout"), 504, "timeout_error"),
    ],
)
def test_errors_have_anthropics_types_and_statuses(error: Exception, status: int, kind: str) -> None:
    reply = MessagesEndpoint(OPENAI).errors.describe(error, "req-1")
    assert (reply.status, json.loads(reply.body)["error"]["type"]) == (status, kind)
    assert (b"retry-after" in dict(reply.headers)) == (status in (429, 529))


def test_what_a_model_lacks_is_named_as_this_api_has_it() -> None:
    reply = MessagesEndpoint(OPENAI).errors.describe(UnsupportedFeature("reasoning_effort", param="reasoning_effort"))
    assert "'output_config.effort'" in json.loads(reply.body)["error"]["message"]
