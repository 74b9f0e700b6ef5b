"""The structs of a conversation: messages and their parts.

They are subclasses of the contract's own structs, so that a decoded conversation is handed to an instance without
a copy.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from enginehouse_plugin import request as contract

Json = dict[str, Any]  # any JSON object; `json_schema` and `decode` bound its depth

Refused = Annotated[None, Meta(description="Not supported.")]
"""Type of a field that the reference has and this API refuses: only `null`, which means absent, is accepted."""


class Strict(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A part of a request: no unknown fields; what is absent stays absent when it is encoded again."""


# ---- parts of a message ----


class PromptCacheBreakpoint(Strict, frozen=True):
    """Where a cached prefix could end. Recorded: engines find the longest cached prefix by themselves."""

    mode: Literal["explicit"]
    ttl: Literal["30m", "12h"] | None = None


class CacheControl(Strict, frozen=True):
    """Where another API's cached prefix ends. Recorded: engines find the longest cached prefix by themselves."""

    type: Literal["ephemeral"]
    ttl: Literal["5m", "1h"] | None = None


class Part(Strict, frozen=True):
    """A part of a message; its marks of a cached prefix are read, and not handed on."""

    def __post_init__(self) -> None:
        for mark in ("prompt_cache_breakpoint", "cache_control"):
            if getattr(self, mark) is not None:
                msgspec.structs.force_setattr(self, mark, None)


class TextPart(contract.TextPart, Part, frozen=True):
    """Text."""

    prompt_cache_breakpoint: PromptCacheBreakpoint | None = None
    cache_control: CacheControl | None = None


class RefusalPart(Strict, frozen=True, tag_field="type", tag="refusal"):
    """A refusal that the assistant gave earlier."""

    refusal: str


class ImageURL(contract.ImageURL, Strict, frozen=True):
    """Where an image is: a URL or a data URL."""


class ImagePart(contract.ImagePart, Part, frozen=True):
    """An image; needs a model with the feature `image_input`."""

    image_url: ImageURL
    prompt_cache_breakpoint: PromptCacheBreakpoint | None = None
    cache_control: CacheControl | None = None


class InputAudio(contract.InputAudio, Strict, frozen=True):
    """Audio, base64."""


class AudioPart(contract.AudioPart, Part, frozen=True):
    """Audio; needs a model with the feature `audio_input`."""

    input_audio: InputAudio
    prompt_cache_breakpoint: PromptCacheBreakpoint | None = None
    cache_control: CacheControl | None = None


class InputFile(contract.InputFile, Strict, frozen=True):
    """A file, inline (base64) or by id."""


class FilePart(contract.FilePart, Part, frozen=True):
    """A file; needs a model with the feature `file_input`."""

    file: InputFile
    prompt_cache_breakpoint: PromptCacheBreakpoint | None = None
    cache_control: CacheControl | None = None


TextContent = str | Annotated[tuple[TextPart, ...], Meta(min_length=1)]
UserContent = str | Annotated[tuple[TextPart | ImagePart | AudioPart | FilePart, ...], Meta(min_length=1)]
AssistantContent = str | tuple[TextPart | RefusalPart, ...]

# ---- messages ----


class FunctionCall(contract.FunctionCall, Strict, frozen=True):
    """The function that was called, and its arguments as JSON text."""


class ToolCall(contract.ToolCall, Strict, frozen=True):
    """A call that the assistant made earlier; `index`, which it has in a stream, is read and not handed on."""

    function: FunctionCall
    index: Annotated[int, Meta(ge=0)] | None = None

    def __post_init__(self) -> None:
        if self.index is not None:
            msgspec.structs.force_setattr(self, "index", None)


class CustomCall(Strict, frozen=True):
    """Name and input of a custom tool call."""

    name: str
    input: str


class CustomToolCall(
    contract.ToolCall,
    frozen=True,
    kw_only=True,
    omit_defaults=True,
    forbid_unknown_fields=True,
    tag_field="type",
    tag="custom",
):
    """A call of a custom tool; decoded so that it can be refused by name."""

    function: FunctionCall = FunctionCall(name="", arguments="")
    custom: CustomCall


class SystemMessage(contract.SystemMessage, Strict, frozen=True):
    """Instructions."""

    content: TextContent


class DeveloperMessage(
    contract.DeveloperMessage,
    frozen=True,
    omit_defaults=True,
    forbid_unknown_fields=True,
    tag_field="role",
    tag="developer",
):
    """Instructions; where a model's template knows no `developer`, they are the system's."""

    content: TextContent


class UserMessage(contract.UserMessage, Strict, frozen=True):
    """What the user said."""

    content: UserContent


class AssistantMessage(
    contract.AssistantMessage,
    frozen=True,
    omit_defaults=True,
    forbid_unknown_fields=True,
    tag_field="role",
    tag="assistant",
):
    """What the assistant said, or called, before; it may have said nothing."""

    # Parts that are refusals are moved to `refusal` before an instance sees the message (see `generation`).
    content: AssistantContent | None = None  # type: ignore[assignment]
    tool_calls: tuple[ToolCall | CustomToolCall, ...] | None = None
    reasoning: Annotated[str, Meta(description="Another name of 'reasoning_content'.")] | None = None
    annotations: Annotated[tuple[Json, ...], Meta(max_length=0)] | None = None
    audio: Annotated[Refused, Meta(description="This API answers with text; refer to no earlier audio.")] = None
    function_call: Annotated[Refused, Meta(description="Deprecated: use 'tool_calls'.")] = None


class ToolMessage(contract.ToolMessage, Strict, frozen=True):
    """A tool's result; `tool_call_id` is the id of a call that an earlier assistant message made."""

    content: TextContent


ChatMessage = SystemMessage | DeveloperMessage | UserMessage | AssistantMessage | ToolMessage
