"""The OpenAPI document says what the code does."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import jsonschema_rs
import msgspec
import pytest

from enginehouse.config import Config
from enginehouse.dialects.endpoints import endpoints
from enginehouse.dialects.openai.chat.answers import ChatChunk
from enginehouse.dialects.openai.chat.decode import decode_chat
from enginehouse.dialects.openai.chat.encode import AnswerHead, ChatBody
from enginehouse.dialects.openai.chat.endpoint import ChatEndpoint
from enginehouse.dialects.openai.chat.examples import REQUESTS, STREAM
from enginehouse.dialects.openai.chat.request import ChatRequest
from enginehouse.dialects.openai.openapi import document
from enginehouse.dialects.profiles import built_in
from enginehouse_plugin import Finished, TextDelta, UsageReport

DOCUMENT = document(endpoints(Config(), {}))


def validator(name: str) -> jsonschema_rs.Draft202012Validator:
    return jsonschema_rs.Draft202012Validator(
        {"$ref": f"#/components/schemas/{name}", "components": DOCUMENT["components"]}
    )


def nodes(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        yield value
        for below in value.values():
            yield from nodes(below)
    elif isinstance(value, list):
        for below in value:
            yield from nodes(below)


def test_every_reference_leads_somewhere_and_nothing_is_left_over() -> None:
    schemas = DOCUMENT["components"]["schemas"]
    named = {node["$ref"].rpartition("/")[2] for node in nodes(DOCUMENT) if isinstance(node.get("$ref"), str)}
    assert named == set(schemas)
    assert all(name.isidentifier() for name in schemas)


def test_every_field_of_a_request_is_described() -> None:
    fields = DOCUMENT["components"]["schemas"]["ChatRequest"]["properties"]
    assert list(fields) == list(ChatRequest.__struct_fields__)
    assert all(field["description"] for field in fields.values())


@pytest.mark.parametrize("name", REQUESTS)
def test_an_example_is_valid_and_decodes(name: str) -> None:
    assert validator("ChatRequest").is_valid(REQUESTS[name])
    ChatEndpoint(built_in()["openai"]).decode(json.dumps(REQUESTS[name]).encode(), "r")


def test_the_example_of_a_stream_is_one() -> None:
    *parts, done, rest = STREAM.split("\n\n")
    assert (done, rest) == ("data: [DONE]", "")
    for part in parts:
        msgspec.json.decode(part.removeprefix("data: "), type=ChatChunk)
        assert validator("ChatChunk").is_valid(json.loads(part.removeprefix("data: ")))


def test_an_answer_is_valid() -> None:
    body = ChatBody(AnswerHead(id="i", created=1, model="m"))
    body.events((TextDelta(0, "a", 1), Finished(0, "stop"), UsageReport(1, 1)))
    assert validator("ChatAnswer").is_valid(json.loads(body.end()))


def test_each_example_of_an_error_stands_under_its_status() -> None:
    responses = DOCUMENT["paths"]["/v1/chat/completions"]["post"]["responses"]
    assert set(responses) >= {"200", "400", "401", "404", "405", "413", "415", "500", "503", "504"}
    for status, response in responses.items():
        if status != "200":
            assert validator("ErrorEnvelope").is_valid(response["content"]["application/json"]["example"])


@pytest.mark.parametrize(
    ("fields", "is_right"),
    [
        ({}, True),
        ({"temperature": 2, "stop": ["a"] * 4, "n": 128, "logit_bias": {"7": 1}}, True),
        (dict.fromkeys([name for name in ChatRequest.__struct_fields__ if name not in ("model", "messages")]), True),
        ({"temperature": 2.1}, False),
        ({"n": 129}, False),
        ({"stop": ["a"] * 5}, False),
        ({"stop": ""}, False),
        ({"logit_bias": {"a": 1}}, False),
        ({"modalities": ["audio"]}, False),
        ({"store": True}, False),
        ({"service_tier": "flex"}, False),
        ({"verbosity": "low"}, False),
        ({"functions": []}, False),
        ({"tools": [{"type": "custom", "custom": {"name": "a"}}]}, False),
        ({"foo": 1}, False),
    ],
)
def test_document_and_decoder_agree(fields: dict[str, Any], is_right: bool) -> None:
    request = {"model": "m", "messages": [{"role": "user", "content": "Hi"}], **fields}
    assert validator("ChatRequest").is_valid(request) == is_right
    if is_right:
        decode_chat(json.dumps(request).encode())
