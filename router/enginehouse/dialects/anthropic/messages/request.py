"""The structs of a request to Messages: names, types and ranges, the one source for all of them.

`null` means "absent" for every field that has a default. Rules that look at more than one field are in `rules`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta

from enginehouse.dialects.anthropic.messages.blocks import Ephemeral, Json, Strict, TextBlock, Turn
from enginehouse.wire.places import EXPECTED

INT32_MAX = 2**31 - 1
ToolName = Annotated[
    str,
    Meta(
        pattern=r"^[a-zA-Z0-9_-]{1,128}$(?!\n)",
        examples=["get_weather"],
        extra={EXPECTED: "1 to 128 characters of a-z, A-Z, 0-9, '_' and '-'"},
    ),
]
Anything = Annotated[Any, Meta(description="Of a vendor's cloud: left out and reported, or refused.")]


class MessagesTool(Strict, frozen=True, kw_only=True):
    """A tool of the client's own (`type` absent or `custom`); one of a vendor's cloud is left out and reported."""

    name: ToolName
    type: str | None = None
    description: str | None = None
    input_schema: Annotated[Json | None, Meta(description="A JSON Schema; the client's own tools must have it.")] = None
    strict: bool | None = None
    cache_control: Ephemeral | None = None
    input_examples: Annotated[tuple[Json, ...] | None, Meta(description="Reported: no template shows them.")] = None
    eager_input_streaming: Annotated[bool | None, Meta(description="Input is streamed as it is made.")] = None
    defer_loading: Annotated[bool | None, Meta(description="Reported where true: the tool is loaded at once.")] = None
    allowed_callers: Annotated[tuple[str, ...] | None, Meta(description="The model calls tools directly.")] = None
    max_uses: Anything = None
    allowed_domains: Anything = None
    blocked_domains: Anything = None
    user_location: Anything = None
    citations: Anything = None
    max_content_tokens: Anything = None
    max_characters: Anything = None
    display_width_px: Anything = None
    display_height_px: Anything = None
    display_number: Anything = None
    enable_zoom: Anything = None
    configs: Anything = None
    mcp_server_name: Anything = None


OF_CLOUD_TOOLS = (
    "max_uses", "allowed_domains", "blocked_domains", "user_location", "citations", "max_content_tokens",
    "max_characters", "display_width_px", "display_height_px", "display_number", "enable_zoom", "configs",
    "mcp_server_name",
)  # fmt: skip
"""Fields that only tools of a vendor's cloud have."""


class AutoChoice(Strict, frozen=True, tag_field="type", tag="auto"):
    """The model may call tools."""

    disable_parallel_tool_use: bool | None = None


class AnyChoice(Strict, frozen=True, tag_field="type", tag="any"):
    """The model must call a tool."""

    disable_parallel_tool_use: bool | None = None


class ToolChoiceByName(Strict, frozen=True, tag_field="type", tag="tool"):
    """The model must call this tool."""

    name: str
    disable_parallel_tool_use: bool | None = None


class NoneChoice(Strict, frozen=True, tag_field="type", tag="none"):
    """The model may call none."""


class ThinkingEnabled(Strict, frozen=True, tag_field="type", tag="enabled"):
    """The model thinks; the budget is reported: no engine keeps one."""

    budget_tokens: Annotated[int, Meta(ge=1024, le=INT32_MAX)]
    display: Literal["summarized", "omitted"] | None = None


class ThinkingAdaptive(Strict, frozen=True, tag_field="type", tag="adaptive"):
    """The model thinks as it does by itself."""

    display: Literal["summarized", "omitted"] | None = None


class ThinkingBetweenTools(Strict, frozen=True, tag_field="type", tag="between_tools"):
    """The model thinks between calls, as it does by itself."""


class ThinkingDisabled(Strict, frozen=True, tag_field="type", tag="disabled"):
    """The model does not think."""


class SchemaOutput(Strict, frozen=True, tag_field="type", tag="json_schema"):
    """JSON that satisfies a schema, always enforced."""

    schema: Json


class OutputConfig(Strict, frozen=True):
    """Effort and form of the answer."""

    effort: Annotated[
        Literal["low", "medium", "high", "xhigh", "max"] | None, Meta(description="For models that reason.")
    ] = None
    format: SchemaOutput | None = None


class MessagesMetadata(Strict, frozen=True):
    """About the request. Recorded."""

    user_id: Annotated[str, Meta(max_length=512)] | None = None


class CountRequest(Strict, frozen=True, kw_only=True):
    """A request to `POST /v1/messages/count_tokens`."""

    model: Annotated[str, Meta(description="ID of a model in /v1/models, or a name for it.", min_length=1)]
    messages: Annotated[tuple[Turn, ...], Meta(description="The conversation so far.", min_length=1)]
    system: Annotated[str | tuple[TextBlock, ...], Meta(description="Instructions.")] | None = None
    tools: Annotated[tuple[MessagesTool, ...], Meta(description="What the model may call.")] | None = None
    tool_choice: AutoChoice | AnyChoice | ToolChoiceByName | NoneChoice | None = None
    thinking: ThinkingEnabled | ThinkingAdaptive | ThinkingBetweenTools | ThinkingDisabled | None = None
    output_config: OutputConfig | None = None
    output_format: Annotated[SchemaOutput | None, Meta(description="The older place of `output_config.format`.")] = None
    cache_control: Ephemeral | None = None
    context_management: Anything = None
    mcp_servers: Anything = None
    speed: Literal["standard", "fast"] | None = None
    user_profile_id: Annotated[str | None, Meta(description="Recorded.")] = None
    workspace_id: Annotated[str | None, Meta(description="Recorded.")] = None


class MessagesRequest(CountRequest, frozen=True, kw_only=True):
    """A request to `POST /v1/messages`."""

    max_tokens: Annotated[int, Meta(ge=1, le=INT32_MAX, description="Most tokens of the answer, thinking included.")]
    stop_sequences: (
        Annotated[
            tuple[Annotated[str, Meta(min_length=1)], ...],
            Meta(description="Strings that end the answer; they are not part of it."),
        ]
        | None
    ) = None
    stream: Annotated[bool, Meta(description="Send the answer as server-sent events while it is made.")] | None = None
    temperature: Annotated[float, Meta(ge=0, le=1, description="0 is greedy.")] | None = None
    top_p: Annotated[float, Meta(ge=0, le=1, description="Share of probability to sample from.")] | None = None
    top_k: Annotated[int, Meta(ge=0, le=INT32_MAX, description="Sample among the k likeliest; 0 is off.")] | None = None
    metadata: Annotated[MessagesMetadata | None, Meta(description="Recorded.")] = None
    service_tier: Annotated[
        Literal["auto", "standard_only"] | None, Meta(description="Recorded: there is one tier, the standard one.")
    ] = None
    container: Anything = None
    diagnostics: Anything = None
    inference_geo: Anything = None


OF_CLOUD = ("container", "context_management", "diagnostics", "inference_geo", "mcp_servers")
"""Fields that only a vendor's cloud can honour."""
