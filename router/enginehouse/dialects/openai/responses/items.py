"""The structs of a conversation as Responses has it: items and their parts.

Items of tools that run in a vendor's cloud have structs of their own, so that they can be left out by name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal, Union, cast

import msgspec
from msgspec import Meta

from enginehouse.dialects.openai.chat.messages import InputAudio, PromptCacheBreakpoint, Strict

ItemStatus = Literal["in_progress", "completed", "incomplete"]
ItemID = Annotated[str, Meta(description="Kept with the item; need not be given.", max_length=256)]
_RECORDED = "Recorded."

# ---- parts ----


class TextInput(Strict, frozen=True, tag_field="type", tag="input_text"):
    """Text that is given to the model."""

    text: str
    prompt_cache_breakpoint: Annotated[PromptCacheBreakpoint | None, Meta(description=_RECORDED)] = None


class ImageInput(Strict, frozen=True, tag_field="type", tag="input_image"):
    """An image by its URL or data URL; needs a model with the feature `image_input`."""

    image_url: str | None = None
    file_id: str | None = None
    detail: Literal["auto", "low", "high", "original"] | None = None
    prompt_cache_breakpoint: Annotated[PromptCacheBreakpoint | None, Meta(description=_RECORDED)] = None


class FileInput(Strict, frozen=True, tag_field="type", tag="input_file"):
    """A file, inline (base64) or by id; needs a model with the feature `file_input`."""

    file_data: str | None = None
    file_id: str | None = None
    file_url: str | None = None
    filename: str | None = None
    detail: Literal["auto", "low", "high"] | None = None
    prompt_cache_breakpoint: Annotated[PromptCacheBreakpoint | None, Meta(description=_RECORDED)] = None


class AudioInput(Strict, frozen=True, tag_field="type", tag="input_audio"):
    """Audio, base64; needs a model with the feature `audio_input`."""

    input_audio: InputAudio


class GivenOutputText(Strict, frozen=True, tag_field="type", tag="output_text"):
    """Text that the assistant said before."""

    text: str
    annotations: Annotated[tuple[Any, ...] | None, Meta(description="Read, and not handed on.")] = None
    logprobs: Annotated[tuple[Any, ...] | None, Meta(description="Read, and not handed on.")] = None


class GivenRefusal(Strict, frozen=True, tag_field="type", tag="refusal"):
    """A refusal that the assistant gave before."""

    refusal: str


MessagePart = TextInput | ImageInput | FileInput | AudioInput | GivenOutputText | GivenRefusal
OutputPart = TextInput | ImageInput | FileInput
"""Parts of what a tool has given."""


class ReasoningText(Strict, frozen=True):
    """Reasoning as it was."""

    type: Literal["reasoning_text"]
    text: str


class SummaryText(Strict, frozen=True):
    """A summary of reasoning."""

    type: Literal["summary_text"]
    text: str


# ---- items ----


class InputMessage(Strict, frozen=True, kw_only=True, tag_field="type", tag="message"):
    """What somebody said; its `type` may be left out."""

    role: Literal["user", "assistant", "system", "developer"]
    content: str | tuple[MessagePart, ...]
    id: ItemID | None = None
    status: ItemStatus | None = None
    phase: Annotated[Literal["commentary", "final_answer"] | None, Meta(description=_RECORDED)] = None


class FunctionCallItem(Strict, frozen=True, kw_only=True, tag_field="type", tag="function_call"):
    """A call that the assistant made earlier, its arguments as JSON text."""

    call_id: Annotated[str, Meta(min_length=1)]
    name: Annotated[str, Meta(min_length=1)]
    arguments: str
    id: ItemID | None = None
    status: ItemStatus | None = None
    namespace: Annotated[str | None, Meta(description=_RECORDED)] = None
    caller: Annotated[Any, Meta(description=_RECORDED)] = None


class FunctionCallOutputItem(Strict, frozen=True, kw_only=True, tag_field="type", tag="function_call_output"):
    """What a function has given for the call `call_id`."""

    call_id: Annotated[str, Meta(min_length=1)]
    output: str | tuple[OutputPart, ...]
    id: ItemID | None = None
    status: ItemStatus | None = None
    name: Annotated[str | None, Meta(description=_RECORDED)] = None
    namespace: Annotated[str | None, Meta(description=_RECORDED)] = None
    caller: Annotated[Any, Meta(description=_RECORDED)] = None


class CustomToolCallItem(Strict, frozen=True, kw_only=True, tag_field="type", tag="custom_tool_call"):
    """A call of a custom tool that the assistant made earlier, its input as it was."""

    call_id: Annotated[str, Meta(min_length=1)]
    name: Annotated[str, Meta(min_length=1)]
    input: str
    id: ItemID | None = None
    status: ItemStatus | None = None
    namespace: Annotated[str | None, Meta(description=_RECORDED)] = None
    caller: Annotated[Any, Meta(description=_RECORDED)] = None


class CustomToolCallOutputItem(Strict, frozen=True, kw_only=True, tag_field="type", tag="custom_tool_call_output"):
    """What a custom tool has given for the call `call_id`."""

    call_id: Annotated[str, Meta(min_length=1)]
    output: str | tuple[OutputPart, ...]
    id: ItemID | None = None
    status: ItemStatus | None = None
    name: Annotated[str | None, Meta(description=_RECORDED)] = None
    caller: Annotated[Any, Meta(description=_RECORDED)] = None


class ReasoningItem(Strict, frozen=True, kw_only=True, tag_field="type", tag="reasoning"):
    """How the model reasoned before: by `encrypted_content` of this server, by `content`, or by `summary`."""

    summary: tuple[SummaryText, ...] = ()
    content: tuple[ReasoningText, ...] | None = None
    encrypted_content: str | None = None
    id: ItemID | None = None
    status: ItemStatus | None = None


class ItemReference(Strict, frozen=True, kw_only=True, tag_field="type", tag="item_reference"):
    """An item of a response that is kept here."""

    id: ItemID


class Hosted(msgspec.Struct, frozen=True, omit_defaults=True):
    """Something that only a vendor's cloud has."""


def hosted(kind: str) -> type[Hosted]:
    """Make the struct of what a cloud calls *kind*: it is read whatever it holds."""
    name = "Hosted" + kind.title().replace("_", "")
    made = msgspec.defstruct(name, [], bases=(Hosted,), tag_field="type", tag=kind, frozen=True, module=__name__)
    return cast("type[Hosted]", made)


HOSTED_ITEMS = tuple(
    hosted(kind)
    for kind in (
        "additional_tools", "apply_patch_call", "apply_patch_call_output", "code_interpreter_call", "compaction",
        "compaction_trigger", "computer_call", "computer_call_output", "configuration_update", "file_search_call",
        "image_generation_call", "local_shell_call", "local_shell_call_output", "mcp_approval_request",
        "mcp_approval_response", "mcp_call", "mcp_list_tools", "program", "program_output", "shell_call",
        "shell_call_output", "tool_search_call", "tool_search_output", "web_search_call",
    )
)  # fmt: skip

OwnItem = (
    InputMessage
    | FunctionCallItem
    | FunctionCallOutputItem
    | CustomToolCallItem
    | CustomToolCallOutputItem
    | ReasoningItem
    | ItemReference
)
if TYPE_CHECKING:
    InputItem = OwnItem | Hosted
else:
    InputItem = Union[(OwnItem, *HOSTED_ITEMS)]  # made of a list
