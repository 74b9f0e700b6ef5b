"""What the OpenAPI document says of chat completions: derived from the structs, completed with what they cannot say."""

from __future__ import annotations

from enginehouse.dialects.openai.chat.answers import ChatAnswer, ChatChunk
from enginehouse.dialects.openai.chat.examples import REQUESTS, STREAM
from enginehouse.dialects.openai.chat.request import ChatRequest
from enginehouse.dialects.openai.errors import ErrorEnvelope
from enginehouse.dialects.openai.openapi import FAILURES, failures
from enginehouse.dialects.operation import Json, Operation, ref
from enginehouse_plugin import Profile

_CHAT = """\
Answers a conversation, whole or as a stream. Fields are honoured, recorded, or refused with a 400 that names \
the field; none is ignored. `null` means the same as leaving a field out.

With `"stream": true` the answer is `text/event-stream`: each event is a `ChatChunk` after `data: `. The first \
chunk of a choice brings its role, the last its `finish_reason`; with `stream_options.include_usage` a chunk \
with empty `choices` brings the usage; then comes `data: [DONE]`. While the model is silent, comments \
(`: keep-alive`) keep the connection open. A failure after the stream has begun is an event `data: {"error": …}`, \
and nothing follows it."""


def chat_operation(profile: Profile) -> Operation:
    """Describe chat completions as *profile* has them."""
    document = {
        "operationId": "createChatCompletion",
        "summary": "Answer a conversation",
        "description": _CHAT,
        "security": [{}, {"key": []}],
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {
                    "schema": ref(ChatRequest),
                    "examples": {name: {"value": request} for name, request in REQUESTS.items()},
                }
            },
        },
        "responses": {
            "200": {
                "description": "The answer, or the beginning of a stream.",
                "content": {
                    "application/json": {"schema": ref(ChatAnswer)},
                    "text/event-stream": {"schema": _event(), "example": STREAM},
                },
            },
            **failures(FAILURES),
        },
    }
    return Operation(
        document=document,
        types=(ChatRequest, ChatAnswer, ChatChunk),
        narrower={"ChatRequest": _narrower(profile)},
        refused=frozenset({"CustomTool", "CustomToolCall", "CustomCall", "NamedCustom"}),
    )


def _event() -> Json:
    """Describe one event: OpenAPI before 3.2 has no words for a whole stream."""
    chunk = {"anyOf": [ref(ChatChunk), ref(ErrorEnvelope)]}
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
    """What `rules` and `generation` add to the fields of a request."""
    return {
        "temperature": {"maximum": profile.max_temperature, "default": _or_one(profile.default_temperature)},
        "top_p": {"default": _or_one(profile.default_top_p)},
        "top_k": {"default": 0},
        "min_p": {"default": 0},
        "frequency_penalty": {"default": 0},
        "presence_penalty": {"default": 0},
        "repetition_penalty": {"default": 1},
        "n": {"maximum": profile.max_n, "default": 1},
        "stream": {"default": False},
        "logprobs": {"default": False},
        "top_logprobs": {"maximum": profile.max_top_logprobs, "default": 0},
        "parallel_tool_calls": {"default": True},
        "logit_bias": {"propertyNames": {"pattern": "^(0|[1-9][0-9]{0,18})$"}},
        "modalities": {"items": {"enum": ["text"]}, "default": ["text"]},
        "store": {"enum": [False], "default": False},
        "service_tier": {"enum": ["auto", "default"], "default": "auto"},
        "verbosity": {"enum": ["medium"], "default": "medium"},
        "stop": {
            "anyOf": [
                {"type": "string", "minLength": 1},
                {"type": "array", "items": {"type": "string", "minLength": 1}, "maxItems": profile.max_stop},
            ]
        },
    }


def _or_one(default: float | None) -> float:
    return 1.0 if default is None else default
