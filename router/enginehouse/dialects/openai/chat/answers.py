"""The structs of answers: the body of a completion, and the chunks of a stream as the documents describe them.

Chunks are not encoded from structs (see `encode`); theirs stand here for the OpenAPI document and the tests.
"""

from __future__ import annotations

from typing import Literal

import msgspec
from msgspec import UNSET, UnsetType

from enginehouse_plugin.events import FinishReason


class TopEntry(msgspec.Struct):
    """An alternative token: its text, natural log probability and bytes."""

    token: str
    logprob: float
    bytes: list[int]


class TokenEntry(msgspec.Struct):
    """A token of the answer, with its likeliest alternatives in falling order."""

    token: str
    logprob: float
    bytes: list[int]
    top_logprobs: list[TopEntry]


class ChoiceLogprobs(msgspec.Struct):
    """Log probabilities of the tokens of content and of a refusal."""

    content: list[TokenEntry] | None
    refusal: list[TokenEntry] | None


class CalledFunction(msgspec.Struct):
    """The function's name, and its arguments as JSON text."""

    name: str
    arguments: str


class ToolCallAnswer(msgspec.Struct, kw_only=True):
    """A call that the model asks for."""

    id: str
    type: Literal["function"] = "function"
    function: CalledFunction


class AnswerMessage(msgspec.Struct, kw_only=True):
    """What the assistant says."""

    role: Literal["assistant"] = "assistant"
    content: str | None
    refusal: str | None
    reasoning_content: str | UnsetType = UNSET
    tool_calls: list[ToolCallAnswer] | UnsetType = UNSET


class Choice(msgspec.Struct, kw_only=True):
    """One of `n` answers. `stop_reason` is the stop string that ended it, where one did, as vLLM tells it."""

    index: int
    message: AnswerMessage
    logprobs: ChoiceLogprobs | None
    finish_reason: FinishReason
    stop_reason: str | UnsetType = UNSET


class PromptDetails(msgspec.Struct):
    """Of the prompt's tokens: how many came from a prefix cache."""

    cached_tokens: int


class CompletionDetails(msgspec.Struct):
    """Of the answer's tokens: how many were reasoning."""

    reasoning_tokens: int


class Usage(msgspec.Struct, kw_only=True):
    """Tokens of the request; the prompt counts once, the completion sums over the choices."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptDetails | UnsetType = UNSET
    completion_tokens_details: CompletionDetails | UnsetType = UNSET


class ChatAnswer(msgspec.Struct, kw_only=True):
    """The body of an answer that is not streamed."""

    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    choices: list[Choice]
    usage: Usage
    system_fingerprint: str | None
    service_tier: str | UnsetType = UNSET


class CalledFunctionDelta(msgspec.Struct, kw_only=True):
    """The function's name, in the first piece of a call, and more of its arguments."""

    name: str | UnsetType = UNSET
    arguments: str


class ToolCallPiece(msgspec.Struct, kw_only=True):
    """More of the call `index`; `id`, `type` and the name come once, in its first piece."""

    index: int
    id: str | UnsetType = UNSET
    type: Literal["function"] | UnsetType = UNSET
    function: CalledFunctionDelta


class Delta(msgspec.Struct, kw_only=True):
    """What is new: the role in the first chunk of a choice, nothing in the one that finishes it."""

    role: Literal["assistant"] | UnsetType = UNSET
    content: str | UnsetType | None = UNSET
    refusal: str | UnsetType = UNSET
    reasoning_content: str | UnsetType = UNSET
    tool_calls: list[ToolCallPiece] | UnsetType = UNSET


class ChunkChoice(msgspec.Struct, kw_only=True):
    """What is new of one choice."""

    index: int
    delta: Delta
    logprobs: ChoiceLogprobs | None
    finish_reason: FinishReason | None
    stop_reason: str | UnsetType = UNSET


class ChatChunk(msgspec.Struct, kw_only=True):
    """One event of a streamed answer; `usage` is there only where it was asked for."""

    id: str
    object: Literal["chat.completion.chunk"]
    created: int
    model: str
    system_fingerprint: str | None
    service_tier: str | UnsetType = UNSET
    choices: list[ChunkChoice]
    usage: Usage | UnsetType | None = UNSET
    obfuscation: str | UnsetType = UNSET


class AnswerHead(msgspec.Struct, frozen=True, kw_only=True):
    """What is the same in every chunk of an answer. `created` is Unix time in seconds."""

    id: str
    created: int
    model: str
    service_tier: str | None = None
    """Only where the request named one: the tier that served it."""
