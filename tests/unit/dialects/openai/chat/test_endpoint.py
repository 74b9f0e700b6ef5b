"""The chat endpoint: from a body to a call whose encoder writes the answer that was asked for."""

from __future__ import annotations

import json
from typing import Any

import pytest

from enginehouse.dialects.endpoint import Call, Encoder, Endpoint
from enginehouse.dialects.openai import errors
from enginehouse.dialects.openai.chat.endpoint import ChatEndpoint
from enginehouse.fleet import ModelNotFound
from enginehouse_plugin import AnyEvent, Finished, Profile, Started, TextDelta, UsageReport
from enginehouse_plugin.errors import EngineDied, EngineProtocolError, InvalidRequest
from enginehouse_plugin.profile import ErrorWords, Field

EVENTS: list[AnyEvent] = [Started(7), TextDelta(0, "Hi", 1), Finished(0, "stop"), UsageReport(7, 1)]


def called(endpoint: Endpoint | None = None, **fields: Any) -> Call:
    body = json.dumps({"model": "m", "messages": [{"role": "user", "content": "Hi"}], **fields}).encode()
    return (endpoint or ChatEndpoint(Profile(name="openai"))).decode(body, "req-1")


def written(encoder: Encoder) -> bytes:
    return encoder.events(EVENTS) + encoder.end()


def test_a_call_has_the_model_the_request_and_what_is_recorded() -> None:
    call = called(user="u", temperature=0)
    assert (call.model, call.request.id, call.request.temperature, call.recorded) == ("m", "req-1", 0, {"user": "u"})
    assert called().recorded is None


def test_what_a_body_says_itself_is_told_and_the_rest_is_the_apis() -> None:
    call = called(temperature=1, max_completion_tokens=5, top_k=None)
    assert set(call.said) == {"temperature", "max_tokens", "max_tokens_must_fit"}
    assert (call.request.top_p, call.request.top_k) == (1.0, 0)


def test_limits_are_those_of_the_profile() -> None:
    with pytest.raises(InvalidRequest, match="'n'") as caught:
        called(ChatEndpoint(Profile(name="narrow", fields={"n": Field(maximum=2)})), n=3)
    assert caught.value.param == "n"


def test_an_unknown_field_is_refused_or_named_as_ignored() -> None:
    with pytest.raises(InvalidRequest, match="foo"):
        called(foo=1)
    lax = Profile(name="lax", unknown_fields="report")
    for endpoint in (ChatEndpoint(Profile(name="openai"), unknown_fields="report"), ChatEndpoint(lax)):
        assert called(endpoint, foo=1).ignored == ("foo",)
    with pytest.raises(InvalidRequest, match="foo"):
        called(ChatEndpoint(lax, unknown_fields="refuse"), foo=1)


def test_a_whole_answer_is_json_written_at_its_end() -> None:
    encoder = called().encoder
    assert (encoder.is_stream, encoder.content_type, encoder.keep_alive) == (False, b"application/json", b"")
    answer = json.loads(written(encoder))
    assert answer["id"].startswith("chatcmpl-")
    assert (answer["model"], answer["choices"][0]["message"]["content"]) == ("m", "Hi")
    assert "service_tier" not in answer


def test_a_stream_is_events_with_what_its_options_ask_for() -> None:
    encoder = called(stream=True, stream_options={"include_usage": True, "include_obfuscation": True}).encoder
    assert encoder.is_stream
    assert encoder.content_type.startswith(b"text/event-stream")
    assert encoder.keep_alive.startswith(b":")
    *chunks, done, rest = written(encoder).split(b"\n\n")
    assert (done, rest) == (b"data: [DONE]", b"")
    told = [json.loads(chunk.removeprefix(b"data: ")) for chunk in chunks]
    assert told[-1]["usage"]["total_tokens"] == 8
    assert "obfuscation" in told[1]
    assert len({(chunk["id"], chunk["created"]) for chunk in told}) == 1


@pytest.mark.parametrize("is_stream", [False, True])
def test_the_tier_is_told_where_one_was_asked_for(is_stream: bool) -> None:
    assert b'"service_tier":"default"' in written(called(stream=is_stream, service_tier="auto").encoder)


def test_a_failure_of_a_whole_answer_is_the_body_of_the_error() -> None:
    error = EngineDied("It ended.")
    assert called().encoder.fail(error) == errors.describe(error).body


def chunks_of(data: bytes) -> list[dict[str, Any]]:
    return [json.loads(part[6:]) for part in data.split(b"\n\n") if part.startswith(b"data: {")]


def test_where_the_profile_says_so_the_last_chunk_waits_for_the_usage() -> None:
    encoder = called(ChatEndpoint(Profile(name="p", stream_usage="last_chunk")), stream=True, n=2).encoder
    before = encoder.events([Started(7), TextDelta(0, "Hi", 1), Finished(0, "stop"), Finished(1, "length")])
    told = chunks_of(before)
    assert [chunk["choices"][0]["finish_reason"] for chunk in told if "delta" in chunk["choices"][0]][-2:] == [
        "stop",
        None,
    ]
    (last,) = chunks_of(encoder.events([UsageReport(7, 1)]))
    assert (last["choices"][0]["index"], last["choices"][0]["finish_reason"]) == (1, "length")
    assert last["usage"]["total_tokens"] == 8
    assert all("usage" not in chunk for chunk in told)
    assert encoder.end() == b"data: [DONE]\n\n"


def test_a_client_that_asks_for_usage_gets_it_in_a_chunk_of_its_own() -> None:
    endpoint = ChatEndpoint(Profile(name="p", stream_usage="last_chunk"))
    encoder = called(endpoint, stream=True, stream_options={"include_usage": True}).encoder
    *_, finish, usage = chunks_of(encoder.events(EVENTS))
    assert (finish["usage"], usage["choices"], usage["usage"]["total_tokens"]) == (None, [], 8)


def test_a_last_chunk_whose_usage_never_comes_is_no_success() -> None:
    endpoint = ChatEndpoint(Profile(name="p", stream_usage="last_chunk"))
    encoder = called(endpoint, stream=True).encoder
    encoder.events(EVENTS[:-1])
    with pytest.raises(EngineProtocolError, match="usage"):
        encoder.end()
    failed = encoder.fail(EngineDied("It ended."))
    assert b'"error"' in failed
    assert b"finish_reason" not in failed
    assert encoder.end() == b""


def test_an_error_is_told_in_the_words_and_statuses_of_the_profile() -> None:
    profile = Profile(
        name="p",
        errors={400: ErrorWords(words="No."), 500: ErrorWords(words="Our fault.")},
        statuses={404: 400, 502: 500},
        retry_after=(500,),
        headers={"x-p": "1"},
    )
    endpoint = ChatEndpoint(profile, names={})
    with pytest.raises(ModelNotFound) as caught:
        called(endpoint)
    reply = endpoint.errors.describe(caught.value)
    assert reply.status == 400
    assert json.loads(reply.body)["error"]["message"].startswith("No. The model 'm' does not exist")
    broken = endpoint.errors.describe(EngineProtocolError("It is broken.", retry_after_s=3))
    assert (broken.status, dict(broken.headers)[b"retry-after"], dict(broken.headers)[b"x-p"]) == (500, b"3", b"1")
    failed = called(ChatEndpoint(profile), stream=True).encoder.fail(EngineDied("It ended."))
    assert b"It ended." in failed
