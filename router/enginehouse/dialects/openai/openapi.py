"""The OpenAPI 3.1 document: derived from the structs, completed with what structs cannot say.

Data only: the routes themselves are elsewhere, and a test compares the two.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import msgspec

from enginehouse import __version__
from enginehouse.dialects.endpoint import ErrorReply
from enginehouse.dialects.openai import errors
from enginehouse.dialects.openai.chat.answers import ChatAnswer, ChatChunk
from enginehouse.dialects.openai.chat.request import ChatRequest
from enginehouse.dialects.openai.errors import ErrorEnvelope
from enginehouse.dialects.openai.models import Health, ModelCard, ModelList, Readiness
from enginehouse.dialects.openai.openapi_examples import REQUESTS, STREAM
from enginehouse.dialects.profiles import built_in
from enginehouse.dialects.refusals import BodyTooLarge, MethodNotAllowed, TooSlow, UnsupportedMediaType
from enginehouse_plugin.errors import EnginehouseError, InvalidRequest, RequestError

Json = dict[str, Any]  # a part of an OpenAPI document: JSON of any shape

_REF = "#/components/schemas/{name}"
_REFUSED_KINDS = {"CustomTool", "CustomToolCall", "CustomCall", "NamedCustom"}
"""Structs that are decoded only so that they can be refused by name."""

_PROFILE = built_in()["openai"]
_NARROWER: dict[str, Json] = {
    # What `rules` and `generation` add to the structs.
    "temperature": {"maximum": _PROFILE.max_temperature, "default": 1.0},
    "top_p": {"default": 1.0},
    "top_k": {"default": 0},
    "min_p": {"default": 0},
    "frequency_penalty": {"default": 0},
    "presence_penalty": {"default": 0},
    "repetition_penalty": {"default": 1},
    "n": {"maximum": _PROFILE.max_n, "default": 1},
    "stream": {"default": False},
    "logprobs": {"default": False},
    "top_logprobs": {"default": 0},
    "parallel_tool_calls": {"default": True},
    "logit_bias": {"propertyNames": {"pattern": "^(0|[1-9][0-9]{0,18})$"}},
    "modalities": {"items": {"enum": ["text"]}, "default": ["text"]},
    "store": {"enum": [False], "default": False},
    "service_tier": {"enum": ["auto", "default"], "default": "auto"},
    "verbosity": {"enum": ["medium"], "default": "medium"},
    "stop": {
        "anyOf": [
            {"type": "string", "minLength": 1},
            {"type": "array", "items": {"type": "string", "minLength": 1}, "maxItems": _PROFILE.max_stop},
        ]
    },
}

_CHAT = """\
Answers a conversation, whole or as a stream. Fields are honoured, recorded, or refused with a 400 that names \
the field; none is ignored. `null` means the same as leaving a field out.

With `"stream": true` the answer is `text/event-stream`: each event is a `ChatChunk` after `data: `. The first \
chunk of a choice brings its role, the last its `finish_reason`; with `stream_options.include_usage` a chunk \
with empty `choices` brings the usage; then comes `data: [DONE]`. While the model is silent, comments \
(`: keep-alive`) keep the connection open. A failure after the stream has begun is an event `data: {"error": …}`, \
and nothing follows it."""


def _refusal(message: str, param: str | None, code: str | None = None) -> ErrorReply:
    return errors.describe(InvalidRequest(message, param=param, code=code))


def _failure(message: str, code: str, param: str | None = None) -> ErrorReply:
    kind = RequestError if param is not None else EnginehouseError
    return errors.describe(kind(message, code=code, param=param))


_INVALID = _refusal(
    "Invalid 'temperature': decimal above maximum value. Expected a value <= 2, but got 3 instead.",
    "temperature",
    "decimal_above_max_value",
)
_NO_KEY = _failure("An API key is needed: 'Authorization: Bearer …'.", "missing_api_key")
_NO_MODEL = _failure("The model 'gpt-x' does not exist here.", "model_not_found", "model")
_FAILURES: dict[str, ErrorReply] = {
    "The request is wrong; `param` names the field.": _INVALID,
    "No key, or a wrong one.": _NO_KEY,
    "There is no such model.": _NO_MODEL,
    "The route does not answer this method.": errors.describe(MethodNotAllowed("PUT", ["POST"])),
    "The body did not arrive in time.": errors.describe(TooSlow("body")),
    "The body is too large.": errors.describe(BodyTooLarge(16 * 1024 * 1024)),
    "The body is not said to be JSON.": errors.describe(UnsupportedMediaType("text/plain")),
    "Too many requests of this key.": _failure("The rate limit is reached.", "rate_limit_exceeded"),
    "An error of this server or its engine.": errors.describe(RuntimeError()),
    "The engine answered what cannot be read.": _failure("The engine's answer is broken.", "engine_protocol_error"),
    "Not now: the queue is full, the model is loading or the server is going down. `Retry-After` says when to ask "
    "again.": _failure("The queue of 'smollm2-135m' is full.", "queue_full"),
    "The engine took too long.": _failure("The model took longer to begin than 300 s.", "timeout"),
}


@cache
def document() -> Json:
    """Return the OpenAPI document of this server; the caller must not change it."""
    types = [ChatRequest, ChatAnswer, ChatChunk, ErrorEnvelope, ModelList, ModelCard, Health, Readiness]
    _, schemas = msgspec.json.schema_components(types, ref_template=_REF)
    for name in _REFUSED_KINDS:
        schemas.pop(name, None)
    for schema in schemas.values():
        _without_refused_kinds(schema)
        for field in schema.get("properties", {}).values():
            _raise_description(field)
    for name, narrower in _NARROWER.items():
        _narrow(schemas["ChatRequest"]["properties"][name], narrower)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Enginehouse",
            "version": __version__,
            "description": "One OpenAI-compatible chat API in front of every inference engine.",
        },
        "paths": {
            "/v1/chat/completions": {"post": _chat_operation()},
            "/v1/models": {"get": _models_operation()},
            "/v1/models/{model_id}": {"get": _model_operation()},
            "/health": {"get": _health_operation()},
            "/ready": {"get": _ready_operation()},
            "/metrics": {"get": _metrics_operation()},
        },
        "components": {
            "schemas": schemas,
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
    }


# ---- operations ----


def _chat_operation() -> Json:
    return {
        "operationId": "createChatCompletion",
        "summary": "Answer a conversation",
        "description": _CHAT,
        "security": [{}, {"key": []}],
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {
                    "schema": _ref("ChatRequest"),
                    "examples": {name: {"value": request} for name, request in REQUESTS.items()},
                }
            },
        },
        "responses": {
            "200": {
                "description": "The answer, or the beginning of a stream.",
                "content": {
                    "application/json": {"schema": _ref("ChatAnswer")},
                    "text/event-stream": {"schema": _event(), "example": STREAM},
                },
            },
            **_failures(_FAILURES),
        },
    }


def _event() -> Json:
    """Describe one event: OpenAPI before 3.2 has no words for a whole stream."""
    chunk = {"anyOf": [_ref("ChatChunk"), _ref("ErrorEnvelope")]}
    return {
        "type": "object",
        "description": "One event of the stream.",
        "required": ["data"],
        "properties": {
            "data": {
                "anyOf": [
                    {"type": "string", "contentMediaType": "application/json", "contentSchema": chunk},
                    {"const": "[DONE]"},
                ]
            }
        },
    }


def _models_operation() -> Json:
    return {
        "operationId": "listModels",
        "summary": "List the models",
        "security": [{}, {"key": []}],
        "responses": {"200": _body("All models, with what each can do.", "ModelList"), **_failures([_NO_KEY])},
    }


def _model_operation() -> Json:
    return {
        "operationId": "retrieveModel",
        "summary": "Show one model",
        "description": "An ID may hold slashes; they may be written as they are.",
        "security": [{}, {"key": []}],
        "parameters": [
            {"name": "model_id", "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
        ],
        "responses": {"200": _body("The model.", "ModelCard"), **_failures([_INVALID, _NO_KEY, _NO_MODEL])},
    }


def _health_operation() -> Json:
    return {
        "operationId": "getHealth",
        "summary": "Tell that the router is up",
        "responses": {"200": _body("It is.", "Health")},
    }


def _ready_operation() -> Json:
    return {
        "operationId": "getReadiness",
        "summary": "Tell whether requests are answered now",
        "responses": {
            "200": _body("They are.", "Readiness"),
            str(errors.NOT_READY): _body(
                "They are not: models are loading, none has a place on this host, or the server is going down.",
                "Readiness",
            ),
        },
    }


def _metrics_operation() -> Json:
    return {
        "operationId": "getMetrics",
        "summary": "Show figures for Prometheus",
        "security": [{}, {"key": []}],
        "responses": {
            "200": {
                "description": "Prometheus' text format.",
                "content": {"text/plain": {"schema": {"type": "string"}}},
            },
            **_failures([_NO_KEY]),
        },
    }


# ---- parts ----


def _ref(name: str) -> Json:
    return {"$ref": _REF.format(name=name)}


def _body(description: str, schema: str) -> Json:
    return {"description": description, "content": {"application/json": {"schema": _ref(schema)}}}


def _failures(replies: dict[str, ErrorReply] | list[ErrorReply]) -> Json:
    """Describe *replies* by status, each with its body as the example."""
    if isinstance(replies, list):
        words = {id(reply): description for description, reply in _FAILURES.items()}
        replies = {words[id(reply)]: reply for reply in replies}
    return {
        str(reply.status): {
            "description": description,
            "content": {
                "application/json": {"schema": _ref("ErrorEnvelope"), "example": msgspec.json.decode(reply.body)}
            },
        }
        for description, reply in replies.items()
    }


def _without_refused_kinds(node: Any) -> None:
    """Take the kinds that are always refused out of every choice below *node*."""
    if isinstance(node, list):
        for item in node:
            _without_refused_kinds(item)
    elif isinstance(node, dict):
        refused = {_REF.format(name=name) for name in _REFUSED_KINDS}
        if "anyOf" in node:
            node["anyOf"] = [choice for choice in node["anyOf"] if choice.get("$ref") not in refused]
        if "discriminator" in node:
            mapping = node["discriminator"]["mapping"]
            node["discriminator"]["mapping"] = {tag: ref for tag, ref in mapping.items() if ref not in refused}
        for below in node.values():
            _without_refused_kinds(below)


def _raise_description(field: Json) -> None:
    """Move description and examples from inside `… | null` to the field, where readers look for them."""
    for choice in field.get("anyOf", ()):
        for word in ("description", "examples"):
            if word in choice:
                field.setdefault(word, choice.pop(word))


def _narrow(field: Json, narrower: Json) -> None:
    """Add *narrower* to what *field* is when it is not null; a default belongs to the field itself."""
    choice = next(choice for choice in field["anyOf"] if choice != {"type": "null"})
    for word, value in narrower.items():
        (field if word == "default" else choice)[word] = value
