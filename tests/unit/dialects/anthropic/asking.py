"""Asks an endpoint of Messages, and reads what it writes."""

from __future__ import annotations

import json
from typing import Any

from msgspec import convert

from enginehouse.dialects.anthropic.messages.answers import MessagesAnswer, StreamEvent
from enginehouse.dialects.anthropic.messages.endpoint import MessagesEndpoint
from enginehouse.dialects.endpoint import Call
from enginehouse.dialects.profiles import built_in
from enginehouse_plugin import UsageReport
from enginehouse_plugin import request as contract

from .bad_messages import GOOD

OPENAI = built_in()["openai"]
USAGE = UsageReport(prompt_tokens=10, completion_tokens=3, cached_tokens=4)


def called(endpoint: MessagesEndpoint | None = None, named: dict[bytes, bytes] | None = None, **fields: Any) -> Call:
    data = json.dumps({**GOOD, **fields}).encode()
    return (endpoint or MessagesEndpoint(OPENAI)).decode(data, "req-1", named or {})


def messages(**fields: Any) -> tuple[contract.Message, ...]:
    prompt = called(**fields).request.prompt
    assert isinstance(prompt, contract.Chat)
    return prompt.messages


def streamed(*events: Any, **fields: Any) -> list[tuple[str, dict[str, Any]]]:
    """The events of a stream, each of the reference's form."""
    encoder = called(stream=True, **fields).encoder
    data = b"".join(encoder.events([event]) for event in events) + encoder.end()
    return read(data)


def read(data: bytes) -> list[tuple[str, dict[str, Any]]]:
    found = []
    for part in data.decode().removesuffix("\n\n").split("\n\n"):
        name, _, payload = part.removeprefix("event: ").partition("\ndata: ")
        said = json.loads(payload)
        assert said["type"] == name
        if name != "error":
            convert(said, StreamEvent)
        found.append((name, said))
    return found


def whole(*events: Any, **fields: Any) -> dict[str, Any]:
    encoder = called(**fields).encoder
    assert encoder.events(events) == b""
    said: dict[str, Any] = json.loads(encoder.end())
    convert(said, MessagesAnswer)
    return said
