"""The OpenAPI document says what the code does."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import jsonschema_rs
import msgspec
import pytest

from enginehouse.config import Config, MountConfig
from enginehouse.dialects.anthropic.messages.request import MessagesRequest
from enginehouse.dialects.mounts import mounts
from enginehouse.dialects.openai.chat.answers import AnswerHead, ChatChunk
from enginehouse.dialects.openai.chat.decode import decode_chat
from enginehouse.dialects.openai.chat.encode import ChatBody
from enginehouse.dialects.openai.chat.endpoint import ChatEndpoint
from enginehouse.dialects.openai.chat.examples import REQUESTS, STREAM
from enginehouse.dialects.openai.chat.request import ChatRequest
from enginehouse.dialects.openai.openapi import document
from enginehouse.dialects.openai.responses.decode import decode_responses
from enginehouse.dialects.profiles import built_in
from enginehouse.wire.decode import Decoder
from enginehouse_plugin import Finished, TextDelta, UsageReport

TURN = {"role": "user", "content": "Hi"}
MESSAGES = Decoder(MessagesRequest)
DOCUMENT = document(mounts(Config(), {})[0].endpoints)


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


def mounted(*found: MountConfig) -> dict[str, Any]:
    """The document of a server with these mounts."""
    all_mounts = mounts(Config(mounts=found), {})
    return document([each for mount in all_mounts for each in mount.endpoints], [mount.prefix for mount in all_mounts])


def test_each_mount_is_described_at_its_path_with_its_own_ranges_defaults_and_statuses() -> None:
    found = mounted(
        MountConfig(profile="krosai", path="/kros"),
        MountConfig(profile="dos-ai", path="/dos"),
        MountConfig(profile="digitalocean-agent", path="/"),
    )
    named = {node["$ref"].rpartition("/")[2] for node in nodes(found) if isinstance(node.get("$ref"), str)}
    assert named == set(found["components"]["schemas"])
    operations = {path: its["post"] for path, its in found["paths"].items() if path.endswith("/chat/completions")}
    assert list(operations) == [f"{prefix}/chat/completions" for prefix in ("/v1", "/kros/v1", "/dos/v1", "/api/v1")]
    most = {}
    for path, operation in operations.items():
        to = operation["requestBody"]["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]
        temperature = found["components"]["schemas"][to]["properties"]["temperature"]
        most[path] = (max(each.get("maximum", 0) for each in temperature["anyOf"]), temperature["default"])
    assert list(most.values()) == [(2, 1.0), (1, 0.7), (2, 1.0), (2, 1.0)]
    assert set(operations["/v1/chat/completions"]["responses"]) > {"404", "413", "415"}
    assert set(operations["/dos/v1/chat/completions"]["responses"]) == {"200", "400", "401", "429", "500", "503"}
    (agent,) = operations["/api/v1/chat/completions"]["parameters"]
    assert (agent["name"], agent["required"], agent["schema"]["const"]) == ("agent", True, "true")
    assert {f"{prefix}/models" for prefix in ("/v1", "/kros/v1", "/dos/v1", "/api/v1")} < set(found["paths"])
    ids = [operation["operationId"] for methods in found["paths"].values() for operation in methods.values()]
    assert len(ids) == len(set(ids))


def test_what_hosts_and_keys_lead_to_at_a_path_that_is_described_is_named() -> None:
    found = mounted(MountConfig(profile="dos-ai", hosts=("dos.example",)))
    assert [path for path in found["paths"] if path.endswith("/chat/completions")] == ["/v1/chat/completions"]
    assert "`/v1/chat/completions` is that of the profile dos-ai" in found["info"]["description"]


@pytest.mark.parametrize(
    ("name", "request_", "decode"),
    [
        ("ChatRequest", {"messages": [{"role": "system", "content": [{"text": "Hi"}]}]}, decode_chat),
        ("MessagesRequest", {"system": [{"text": "Hi"}], "messages": [TURN], "max_tokens": 1}, MESSAGES.decode),
        (
            "MessagesRequest",
            {"output_config": {"format": {"schema": {}}}, "messages": [TURN], "max_tokens": 1},
            MESSAGES.decode,
        ),
        ("ResponsesRequest", {"input": [TURN]}, decode_responses),
        ("ResponsesRequest", {"input": [{**TURN, "type": None}]}, decode_responses),
        ("ResponsesRequest", {"input": [{"id": "msg_1", "type": None}]}, decode_responses),
    ],
)
def test_a_type_that_may_be_left_out_may_be_so_in_the_document(
    name: str, request_: dict[str, Any], decode: Callable[..., object]
) -> None:
    body = {"model": "m", **request_}
    decode(json.dumps(body).encode(), unknown_fields="refuse")
    assert validator(name).is_valid(body)
