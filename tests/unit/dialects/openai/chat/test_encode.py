"""Events to a body, and events to a stream: the order of a stream, and that both say the same."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from enginehouse.dialects.openai import errors
from enginehouse.dialects.openai.chat.answers import AnswerHead, ChatAnswer, ChatChunk
from enginehouse.dialects.openai.chat.decode import decode_chat
from enginehouse.dialects.openai.chat.encode import DONE, ChatBody, ChatStream
from enginehouse_plugin.errors import EngineDied, EngineProtocolError
from enginehouse_plugin.events import (
    AnyEvent,
    Finished,
    ReasoningDelta,
    RefusalDelta,
    Started,
    TextDelta,
    TokenLogprob,
    ToolCallDelta,
    TopLogprob,
    UsageReport,
)

HEAD = AnswerHead(id="chatcmpl-1", created=1767225600, model="org/m")
USAGE = UsageReport(prompt_tokens=7, completion_tokens=5, cached_tokens=3, reasoning_tokens=2)


def streamed(events: list[AnyEvent], **kwargs: Any) -> list[dict[str, Any]]:
    """The chunks of a stream that succeeds, each checked against its struct and the SDK's type."""
    stream = ChatStream(HEAD, **kwargs)
    data = b"".join([stream.events((event,)) for event in events] + [stream.end()])
    *parts, last, rest = data.split(b"\n\n")
    assert (last + b"\n\n", rest) == (DONE, b"")
    chunks = []
    for part in parts:
        assert part.startswith(b"data: {")
        assert b"\n" not in part
        msgspec.json.decode(part[6:], type=ChatChunk)
        chunks.append(json.loads(part[6:]))
        ChatCompletionChunk.model_validate(chunks[-1], strict=True)
    return chunks


def whole(events: list[AnyEvent], **kwargs: Any) -> dict[str, Any]:
    body = ChatBody(HEAD, **kwargs)
    assert body.events(events) == b""
    data = body.end()
    msgspec.json.decode(data, type=ChatAnswer)
    answer = json.loads(data)
    ChatCompletion.model_validate(answer, strict=True)
    return answer


def assembled(chunks: list[dict[str, Any]]) -> dict[int, dict[str, Any]]:
    """Put the chunks together as a client does: per choice, its message, finish reason and log probabilities."""
    choices: dict[int, dict[str, Any]] = {}
    for chunk in chunks:
        for choice in chunk["choices"]:
            so_far = choices.setdefault(choice["index"], {"calls": {}, "content_logprobs": [], "refusal_logprobs": []})
            for field in ("role", "content", "refusal", "reasoning_content"):
                if choice["delta"].get(field) is not None:
                    so_far[field] = so_far.get(field, "") + choice["delta"][field]
            for piece in choice["delta"].get("tool_calls", ()):
                call = so_far["calls"].setdefault(piece["index"], {"arguments": ""})
                call.update({name: piece[name] for name in ("id", "type") if name in piece})
                call["arguments"] += piece["function"]["arguments"]
                if "name" in piece["function"]:
                    call["name"] = piece["function"]["name"]
            for channel in ("content", "refusal"):
                so_far[f"{channel}_logprobs"] += (choice["logprobs"] or {}).get(channel) or []
            if choice["finish_reason"]:
                assert "finish_reason" not in so_far
                so_far["finish_reason"] = choice["finish_reason"]
    return choices


def token(text: str, channel: Any = "content", logprob: float = -0.5) -> TokenLogprob:
    raw = text.encode()
    return TokenLogprob(text, 1, raw, logprob, (TopLogprob(text, 1, raw, logprob),), channel)


def test_the_first_chunk_of_a_choice_has_its_role_and_the_last_its_finish_reason() -> None:
    chunks = streamed([Started(7), TextDelta(0, "Hé\n", 1), TextDelta(0, "!", 2), Finished(0, "stop"), USAGE])
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks]
    assert deltas == [{"role": "assistant", "content": ""}, {"content": "Hé\n"}, {"content": "!"}, {}]
    assert [chunk["choices"][0]["finish_reason"] for chunk in chunks] == [None, None, None, "stop"]
    assert {(chunk["id"], chunk["created"], chunk["model"], chunk["object"]) for chunk in chunks} == {
        ("chatcmpl-1", 1767225600, "org/m", "chat.completion.chunk")
    }


def test_a_choice_without_text_still_has_its_role() -> None:
    (first, last) = streamed([Started(7), Finished(0, "length"), USAGE])
    assert first["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert (last["choices"][0]["delta"], last["choices"][0]["finish_reason"]) == ({}, "length")


def test_usage_comes_last_with_no_choices_only_where_it_was_asked_for() -> None:
    events = [Started(7), TextDelta(0, "a", 1), Finished(0, "stop"), USAGE]
    assert all("usage" not in chunk for chunk in streamed(events))
    *earlier, last = streamed(events, usage=True)
    assert all(chunk["usage"] is None for chunk in earlier)
    assert last["choices"] == []
    assert last["usage"] == whole(events)["usage"]
    assert last["usage"] == {
        "prompt_tokens": 7,
        "completion_tokens": 5,
        "total_tokens": 12,
        "prompt_tokens_details": {"cached_tokens": 3},
        "completion_tokens_details": {"reasoning_tokens": 2},
    }


def test_the_stop_string_that_matched_stands_beside_the_finish_reason() -> None:
    events = [Started(7), TextDelta(0, "a", 1), Finished(0, "stop", 'E"D'), USAGE]
    (choice,) = whole(events)["choices"]
    (last,) = streamed(events)[-1]["choices"]
    assert [(end["finish_reason"], end["stop_reason"]) for end in (choice, last)] == [("stop", 'E"D')] * 2
    events[2] = Finished(0, "stop")
    assert "stop_reason" not in whole(events)["choices"][0]
    assert all("stop_reason" not in choice for chunk in streamed(events) for choice in chunk["choices"])


def test_id_and_name_of_a_call_come_once_and_first() -> None:
    events = [
        Started(7),
        ToolCallDelta(0, 0, 1, id="call_1", name="f"),
        ToolCallDelta(0, 0, 2, arguments_fragment='{"a":'),
        ToolCallDelta(0, 0, 3, arguments_fragment="1}"),
        ToolCallDelta(0, 1, 4, id="call_2", name="g", arguments_fragment="{}"),
        Finished(0, "tool_calls"),
        USAGE,
    ]
    deltas = [chunk["choices"][0]["delta"] for chunk in streamed(events)]
    assert deltas[0] == {"role": "assistant", "content": None}
    function = {"name": "f", "arguments": ""}
    assert deltas[1] == {"tool_calls": [{"index": 0, "id": "call_1", "type": "function", "function": function}]}
    assert deltas[2] == {"tool_calls": [{"index": 0, "function": {"arguments": '{"a":'}}]}
    message = whole(events)["choices"][0]["message"]
    assert message["content"] is None
    assert [call["function"] for call in message["tool_calls"]] == [
        {"name": "f", "arguments": '{"a":1}'},
        {"name": "g", "arguments": "{}"},
    ]


def test_a_message_of_an_answer_can_be_sent_back() -> None:
    events: list[AnyEvent] = [
        Started(7),
        ReasoningDelta(0, "hm", 1),
        TextDelta(0, "t", 2),
        ToolCallDelta(0, 0, 3, id="c", name="f"),
        Finished(0, "tool_calls"),
        USAGE,
    ]
    message = whole(events)["choices"][0]["message"]
    user = {"role": "user", "content": "Hi"}
    result = {"role": "tool", "tool_call_id": "c", "content": "1"}
    decode_chat(json.dumps({"model": "m", "messages": [user, message, result]}).encode())


def test_reasoning_and_refusal_have_fields_of_their_own() -> None:
    events = [
        Started(7),
        ReasoningDelta(0, "hm", 1),
        RefusalDelta(0, "no", 2),
        Finished(0, "stop"),
        USAGE,
    ]
    message = whole(events)["choices"][0]["message"]
    assert message == {"role": "assistant", "content": None, "refusal": "no", "reasoning_content": "hm"}
    assert [chunk["choices"][0]["delta"] for chunk in streamed(events)][1:3] == [
        {"reasoning_content": "hm"},
        {"refusal": "no"},
    ]


def test_logprobs_are_there_only_where_they_were_asked_for() -> None:
    events = [Started(7), TextDelta(0, "a", 1, (token("a"),)), Finished(0, "stop"), USAGE]
    assert whole(events)["choices"][0]["logprobs"] is None
    assert all(chunk["choices"][0]["logprobs"] is None for chunk in streamed(events))
    entry = {
        "token": "a",
        "logprob": -0.5,
        "bytes": [97],
        "top_logprobs": [{"token": "a", "logprob": -0.5, "bytes": [97]}],
    }
    asked = {"content": [entry], "refusal": None}
    assert whole(events, logprobs=True)["choices"][0]["logprobs"] == asked
    assert streamed(events, logprobs=True)[1]["choices"][0]["logprobs"] == asked


def test_logprobs_are_sorted_by_channel_and_finite() -> None:
    tokens = (token("r", "reasoning"), token("n", "refusal"), token("c", logprob=float("-inf")))
    logprobs = whole([Started(1), TextDelta(0, "c", 1, tokens), Finished(0, "stop"), USAGE], logprobs=True)
    told = logprobs["choices"][0]["logprobs"]
    assert [entry["token"] for entry in told["content"]] == ["c"]
    assert [entry["token"] for entry in told["refusal"]] == ["n"]
    assert told["content"][0]["logprob"] == -9999.0


def test_obfuscation_rounds_the_size_of_chunks() -> None:
    sizes = set()
    for text in ("a", "abc", "abcdefghijkl"):
        stream = ChatStream(HEAD, obfuscation=True)
        stream.events((TextDelta(0, "", 0),))
        chunk = stream.events((TextDelta(0, text, 1),))
        assert set(json.loads(chunk[6:])["obfuscation"]) <= set(
            "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
        )
        sizes.add(len(chunk))
    assert len(sizes) == 1


def test_after_an_error_nothing_claims_success() -> None:
    stream = ChatStream(HEAD, usage=True)
    stream.events((TextDelta(0, "a", 1),))
    event = stream.fail(EngineDied("The engine ended."))
    assert event == b"data: " + errors.describe(EngineDied("The engine ended.")).body + b"\n\n"
    assert event.count(b"\n") == 2
    assert stream.end() == b""
    for late in (TextDelta(0, "b", 2), Finished(0, "stop"), USAGE):
        with pytest.raises(EngineProtocolError):
            stream.events((late,))


@pytest.mark.parametrize("encode", [streamed, whole])
@pytest.mark.parametrize(
    "events",
    [
        [Finished(0, "stop"), TextDelta(0, "late", 1)],
        [Finished(0, "stop"), Finished(0, "stop")],
        [TextDelta(1, "other", 1)],
        [TextDelta(-1, "other", 1)],
        [TextDelta(0, "unfinished", 1), USAGE],
    ],
)
def test_a_broken_order_of_events_is_never_passed_on(events: list[AnyEvent], encode: Any) -> None:
    with pytest.raises(EngineProtocolError):
        encode(events)


def test_a_body_needs_the_usage() -> None:
    with pytest.raises(EngineProtocolError):
        whole([Started(7), Finished(0, "stop")])


def test_the_tier_is_named_only_where_the_request_named_one() -> None:
    events = [Started(7), Finished(0, "stop"), USAGE]
    assert "service_tier" not in whole(events)
    stream = ChatStream(msgspec.structs.replace(HEAD, service_tier="default"))
    chunk = json.loads(stream.events((Finished(0, "stop"),)).split(b"\n\n")[0][6:])
    assert chunk["service_tier"] == "default"


class Origin:
    def __init__(self, fingerprint: str | None) -> None:
        self.fingerprint = fingerprint


@pytest.mark.parametrize("fingerprint", ["fp_1", None])
def test_every_chunk_and_the_body_name_what_the_answer_is_from(fingerprint: str | None) -> None:
    """It is known once the instance has started, and no other one is tried from the first delta on."""
    events = [Started(7), TextDelta(0, "a", 1), TextDelta(1, "b", 1), Finished(0, "stop"), Finished(1, "stop"), USAGE]
    head = msgspec.structs.replace(HEAD, model='x,"system_fingerprint":null')
    stream, body = ChatStream(head, n=2, usage=True), ChatBody(head, n=2)
    for encoder in (stream, body):
        encoder.origin = Origin("fp_of_the_first_try")
        encoder.events(events[:1])
        encoder.origin.fingerprint = fingerprint
    chunks = [json.loads(part[6:]) for part in stream.events(events[1:]).split(b"\n\n")[:-1]]
    body.events(events[1:])
    assert len(chunks) == 7
    for written in (*chunks, json.loads(body.end())):
        assert (written["system_fingerprint"], written["model"]) == (fingerprint, head.model)


def test_a_batch_is_written_in_one_piece_that_is_the_same_as_one_by_one() -> None:
    events = [Started(7), TextDelta(0, "a", 1), TextDelta(0, "b", 2), Finished(0, "stop"), USAGE]
    one_by_one, together = ChatStream(HEAD), ChatStream(HEAD)
    assert together.events(events) == b"".join(one_by_one.events((event,)) for event in events)


TEXTS = st.text(st.characters(exclude_categories=("Cs",)), max_size=12)


@st.composite
def answers(draw: st.DrawFn) -> tuple[int, list[AnyEvent]]:
    """Events of any answer of up to three choices, in any order that the contract allows."""
    n = draw(st.integers(1, 3))
    pending: list[list[AnyEvent]] = []
    for choice in range(n):
        events: list[AnyEvent] = []
        for count in range(1, draw(st.integers(0, 5)) + 1):
            text = draw(TEXTS)
            kind = draw(st.sampled_from([TextDelta, ReasoningDelta, RefusalDelta]))
            channel = {TextDelta: "content", ReasoningDelta: "reasoning", RefusalDelta: "refusal"}[kind]
            events.append(kind(choice, text, count, (token(text, channel),) if draw(st.booleans()) else None))
        for call in range(draw(st.integers(0, 2))):
            events.append(ToolCallDelta(choice, call, 9, id=f"call_{choice}_{call}", name=draw(TEXTS)))
            events += [ToolCallDelta(choice, call, 9, arguments_fragment=draw(TEXTS)) for _ in range(2)]
        events.append(Finished(choice, draw(st.sampled_from(["stop", "length", "tool_calls", "content_filter"]))))
        pending.append(events)
    order: list[AnyEvent] = [Started(draw(st.integers(0, 99)))]
    while any(pending):
        events = draw(st.sampled_from([events for events in pending if events]))
        order.append(events.pop(0))
    return n, [*order, USAGE]


@settings(max_examples=150, deadline=None)
@given(answers(), st.booleans(), st.booleans())
def test_a_stream_put_together_is_the_body(
    answer: tuple[int, list[AnyEvent]], logprobs: bool, obfuscation: bool
) -> None:
    n, events = answer
    chunks = streamed(events, n=n, logprobs=logprobs, usage=True, obfuscation=obfuscation)
    body = whole(events, n=n, logprobs=logprobs)
    choices = assembled(chunks)
    assert sorted(choices) == list(range(n))
    for index, choice in choices.items():
        expected = body["choices"][index]
        message = expected["message"]
        assert choice["role"] == message["role"] == "assistant"
        assert choice["finish_reason"] == expected["finish_reason"]
        for field in ("content", "refusal", "reasoning_content"):
            assert choice.get(field, "") == (message.get(field) or "")
        assert [(call["id"], call["name"], call["arguments"]) for _, call in sorted(choice["calls"].items())] == [
            (call["id"], call["function"]["name"], call["function"]["arguments"])
            for call in message.get("tool_calls", ())
        ]
        for channel in ("content", "refusal"):
            assert choice[f"{channel}_logprobs"] == ((expected["logprobs"] or {}).get(channel) or [])
    assert chunks[-1]["usage"] == body["usage"]
    assert (chunks[-1]["id"], chunks[-1]["model"]) == (body["id"], body["model"])
