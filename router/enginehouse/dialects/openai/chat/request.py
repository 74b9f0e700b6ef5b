"""The structs of a chat-completions request: names, types and ranges, the one source for all of them.

The decoder enforces what stands here, the OpenAPI document is derived from it, and docs/api.md is checked
against it. Rules that look at more than one field are in `rules`.
`null` means "absent" for every field that has a default.
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from enginehouse.dialects.openai.chat.messages import CacheControl, ChatMessage, Json, Refused, Strict, TextContent
from enginehouse.wire.places import EXPECTED

INT32_MAX = 2**31 - 1
INT64_MAX = 2**63 - 1

# `$` alone also matches before a final line feed in Python; with the look-ahead it means the same in every dialect.
NAME_PATTERN = r"^[a-zA-Z0-9_-]{1,64}$(?!\n)"
Name = Annotated[
    str,
    Meta(
        pattern=NAME_PATTERN,
        examples=["get_weather"],
        extra={EXPECTED: "1 to 64 characters of a-z, A-Z, 0-9, '_' and '-'"},
    ),
]
TokenID = Annotated[int, Meta(ge=0, le=INT64_MAX, extra={EXPECTED: "token ids: integers from 0 in decimal"})]

TokenCount = Annotated[int, Meta(ge=1, le=INT32_MAX)]
Penalty = Annotated[float, Meta(ge=-2, le=2)]
MinTokens = Annotated[
    int, Meta(ge=0, le=INT32_MAX, description="The model does not end the answer before; a stop string may.")
]
IgnoreEos = Annotated[
    bool, Meta(description="The model does not end the answer at all: its limit or a stop string does.")
]

# ---- tools ----


class FunctionDefinition(Strict, frozen=True):
    """A function that the model may call."""

    name: Annotated[Name, Meta(description="1 to 64 characters of a-z, A-Z, 0-9, '_' and '-'.")]
    description: Annotated[str | None, Meta(description="What it does, for the model.")] = None
    parameters: Annotated[Json | None, Meta(description="A JSON Schema; absent: it takes none.")] = None
    strict: Annotated[
        bool | None,
        Meta(description="Honoured: with it the schema is enforced whole or refused, without it as far as possible."),
    ] = None


class FunctionTool(Strict, frozen=True, tag_field="type", tag="function"):
    """A tool that is a function."""

    function: FunctionDefinition
    cache_control: Annotated[CacheControl | None, Meta(description="Recorded.")] = None


class CustomTool(Strict, frozen=True, tag_field="type", tag="custom"):
    """A tool with free input; decoded so that it can be refused by name."""

    custom: Json


class FunctionName(Strict, frozen=True):
    """The name of one of `tools`."""

    name: str


class NamedFunction(Strict, frozen=True, tag_field="type", tag="function"):
    """The model must call this function."""

    function: FunctionName


class NamedCustom(Strict, frozen=True, tag_field="type", tag="custom"):
    """The model must call this custom tool; decoded so that it can be refused by name."""

    custom: FunctionName


class AllowedTools(Strict, frozen=True):
    """Which of `tools` may be called this time, and whether one must be."""

    mode: Literal["auto", "required"]
    tools: Annotated[tuple[NamedFunction | NamedCustom, ...], Meta(min_length=1)]


class AllowedToolsChoice(Strict, frozen=True, tag_field="type", tag="allowed_tools"):
    """The model may call only these."""

    allowed_tools: AllowedTools


ToolChoice = Literal["none", "auto", "required", "any"] | NamedFunction | NamedCustom | AllowedToolsChoice

# ---- form of the answer ----


class TextFormat(Strict, frozen=True, tag_field="type", tag="text"):
    """Plain text."""


class JsonObjectFormat(Strict, frozen=True, tag_field="type", tag="json_object"):
    """Any one JSON object."""


class JsonSchemaSpec(Strict, frozen=True):
    """A JSON Schema with a name."""

    name: Annotated[Name, Meta(description="1 to 64 characters of a-z, A-Z, 0-9, '_' and '-'.")]
    schema: Annotated[Json, Meta(description="The JSON Schema that the answer satisfies.")]
    description: str | None = None
    strict: Annotated[bool | None, Meta(description="Honoured: a schema is enforced with and without it.")] = None


class JsonSchemaFormat(Strict, frozen=True, tag_field="type", tag="json_schema"):
    """JSON that satisfies a schema."""

    json_schema: JsonSchemaSpec


ResponseFormat = TextFormat | JsonObjectFormat | JsonSchemaFormat

# ---- the rest ----


class Thinking(Strict, frozen=True):
    """Whether the model reasons, as some clients put it."""

    type: Literal["disabled", "enabled"]


class StreamOptions(Strict, frozen=True):
    """Options of a stream."""

    include_usage: Annotated[bool | None, Meta(description="Send a last chunk with the usage.")] = None
    include_obfuscation: Annotated[
        bool | None,
        Meta(description="Add a field of random length to each chunk; off unless asked for."),
    ] = None
    continuous_usage_stats: Annotated[
        bool | None,
        Meta(description="Tell the usage so far in each chunk, of its own choice; needs 'include_usage'."),
    ] = None


class Prediction(Strict, frozen=True):
    """Text that the answer is likely to contain. Recorded: it could only change the speed."""

    type: Literal["content"]
    content: TextContent


class PromptCacheOptions(Strict, frozen=True):
    """Wishes about the prompt cache. Recorded: they could only change the speed."""

    mode: Literal["implicit", "explicit"] | None = None
    ttl: Literal["30m"] | None = None


class ChatRequest(Strict, frozen=True, kw_only=True):
    """A request to `POST /v1/chat/completions`."""

    model: Annotated[str, Meta(description="ID of a model in /v1/models.", min_length=1, examples=["smollm2-135m"])]
    messages: Annotated[tuple[ChatMessage, ...], Meta(description="The conversation so far.", min_length=1)]

    # sampling
    temperature: Annotated[float, Meta(ge=0, le=2, description="0 is greedy.")] | None = None
    top_p: (
        Annotated[float, Meta(ge=0, le=1, description="Share of probability to sample from; 0 leaves the likeliest.")]
        | None
    ) = None
    top_k: (
        Annotated[int, Meta(ge=-1, le=INT32_MAX, description="Sample among the k likeliest; 0 and -1 are off.")] | None
    ) = None
    min_p: (
        Annotated[float, Meta(ge=0, le=1, description="Leave out what is below this share of the likeliest.")] | None
    ) = None
    frequency_penalty: Annotated[Penalty, Meta(description="Per earlier use of a token in the answer.")] | None = None
    presence_penalty: Annotated[Penalty, Meta(description="For tokens already in the answer.")] | None = None
    repetition_penalty: (
        Annotated[float, Meta(gt=0, le=2, description="Multiplicative, over prompt and answer; 1 is off.")] | None
    ) = None
    logit_bias: (
        Annotated[
            dict[TokenID, Annotated[float, Meta(ge=-100, le=100)]],
            Meta(description="Added to the logits, by token id.", examples=[{"1734": -100}]),
        ]
        | None
    ) = None
    seed: (
        Annotated[int, Meta(ge=-(2**63), le=INT64_MAX, description="The same seed and request give the same answer.")]
        | None
    ) = None

    # length and number
    max_completion_tokens: (
        Annotated[
            TokenCount,
            Meta(description="Most tokens of the answer, reasoning included; at most what the context has left."),
        ]
        | None
    ) = None
    max_tokens: (
        Annotated[TokenCount, Meta(description="The older name; where both are given the smaller holds.")] | None
    ) = None
    stop: (
        Annotated[
            str | tuple[Annotated[str, Meta(min_length=1)], ...],
            Meta(description="Up to 4 strings that end the answer; they are not part of it.", examples=[["\n\n"]]),
        ]
        | None
    ) = None
    n: Annotated[int, Meta(ge=1, le=INT32_MAX, description="Number of choices.")] | None = None
    min_tokens: MinTokens | None = None
    ignore_eos: IgnoreEos | None = None

    # where it begins (see `endings`)
    continue_final_message: (
        Annotated[bool, Meta(description="Go on where the last message, the assistant's, ends.")] | None
    ) = None
    add_generation_prompt: (
        Annotated[
            bool,
            Meta(description="Whether the assistant's turn begins anew: the opposite of 'continue_final_message'."),
        ]
        | None
    ) = None

    # form of the answer
    stream: Annotated[bool, Meta(description="Send the answer as server-sent events while it is made.")] | None = None
    stream_options: Annotated[StreamOptions | None, Meta(description="Only with 'stream'.")] = None
    logprobs: Annotated[bool, Meta(description="Return log probabilities of the answer's tokens.")] | None = None
    top_logprobs: Annotated[int, Meta(ge=0, le=20, description="Alternatives per token; needs 'logprobs'.")] | None = (
        None
    )
    response_format: Annotated[ResponseFormat, Meta(description="Form of the answer, always enforced.")] | None = None

    # tools
    tools: Annotated[tuple[FunctionTool | CustomTool, ...], Meta(description="What the model may call.")] | None = None
    tool_choice: (
        Annotated[
            ToolChoice, Meta(description="Default 'none' without tools and 'auto' with them; 'any' is 'required'.")
        ]
        | None
    ) = None
    parallel_tool_calls: Annotated[bool, Meta(description="Whether one answer may hold several calls.")] | None = None

    # reasoning and templates
    reasoning_effort: (
        Annotated[
            Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"],
            Meta(description="For models that reason."),
        ]
        | None
    ) = None
    thinking: Annotated[
        Thinking | None, Meta(description="Only 'disabled': the template's variable 'enable_thinking' is false.")
    ] = None
    chat_template_kwargs: Annotated[Json, Meta(description="Variables for the model's own chat template.")] | None = (
        None
    )

    # recorded: they cannot change the answer
    user: Annotated[str, Meta(description="Recorded.")] | None = None
    safety_identifier: Annotated[str, Meta(max_length=128, description="Recorded.")] | None = None
    metadata: (
        Annotated[
            dict[Annotated[str, Meta(max_length=64)], Annotated[str, Meta(max_length=512)]],
            Meta(max_length=16, description="Recorded; up to 16 pairs."),
        ]
        | None
    ) = None
    prompt_cache_key: Annotated[str, Meta(description="Recorded.")] | None = None
    prompt_cache_options: Annotated[PromptCacheOptions | None, Meta(description="Recorded.")] = None
    prompt_cache_retention: Annotated[Literal["in_memory", "24h"], Meta(description="Recorded.")] | None = None
    prediction: Annotated[Prediction | None, Meta(description="Recorded.")] = None

    # honoured for some values, refused for the others (see `rules`)
    modalities: (
        Annotated[tuple[Literal["text", "audio"], ...], Meta(min_length=1, description='Only ["text"].')] | None
    ) = None
    store: Annotated[bool, Meta(description="Only false: nothing is stored.")] | None = None
    service_tier: (
        Annotated[
            Literal["auto", "default", "flex", "scale", "priority", "fast"],
            Meta(description="Only 'auto' and 'default': there is one tier."),
        ]
        | None
    ) = None
    verbosity: Annotated[Literal["low", "medium", "high"], Meta(description="Only 'medium', the default.")] | None = (
        None
    )

    # refused
    audio: Annotated[Refused, Meta(description="This API answers with text.")] = None
    functions: Annotated[Refused, Meta(description="Deprecated: use 'tools'.")] = None
    function_call: Annotated[Refused, Meta(description="Deprecated: use 'tool_choice'.")] = None
    moderation: Annotated[Refused, Meta(description="No moderation model runs here.")] = None
    web_search_options: Annotated[Refused, Meta(description="No web search runs here; give a tool instead.")] = None
