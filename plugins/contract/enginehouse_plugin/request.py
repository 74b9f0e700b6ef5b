"""What the router asks of an instance: one engine-neutral request, with every default already decided.

An instance never fills in a default of its own: `temperature`, `top_p` and the rest always hold the value
to use. `max_tokens` None means "up to the context", and so does one that is larger than the room left there.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

# Fields that are None are left out when encoded, so that messages can be sent on as they are.

# ---- content ----


class TextPart(msgspec.Struct, frozen=True, tag_field="type", tag="text"):
    """A part of a message that is text."""

    text: str


class ImageURL(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where an image is: a URL or a data URL. `detail` None leaves it to the engine."""

    url: str
    detail: Literal["auto", "low", "high", "original"] | None = None


class ImagePart(msgspec.Struct, frozen=True, tag_field="type", tag="image_url"):
    """A part that is an image (needs the feature `image_input`)."""

    image_url: ImageURL


class InputAudio(msgspec.Struct, frozen=True):
    """Audio, base64."""

    data: str
    format: Literal["wav", "mp3"]


class AudioPart(msgspec.Struct, frozen=True, tag_field="type", tag="input_audio"):
    """A part that is audio (needs the feature `audio_input`)."""

    input_audio: InputAudio


class InputFile(msgspec.Struct, frozen=True, omit_defaults=True):
    """A file, inline (base64) or by id."""

    file_data: str | None = None
    file_id: str | None = None
    filename: str | None = None


class FilePart(msgspec.Struct, frozen=True, tag_field="type", tag="file"):
    """A part that is a file (needs the feature `file_input`)."""

    file: InputFile


ContentPart = TextPart | ImagePart | AudioPart | FilePart
Content = str | tuple[ContentPart, ...]

# ---- messages ----


class FunctionCall(msgspec.Struct, frozen=True):
    """A function's name and its arguments as JSON text."""

    name: str
    arguments: str


class ToolCall(msgspec.Struct, frozen=True, tag_field="type", tag="function"):
    """A call that the assistant made earlier."""

    id: str
    function: FunctionCall


class SystemMessage(msgspec.Struct, frozen=True, omit_defaults=True, tag_field="role", tag="system"):
    """Instructions."""

    content: Content
    name: str | None = None


class DeveloperMessage(msgspec.Struct, frozen=True, omit_defaults=True, tag_field="role", tag="developer"):
    """Instructions; a template that knows no `developer` sees `system`."""

    content: Content
    name: str | None = None


class UserMessage(msgspec.Struct, frozen=True, omit_defaults=True, tag_field="role", tag="user"):
    """What the user said."""

    content: Content
    name: str | None = None


class AssistantMessage(msgspec.Struct, frozen=True, omit_defaults=True, tag_field="role", tag="assistant"):
    """What the assistant said, or called, before."""

    content: Content | None = None
    name: str | None = None
    refusal: str | None = None
    reasoning_content: str | None = None
    tool_calls: tuple[ToolCall, ...] | None = None


class ToolMessage(msgspec.Struct, frozen=True, omit_defaults=True, tag_field="role", tag="tool"):
    """A tool's result."""

    content: Content
    tool_call_id: str
    name: str | None = None


Message = SystemMessage | DeveloperMessage | UserMessage | AssistantMessage | ToolMessage

# ---- prompt ----


class Chat(msgspec.Struct, frozen=True, tag_field="kind", tag="chat"):
    """A conversation; the instance applies the model's chat template."""

    messages: tuple[Message, ...]


class Text(msgspec.Struct, frozen=True, tag_field="kind", tag="text"):
    """Raw text, no template."""

    text: str


class Tokens(msgspec.Struct, frozen=True, tag_field="kind", tag="tokens"):
    """Token ids of the model's own vocabulary."""

    token_ids: tuple[int, ...]


Prompt = Chat | Text | Tokens

# ---- form of the output ----


class JsonObject(msgspec.Struct, frozen=True, tag_field="kind", tag="json_object"):
    """The output is any one JSON object."""


class JsonSchema(msgspec.Struct, frozen=True, tag_field="kind", tag="json_schema"):
    """The output is JSON that satisfies *schema* (always enforced; `strict` only forbids leniency)."""

    name: str
    schema: dict[str, Any]  # a JSON Schema is any JSON object
    description: str | None = None
    strict: bool = False


OutputFormat = JsonObject | JsonSchema


class Tool(msgspec.Struct, frozen=True):
    """A function that the model may call. `parameters` is a JSON Schema; None: no parameters.

    If *strict*, the schema is enforced whole or the request refused; otherwise as far as possible, and `Started` names
    the rest.
    """

    name: str
    description: str | None = None
    parameters: dict[str, Any] | None = None  # a JSON Schema is any JSON object
    strict: bool = False


class NamedTool(msgspec.Struct, frozen=True):
    """The model must call this tool."""

    name: str


ToolChoice = Literal["none", "auto", "required"] | NamedTool


class GenerationRequest(msgspec.Struct, frozen=True, kw_only=True):
    """One request to generate.

    Ranges are checked by the router: temperature 0..2 (0 is greedy), top_p 0..1, penalties -2..2,
    logit_bias -100..100 by token id, top_logprobs 0..20. `top_k` 0, `min_p` 0 and
    `repetition_penalty` 1 are off.
    """

    id: str
    prompt: Prompt
    stream: bool = False
    """The client reads the answer as it is made; an adapter may ask the engine for one body otherwise."""
    n: int = 1
    max_tokens: int | None = None
    max_tokens_must_fit: bool = False
    """A `max_tokens` larger than the room left is refused; else the answer ends at the context's end, by `length`."""
    min_tokens: int = 0
    """The model ends no choice by itself before it has as many tokens; a stop string or the limit does."""
    ignore_eos: bool = False
    """The model ends no choice by itself at all."""
    continue_final_message: bool = False
    """The answer goes on where the last message, the assistant's, ends: it is text alone, and is not said again."""
    suffix: str = ""
    """The answer is filled in between the prompt, a text or its tokens, and this; neither text has control tokens."""
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    repetition_penalty: float = 1.0
    logit_bias: dict[int, float] = {}
    seed: int | None = None
    stop: tuple[str, ...] = ()
    logprobs: bool = False
    top_logprobs: int = 0
    output: OutputFormat | None = None
    tools: tuple[Tool, ...] = ()
    tool_choice: ToolChoice = "none"
    parallel_tool_calls: bool = True
    reasoning_effort: str | None = None
    chat_template_kwargs: dict[str, Any] | None = None  # passed to the model's own template
