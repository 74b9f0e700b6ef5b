"""The chat endpoint: from a body to a call whose encoder writes the answer that was asked for."""

from __future__ import annotations

import json
from typing import Any

import pytest

from enginehouse.config import Defaults
from enginehouse.dialects.endpoint import Call, Encoder, Endpoint
from enginehouse.dialects.openai.chat.endpoint import ChatEndpoint
from enginehouse_plugin import AnyEvent, Finished, Profile, Started, TextDelta, UsageReport
from enginehouse_plugin.errors import EngineDied, InvalidRequest

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


def test_defaults_are_those_of_the_model_that_is_asked_for() -> None:
    endpoint = ChatEndpoint(Profile(name="openai", default_top_p=0.5), defaults={"m": Defaults(temperature=0.1)})
    assert called(endpoint).request.temperature == 0.1
    assert called(endpoint, model="other").request.temperature == 1.0
    assert called(endpoint).request.top_p == 0.5


def test_limits_are_those_of_the_profile() -> None:
    with pytest.raises(InvalidRequest, match="'n'") as caught:
        called(ChatEndpoint(Profile(name="narrow", max_n=2)), n=3)
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
    assert called().encoder.fail(error) == ChatEndpoint.errors.describe(error).body
