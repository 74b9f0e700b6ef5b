"""The structs of answers of Messages: a whole one, and the events of a stream as the reference has them.

Events are not encoded from structs (see `encode`); theirs stand here for the OpenAPI document and the tests.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

StopReason = Literal["end_turn", "max_tokens", "stop_sequence", "tool_use", "refusal", "model_context_window_exceeded"]


class MessagesUsage(msgspec.Struct, kw_only=True):
    """Tokens of the request: what the prefix cache had is `cache_read_input_tokens`, the rest `input_tokens`.

    `cache_creation_input_tokens` is 0: what is computed may be read later, and costs no more for it.
    """

    input_tokens: int
    cache_creation_input_tokens: int = 0
    cache_read_input_tokens: int
    output_tokens: int
    service_tier: Literal["standard"] = "standard"


class TextAnswer(msgspec.Struct, kw_only=True, tag_field="type", tag="text"):
    """Text of the answer."""

    text: str
    citations: None = None


class ThinkingAnswer(msgspec.Struct, kw_only=True, tag_field="type", tag="thinking"):
    """What the model thought; sent back with its signature, it stands in the conversation."""

    thinking: str
    signature: str


class ToolUseAnswer(msgspec.Struct, kw_only=True, tag_field="type", tag="tool_use"):
    """A call that the model asks for. Input that was cut off and is no JSON is in `INVALID_JSON`, as text."""

    id: str
    name: str
    input: Any  # a JSON object, as the model wrote it


AnswerBlock = TextAnswer | ThinkingAnswer | ToolUseAnswer


class MessagesAnswer(msgspec.Struct, kw_only=True, tag_field="type", tag="message"):
    """The body of an answer that is not streamed."""

    id: str
    role: Literal["assistant"] = "assistant"
    model: str
    content: list[AnswerBlock]
    stop_reason: StopReason | None
    stop_sequence: str | None
    usage: MessagesUsage


class MessageStart(msgspec.Struct, kw_only=True, tag_field="type", tag="message_start"):
    """The first event: the answer, of which nothing is there yet."""

    message: MessagesAnswer


class BlockStart(msgspec.Struct, kw_only=True, tag_field="type", tag="content_block_start"):
    """A block begins."""

    index: int
    content_block: AnswerBlock


class BlockTextDelta(msgspec.Struct, kw_only=True, tag_field="type", tag="text_delta"):
    """More text."""

    text: str


class ThinkingDelta(msgspec.Struct, kw_only=True, tag_field="type", tag="thinking_delta"):
    """More thinking."""

    thinking: str


class SignatureDelta(msgspec.Struct, kw_only=True, tag_field="type", tag="signature_delta"):
    """The signature of a block of thinking, right before its end."""

    signature: str


class InputJsonDelta(msgspec.Struct, kw_only=True, tag_field="type", tag="input_json_delta"):
    """More of the JSON text of a call's input."""

    partial_json: str


class BlockDelta(msgspec.Struct, kw_only=True, tag_field="type", tag="content_block_delta"):
    """More of a block."""

    index: int
    delta: BlockTextDelta | ThinkingDelta | SignatureDelta | InputJsonDelta


class BlockStop(msgspec.Struct, kw_only=True, tag_field="type", tag="content_block_stop"):
    """A block is whole."""

    index: int


class StopDelta(msgspec.Struct, kw_only=True):
    """Why the answer has ended."""

    stop_reason: StopReason | None
    stop_sequence: str | None


class MessageDelta(msgspec.Struct, kw_only=True, tag_field="type", tag="message_delta"):
    """The answer has ended; the counts are those of all of it."""

    delta: StopDelta
    usage: MessagesUsage


class MessageStop(msgspec.Struct, kw_only=True, tag_field="type", tag="message_stop"):
    """The last event."""


class Ping(msgspec.Struct, kw_only=True, tag_field="type", tag="ping"):
    """Keeps a silent stream's connection open."""


StreamEvent = MessageStart | BlockStart | BlockDelta | BlockStop | MessageDelta | MessageStop | Ping


class TokenCount(msgspec.Struct, frozen=True):
    """The answer of `POST /v1/messages/count_tokens`."""

    input_tokens: int
