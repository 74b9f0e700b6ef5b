"""The structs of answers: a response, its items, and the events of a stream as the document describes them.

Events are not encoded from structs (see `encode`); theirs stand here for the OpenAPI document and the tests.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec
from msgspec import UNSET, UnsetType

from enginehouse.dialects.openai.chat.answers import TokenEntry
from enginehouse.dialects.openai.responses.items import ItemStatus

ResponseStatus = Literal["queued", "in_progress", "completed", "incomplete", "failed", "cancelled"]
IncompleteReason = Literal["max_output_tokens", "content_filter"]

# ---- items ----


class AnswerText(msgspec.Struct, kw_only=True, tag_field="type", tag="output_text"):
    """Text of the answer."""

    text: str
    annotations: list[Any] = []
    logprobs: list[TokenEntry] = []


class AnswerRefusal(msgspec.Struct, kw_only=True, tag_field="type", tag="refusal"):
    """A refusal."""

    refusal: str


class AnswerReasoning(msgspec.Struct, kw_only=True, tag_field="type", tag="reasoning_text"):
    """Reasoning as it was."""

    text: str


class AnswerSummary(msgspec.Struct, kw_only=True, tag_field="type", tag="summary_text"):
    """Reasoning, where a summary was asked for."""

    text: str


class OutputMessage(msgspec.Struct, kw_only=True, tag_field="type", tag="message"):
    """What the assistant says."""

    id: str
    status: ItemStatus
    role: Literal["assistant"] = "assistant"
    content: list[AnswerText | AnswerRefusal]


class OutputReasoning(msgspec.Struct, kw_only=True, tag_field="type", tag="reasoning"):
    """How the model has reasoned."""

    id: str
    status: ItemStatus
    summary: list[AnswerSummary]
    content: list[AnswerReasoning] | UnsetType = UNSET
    encrypted_content: str | UnsetType | None = UNSET


class OutputCall(msgspec.Struct, kw_only=True, tag_field="type", tag="function_call"):
    """A call of a function that the model asks for."""

    id: str
    status: ItemStatus
    call_id: str
    name: str
    arguments: str


class OutputCustomCall(msgspec.Struct, kw_only=True, tag_field="type", tag="custom_tool_call"):
    """A call of a custom tool that the model asks for."""

    id: str
    status: ItemStatus
    call_id: str
    name: str
    input: str


OutputItem = OutputMessage | OutputReasoning | OutputCall | OutputCustomCall

# ---- the response ----


class InputTokensDetails(msgspec.Struct):
    """Of the prompt's tokens: how many came from a prefix cache; writing into it is not counted."""

    cached_tokens: int
    cache_write_tokens: int = 0


class OutputTokensDetails(msgspec.Struct):
    """Of the answer's tokens: how many were reasoning."""

    reasoning_tokens: int


class ResponsesUsage(msgspec.Struct, kw_only=True):
    """Tokens of the request."""

    input_tokens: int
    input_tokens_details: InputTokensDetails
    output_tokens: int
    output_tokens_details: OutputTokensDetails
    total_tokens: int


class ResponseFailure(msgspec.Struct, kw_only=True):
    """Why a response has failed."""

    code: Literal["server_error", "rate_limit_exceeded", "invalid_prompt"]
    message: str


class IncompleteDetails(msgspec.Struct):
    """Why a response ended early."""

    reason: IncompleteReason


class EchoedFunction(msgspec.Struct, kw_only=True, tag_field="type", tag="function"):
    """A function that the model could call."""

    name: str
    description: str | None
    parameters: dict[str, Any] | None  # a JSON Schema
    strict: bool | None


class EchoedCustom(msgspec.Struct, kw_only=True, tag_field="type", tag="custom", omit_defaults=True):
    """A custom tool that the model could call."""

    name: str
    description: str | None = None
    format: Any = None


class EchoedReasoning(msgspec.Struct):
    """How the model was to reason."""

    effort: str | None
    summary: str | None


class ResponseHead(msgspec.Struct, kw_only=True):
    """What is the same in a response from its beginning to its end: what was asked."""

    model: str
    background: bool
    instructions: str | None
    max_output_tokens: int | None
    max_tool_calls: int | None
    metadata: dict[str, str]
    parallel_tool_calls: bool
    previous_response_id: str | None
    prompt_cache_key: str | None
    reasoning: EchoedReasoning
    safety_identifier: str | None
    service_tier: Literal["default"]
    store: bool
    temperature: float | None
    text: Any
    tool_choice: Any
    tools: list[EchoedFunction | EchoedCustom]
    top_logprobs: int
    top_p: float | None
    truncation: Literal["disabled"]
    user: str | None


class ResponseAnswer(ResponseHead, kw_only=True):
    """A response: `temperature` and `top_p` are null where the model's own hold."""

    id: str
    object: Literal["response"] = "response"
    created_at: int
    status: ResponseStatus
    completed_at: int | None = None
    error: ResponseFailure | None = None
    incomplete_details: IncompleteDetails | None = None
    output: list[OutputItem] = []
    usage: ResponsesUsage | None = None


# ---- what is kept ----


class ItemList(msgspec.Struct, kw_only=True):
    """Items that a response was made of."""

    object: Literal["list"] = "list"
    data: list[Any]
    first_id: str | None
    last_id: str | None
    has_more: bool


class DeletedResponse(msgspec.Struct, kw_only=True):
    """A response is kept no more."""

    id: str
    object: Literal["response"] = "response"
    deleted: Literal[True] = True


# ---- events ----


class ResponsesEvent(msgspec.Struct, kw_only=True):
    """An event of a stream; by its `type` it has some of the other fields."""

    type: Literal[
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.delta",
        "response.output_text.done",
        "response.refusal.delta",
        "response.refusal.done",
        "response.reasoning_text.delta",
        "response.reasoning_text.done",
        "response.reasoning_summary_part.added",
        "response.reasoning_summary_text.delta",
        "response.reasoning_summary_text.done",
        "response.reasoning_summary_part.done",
        "response.function_call_arguments.delta",
        "response.function_call_arguments.done",
        "response.custom_tool_call_input.delta",
        "response.custom_tool_call_input.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
        "response.incomplete",
        "response.failed",
        "error",
    ]
    sequence_number: int
    response: ResponseAnswer | UnsetType = UNSET
    output_index: int | UnsetType = UNSET
    item_id: str | UnsetType = UNSET
    item: OutputItem | UnsetType = UNSET
    content_index: int | UnsetType = UNSET
    summary_index: int | UnsetType = UNSET
    part: AnswerText | AnswerRefusal | AnswerReasoning | AnswerSummary | UnsetType = UNSET
    delta: str | UnsetType = UNSET
    text: str | UnsetType = UNSET
    refusal: str | UnsetType = UNSET
    name: str | UnsetType = UNSET
    arguments: str | UnsetType = UNSET
    input: str | UnsetType = UNSET
    logprobs: list[TokenEntry] | UnsetType = UNSET
    code: str | UnsetType | None = UNSET
    message: str | UnsetType = UNSET
    param: str | UnsetType | None = UNSET
    obfuscation: str | UnsetType = UNSET
