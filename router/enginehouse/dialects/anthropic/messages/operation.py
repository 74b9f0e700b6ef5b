"""What the OpenAPI document says of Messages: derived from the structs, completed with what they cannot say."""

from __future__ import annotations

from collections.abc import Iterable
from typing import get_args

from enginehouse.dialects.anthropic.errors import AnthropicErrorBody
from enginehouse.dialects.anthropic.messages.answers import MessagesAnswer, StreamEvent, TokenCount
from enginehouse.dialects.anthropic.messages.request import CountRequest, MessagesRequest
from enginehouse.dialects.operation import Json, Operation, alone, json_body, ref

_MESSAGES = """\
Answers a conversation as Anthropic's Messages API does, whole or as a stream. What only a vendor's cloud has is left \
out and named in the header `x-enginehouse-ignored`, or refused where that is configured. A key may come as \
`Authorization: Bearer …` or in `x-api-key`."""
_COUNT = "Counts the tokens of a prompt with the model's own template and tokenizer; nothing is generated."
_REQUEST: Json = {
    "model": "smollm2-135m",
    "max_tokens": 64,
    "messages": [{"role": "user", "content": "Explain gravity in one sentence."}],
}


def messages_operation() -> Operation:
    """Describe Messages."""
    kinds = (*get_args(StreamEvent), AnthropicErrorBody)
    answer = {
        "description": "The answer, or the beginning of a stream.",
        "content": {
            "application/json": {"schema": ref(MessagesAnswer)},
            "text/event-stream": {"schema": _event(kinds)},
        },
    }
    document = _document("createMessage", "Answer a conversation (Messages)", _MESSAGES, MessagesRequest, answer)
    return Operation(
        document=document, types=(MessagesRequest, MessagesAnswer, *kinds), untagged=alone(MessagesRequest)
    )


def _event(kinds: Iterable[type]) -> Json:
    """Describe one event: OpenAPI before 3.2 has no words for a whole stream."""
    data = {"anyOf": [ref(kind) for kind in kinds]}
    return {
        "type": "object",
        "description": "One event of the stream; its name is the type of its data.",
        "required": ["event", "data"],
        "properties": {
            "event": {"type": "string"},
            "data": {"type": "string", "contentMediaType": "application/json", "contentSchema": data},
        },
    }


def count_operation() -> Operation:
    """Describe the count of a prompt's tokens."""
    answer = json_body("The count.", TokenCount)
    document = _document("countMessageTokens", "Count the tokens of a prompt", _COUNT, CountRequest, answer)
    types = (CountRequest, TokenCount, AnthropicErrorBody)
    return Operation(document=document, types=types, untagged=alone(CountRequest))


def _document(name: str, summary: str, description: str, kind: type, answer: Json) -> Json:
    example = {key: value for key, value in _REQUEST.items() if key in kind.__struct_fields__}  # type: ignore[attr-defined]  # a struct
    return {
        "operationId": name,
        "summary": summary,
        "description": description,
        "security": [{}, {"key": []}],
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": ref(kind), "example": example}},
        },
        "responses": {
            "200": answer,
            "4XX": json_body("The request is wrong, or not allowed; the message names the field.", AnthropicErrorBody),
            "5XX": json_body("Not now (529), or an error of this server or its engine.", AnthropicErrorBody),
        },
    }
