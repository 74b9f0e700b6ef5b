"""The structs of a request to Responses: names, types and ranges, the one source for all of them.

Rules that look at more than one field are in `rules`. `null` means "absent" for every field that has a default.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal, Union

from msgspec import Meta

from enginehouse.dialects.openai.chat.messages import Json, Refused, Strict
from enginehouse.dialects.openai.chat.request import (
    INT32_MAX,
    JsonObjectFormat,
    Name,
    PromptCacheOptions,
    TextFormat,
)
from enginehouse.dialects.openai.responses.items import Hosted, InputItem, hosted

_RECORDED = "Recorded."
_REPORTED = "Left out and reported: only a vendor's cloud has it."

# ---- tools ----


class ResponsesFunction(Strict, frozen=True, tag_field="type", tag="function"):
    """A function that the model may call."""

    name: Annotated[Name, Meta(description="1 to 64 characters of a-z, A-Z, 0-9, '_' and '-'.")]
    description: Annotated[str | None, Meta(description="What it does, for the model.")] = None
    parameters: Annotated[Json | None, Meta(description="A JSON Schema; absent: it takes none.")] = None
    strict: Annotated[
        bool | None,
        Meta(description="With it the schema is enforced whole or refused, without it as far as possible."),
    ] = None
    defer_loading: Annotated[bool | None, Meta(description=_RECORDED)] = None
    allowed_callers: Annotated[tuple[str, ...] | None, Meta(description=_RECORDED)] = None
    output_schema: Annotated[Any, Meta(description=_RECORDED)] = None


class ToolGrammar(Strict, frozen=True, tag_field="type", tag="grammar"):
    """A grammar of a custom tool's input; it is shown to the model and not enforced."""

    syntax: Literal["lark", "regex"]
    definition: str


class ToolText(Strict, frozen=True, tag_field="type", tag="text"):
    """A custom tool's input is any text."""


class ResponsesCustom(Strict, frozen=True, tag_field="type", tag="custom"):
    """A tool whose input is plain text."""

    name: Annotated[Name, Meta(description="1 to 64 characters of a-z, A-Z, 0-9, '_' and '-'.")]
    description: Annotated[str | None, Meta(description="What it does, for the model.")] = None
    format: Annotated[
        ToolText | ToolGrammar | None, Meta(description="A grammar is shown to the model, and reported.")
    ] = None
    defer_loading: Annotated[bool | None, Meta(description=_RECORDED)] = None
    allowed_callers: Annotated[tuple[str, ...] | None, Meta(description=_RECORDED)] = None


HOSTED_TOOLS = tuple(
    hosted(kind)
    for kind in (
        "apply_patch", "code_interpreter", "computer", "computer_use", "computer_use_preview", "file_search",
        "image_generation", "local_shell", "mcp", "namespace", "programmatic_tool_calling", "shell", "tool_search",
        "web_search", "web_search_2025_08_26", "web_search_preview", "web_search_preview_2025_03_11",
    )
)  # fmt: skip
if TYPE_CHECKING:
    ResponsesTool = ResponsesFunction | ResponsesCustom | Hosted
else:
    ResponsesTool = Union[(ResponsesFunction, ResponsesCustom, *HOSTED_TOOLS)]  # made of a list


class FunctionChoice(Strict, frozen=True, tag_field="type", tag="function"):
    """The model must call this function."""

    name: str


class CustomChoice(Strict, frozen=True, tag_field="type", tag="custom"):
    """The model must call this custom tool."""

    name: str


class AllowedTool(Strict, frozen=True):
    """One of `tools`."""

    type: str
    name: str | None = None


class AllowedChoice(Strict, frozen=True, tag_field="type", tag="allowed_tools"):
    """The model may call only these."""

    mode: Literal["auto", "required"]
    tools: Annotated[tuple[AllowedTool, ...], Meta(min_length=1)]


ResponsesToolChoice = Literal["none", "auto", "required"] | FunctionChoice | CustomChoice | AllowedChoice

# ---- form of the answer ----


class SchemaFormat(Strict, frozen=True, tag_field="type", tag="json_schema"):
    """JSON that satisfies a schema."""

    name: Annotated[Name, Meta(description="1 to 64 characters of a-z, A-Z, 0-9, '_' and '-'.")]
    schema: Annotated[Json, Meta(description="The JSON Schema that the answer satisfies.")]
    description: str | None = None
    strict: Annotated[bool | None, Meta(description="A schema is enforced with and without it.")] = None


class TextConfig(Strict, frozen=True):
    """Form of the answer's text."""

    format: Annotated[
        TextFormat | JsonObjectFormat | SchemaFormat | None, Meta(description="Form of the answer, always enforced.")
    ] = None
    verbosity: Annotated[
        Literal["low", "medium", "high"] | None, Meta(description="'medium' is the default; others are reported.")
    ] = None


class ReasoningConfig(Strict, frozen=True):
    """How the model reasons, and what is shown of it."""

    effort: Annotated[
        Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"] | None,
        Meta(description="For models that reason."),
    ] = None
    summary: Annotated[
        Literal["auto", "concise", "detailed"] | None,
        Meta(description="The reasoning comes as 'summary', unshortened; else as 'content'. 'concise' is reported."),
    ] = None
    generate_summary: Annotated[
        Literal["auto", "concise", "detailed"] | None, Meta(description="Older name of 'summary'.")
    ] = None
    context: Annotated[Literal["auto", "current_turn", "all_turns"] | None, Meta(description=_RECORDED)] = None
    mode: Annotated[str | None, Meta(description=_RECORDED)] = None


class ResponsesStreamOptions(Strict, frozen=True):
    """Options of a stream."""

    include_obfuscation: Annotated[
        bool | None, Meta(description="Add a field of random length to each delta; off unless asked for.")
    ] = None


Include = Literal[
    "code_interpreter_call.outputs", "computer_call_output.output.image_url", "file_search_call.results",
    "message.input_image.image_url", "message.output_text.logprobs", "reasoning.encrypted_content",
    "web_search_call.action.sources", "web_search_call.results",
]  # fmt: skip


class ResponsesRequest(Strict, frozen=True, kw_only=True):
    """A request to `POST /v1/responses`."""

    model: Annotated[str, Meta(description="ID of a model in /v1/models.", min_length=1, examples=["smollm2-135m"])]
    input: Annotated[
        str | Annotated[tuple[InputItem, ...], Meta(min_length=1)],
        Meta(description="What is asked: text, or items."),
    ]
    instructions: Annotated[str | None, Meta(description="Stands before the conversation, for this answer only.")] = (
        None
    )
    previous_response_id: Annotated[
        str | None, Meta(description="A kept response whose conversation this one goes on with.")
    ] = None
    store: Annotated[
        bool | None, Meta(description="Keep the response for a while; the default where the server keeps any.")
    ] = None
    background: Annotated[
        bool | None, Meta(description="Answer at once, and go on without the client; needs a kept response.")
    ] = None

    # sampling and length
    temperature: Annotated[float, Meta(ge=0, le=2, description="0 is greedy.")] | None = None
    top_p: (
        Annotated[float, Meta(ge=0, le=1, description="Share of probability to sample from; 0 leaves the likeliest.")]
        | None
    ) = None
    max_output_tokens: (
        Annotated[int, Meta(ge=1, le=INT32_MAX, description="Most tokens of the answer, reasoning included.")] | None
    ) = None
    top_logprobs: (
        Annotated[
            int,
            Meta(ge=0, le=20, description="Alternatives per token; needs 'message.output_text.logprobs' in 'include'."),
        ]
        | None
    ) = None

    # form of the answer
    text: Annotated[TextConfig | None, Meta(description="Form of the answer's text.")] = None
    reasoning: Annotated[ReasoningConfig | None, Meta(description="For models that reason.")] = None
    include: Annotated[
        tuple[Include, ...] | None,
        Meta(description="What else the answer holds; what concerns tools of a cloud asks for nothing here."),
    ] = None
    stream: Annotated[bool | None, Meta(description="Send the answer as server-sent events while it is made.")] = None
    stream_options: Annotated[ResponsesStreamOptions | None, Meta(description="Only with 'stream'.")] = None

    # tools
    tools: Annotated[
        tuple[ResponsesTool, ...] | None,
        Meta(description="What the model may call; tools of a cloud are left out and reported."),
    ] = None
    tool_choice: Annotated[ResponsesToolChoice | None, Meta(description="Default 'auto'.")] = None
    parallel_tool_calls: Annotated[bool | None, Meta(description="Whether one answer may hold several calls.")] = None
    max_tool_calls: Annotated[
        Annotated[int, Meta(ge=1)] | None, Meta(description="Counts calls of a cloud's tools, of which none is made.")
    ] = None

    # recorded: they cannot change the answer
    metadata: (
        Annotated[
            dict[Annotated[str, Meta(max_length=64)], Annotated[str, Meta(max_length=512)]],
            Meta(max_length=16, description="Recorded, and given back; up to 16 pairs."),
        ]
        | None
    ) = None
    user: Annotated[str | None, Meta(description=_RECORDED)] = None
    safety_identifier: Annotated[str, Meta(max_length=128, description=_RECORDED)] | None = None
    prompt_cache_key: Annotated[str | None, Meta(description=_RECORDED)] = None
    prompt_cache_retention: Annotated[Literal["in_memory", "24h"] | None, Meta(description=_RECORDED)] = None
    prompt_cache_options: Annotated[PromptCacheOptions | None, Meta(description=_RECORDED)] = None
    client_metadata: Annotated[Json | None, Meta(description=_RECORDED)] = None

    # honoured for some values, reported or refused for the others (see `rules`)
    truncation: Annotated[
        Literal["auto", "disabled"] | None, Meta(description="'disabled' is the default; 'auto' is reported.")
    ] = None
    service_tier: Annotated[
        Literal["auto", "default", "flex", "scale", "priority", "fast", "ultrafast"] | None,
        Meta(description="There is one tier; others than 'auto' and 'default' are reported."),
    ] = None
    context_management: Annotated[tuple[Json, ...] | None, Meta(description=_REPORTED)] = None
    moderation: Annotated[Json | None, Meta(description=_REPORTED)] = None
    access_programs: Annotated[Json | None, Meta(description=_REPORTED)] = None
    background_options: Annotated[Json | None, Meta(description=_REPORTED)] = None
    image: Annotated[Json | None, Meta(description=_REPORTED)] = None

    # refused
    conversation: Annotated[
        Refused, Meta(description="No conversations are kept here: use 'previous_response_id'.")
    ] = None
    prompt: Annotated[Refused, Meta(description="No prompts are kept here: use 'instructions' and 'input'.")] = None
