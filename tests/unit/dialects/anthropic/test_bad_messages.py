"""Every violation of Messages is a 400 in Anthropic's own shape that names the field."""

from __future__ import annotations

import json
from typing import Any

import pytest

from enginehouse.dialects.anthropic.messages.endpoint import CountTokensEndpoint, MessagesEndpoint
from enginehouse.dialects.profiles import built_in

from .bad_messages import BAD, GOOD

OF_ANSWERS = {"max_tokens", "temperature", "top_p", "top_k", "stream", "stop_sequences", "metadata", "service_tier"}


def body(**fields: Any) -> bytes:
    return json.dumps({name: value for name, value in {**GOOD, **fields}.items() if value is not ...}).encode()


def refusal(endpoint: MessagesEndpoint | CountTokensEndpoint, data: bytes) -> dict[str, Any]:
    with pytest.raises(Exception) as caught:  # whatever it is, its status is judged
        endpoint.decode(data, "req-1")
    reply = endpoint.errors.describe(caught.value, "req-1")
    assert reply.status == 400
    said: dict[str, Any] = json.loads(reply.body)
    assert (said["type"], said["error"]["type"], said["request_id"]) == ("error", "invalid_request_error", "req-1")
    return said


@pytest.mark.parametrize(("fields", "named"), BAD, ids=[f"{named}-{at}" for at, (_, named) in enumerate(BAD)])
def test_what_is_wrong_is_named(fields: dict[str, Any], named: str) -> None:
    said = refusal(MessagesEndpoint(built_in()["openai"]), body(**fields))
    assert f"{named}'" in said["error"]["message"]


@pytest.mark.parametrize(
    ("fields", "named"),
    [(fields, named) for fields, named in BAD if not OF_ANSWERS & set(fields) and not named.startswith("max_tokens")],
)
def test_a_count_is_as_strict(fields: dict[str, Any], named: str) -> None:
    said = refusal(CountTokensEndpoint(built_in()["openai"]), body(max_tokens=..., **fields))
    assert f"{named}'" in said["error"]["message"]


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b'{"model":"m","model":"n"}', b"\xff", b'"x"', b"{}"])
def test_what_is_no_request_is_refused(data: bytes) -> None:
    refusal(MessagesEndpoint(built_in()["openai"]), data)


def test_there_are_enough_of_them() -> None:
    assert len(BAD) >= 40
