"""What the OpenAPI document says of chat completions: derived from the structs, completed with what they cannot say."""

from __future__ import annotations

from enginehouse.dialects.endpoint import Errors
from enginehouse.dialects.openai.chat.answers import ChatAnswer, ChatChunk
from enginehouse.dialects.openai.chat.examples import REQUESTS, STREAM
from enginehouse.dialects.openai.chat.narrowed import bounds
from enginehouse.dialects.openai.chat.request import ChatRequest
from enginehouse.dialects.openai.errors import ErrorEnvelope
from enginehouse.dialects.openai.openapi import FAULTS, failures
from enginehouse.dialects.operation import Json, Operation, alone, ref, schema_prefix
from enginehouse.dialects.profiles import defaults_of
from enginehouse_plugin import Profile

_CHAT = """\
Answers a conversation, whole or as a stream. Fields are honoured, recorded, or refused with a 400 that names \
the field; none is ignored. `null` means the same as leaving a field out.

With `"stream": true` the answer is `text/event-stream`: each event is a `ChatChunk` after `data: `. The first \
chunk of a choice brings its role, the last its `finish_reason`; with `stream_options.include_usage` a chunk \
with empty `choices` brings the usage; then comes `data: [DONE]`. While the model is silent, comments \
(`: keep-alive`) keep the connection open. A failure after the stream has begun is an event `data: {"error": …}`, \
and nothing follows it."""


def chat_operation(profile: Profile, errors: Errors, label: str = "") -> Operation:
    """Describe chat completions as *profile* has them, with its *errors*, at the mount with this *label*."""
    prefix = schema_prefix(label)
    query = [
        {"name": name, "in": "query", "required": True, "schema": {"type": "string", "const": value}}
        for name, value in profile.query.items()
    ]
    document: Json = {
        "operationId": f"createChatCompletion{prefix.rstrip('_')}",
        "summary": "Answer a conversation",
        "description": _CHAT,
        "security": [{}, {"key": []}],
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {
                    "schema": ref(ChatRequest, prefix),
                    "examples": {name: {"value": request} for name, request in REQUESTS.items()},
                }
            },
        },
        "responses": {
            "200": {
                "description": "The answer, or the beginning of a stream.",
                "content": {
                    "application/json": {"schema": ref(ChatAnswer, prefix)},
                    "text/event-stream": {"schema": _event(prefix), "example": STREAM},
                },
            },
            **failures({words: errors.describe(fault) for words, fault in FAULTS.items()}),
        },
    }
    if query:
        document["parameters"] = query
    return Operation(
        document=document,
        types=(ChatRequest, ChatAnswer, ChatChunk),
        narrower={"ChatRequest": _narrower(profile)},
        refused=frozenset({"CustomTool", "CustomToolCall", "CustomCall", "NamedCustom"}),
        untagged=alone(ChatRequest),
        prefix=prefix,
    )


def _event(prefix: str) -> Json:
    """Describe one event: OpenAPI before 3.2 has no words for a whole stream."""
    chunk = {"anyOf": [ref(ChatChunk, prefix), ref(ErrorEnvelope)]}
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


def _narrower(profile: Profile) -> dict[str, Json]:
    """What `narrowed` and `rules` add to the fields of a request, and what holds where it is silent."""
    added: dict[str, Json] = {
        "temperature": {"default": 1.0},
        "top_p": {"default": 1.0},
        "top_k": {"default": 0},
        "min_p": {"default": 0},
        "frequency_penalty": {"default": 0},
        "presence_penalty": {"default": 0},
        "repetition_penalty": {"default": 1},
        "n": {"default": 1},
        "min_tokens": {"default": 0},
        "ignore_eos": {"default": False},
        "continue_final_message": {"default": False},
        "stream": {"default": False},
        "logprobs": {"default": False},
        "top_logprobs": {"default": 0},
        "parallel_tool_calls": {"default": True},
        "logit_bias": {"propertyNames": {"pattern": "^(0|[1-9][0-9]{0,18})$"}},
        "modalities": {"items": {"enum": ["text"]}, "default": ["text"]},
        "store": {"enum": [False], "default": False},
        "service_tier": {"enum": ["auto", "default"], "default": "auto"},
        "verbosity": {"enum": ["medium"], "default": "medium"},
    }
    found = bounds(profile)
    for name, default in defaults_of(profile).items():
        added.setdefault(name, {})["default"] = default
    for name, field in found.items():
        if name not in ChatRequest.__struct_fields__:
            continue
        for word, value in (("minimum", field.minimum), ("maximum", field.maximum)):
            if value is not None:
                added.setdefault(name, {})[word] = value
    added["stop"] = {
        "anyOf": [
            {"type": "string", "minLength": 1},
            {"type": "array", "items": {"type": "string", "minLength": 1}, "maxItems": found["stop"].max_items},
        ]
    }
    return added
