"""The structs of a conversation as Anthropic's dialect has it: turns, and the blocks of their content.

What only a vendor's cloud makes (`server_tool_use`, results of its tools, files by id) is decoded so that it can be
named: it is left out and reported, or refused where that is configured.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

Json = dict[str, Any]  # any JSON object; `rules` bounds its depth


class Strict(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A part of a request: no unknown fields; what is absent stays absent when it is encoded again."""


class Ephemeral(Strict, frozen=True):
    """Where a cached prefix ends. Engines find the longest cached prefix by themselves; usage tells what was read."""

    type: Literal["ephemeral"]
    ttl: Literal["5m", "1h"] | None = None


class TextBlock(Strict, frozen=True, tag_field="type", tag="text"):
    """Text; `citations`, which a cloud's answer may have, are not handed on."""

    text: Annotated[str, Meta(min_length=1)]
    cache_control: Ephemeral | None = None
    citations: tuple[Json, ...] | None = None


class Base64Source(Strict, frozen=True, tag_field="type", tag="base64"):
    """Bytes, base64."""

    media_type: Literal["image/jpeg", "image/png", "image/gif", "image/webp", "application/pdf"]
    data: Annotated[str, Meta(min_length=1)]


class URLSource(Strict, frozen=True, tag_field="type", tag="url"):
    """What is found at a URL."""

    url: Annotated[str, Meta(min_length=1)]


class FileSource(Strict, frozen=True, tag_field="type", tag="file"):
    """A file that was uploaded before; decoded so that it can be refused by name."""

    file_id: str


class TextSource(Strict, frozen=True, tag_field="type", tag="text"):
    """Plain text."""

    media_type: Literal["text/plain"]
    data: Annotated[str, Meta(min_length=1)]


class ContentSource(Strict, frozen=True, tag_field="type", tag="content"):
    """Text, as it is or in blocks."""

    content: str | tuple[TextBlock, ...]


class ImageBlock(Strict, frozen=True, tag_field="type", tag="image"):
    """An image; needs a model with the feature `image_input`."""

    source: Base64Source | URLSource | FileSource
    cache_control: Ephemeral | None = None


class DocumentBlock(Strict, frozen=True, tag_field="type", tag="document"):
    """A document: plain text, or a PDF, which needs a model with the feature `file_input`."""

    source: Base64Source | URLSource | FileSource | TextSource | ContentSource
    title: str | None = None
    context: str | None = None
    citations: Json | None = None
    cache_control: Ephemeral | None = None


class SearchResultBlock(Strict, frozen=True, tag_field="type", tag="search_result"):
    """Something that was found, as text."""

    source: str
    title: str
    content: tuple[TextBlock, ...]
    citations: Json | None = None
    cache_control: Ephemeral | None = None


class ThinkingBlock(Strict, frozen=True, tag_field="type", tag="thinking"):
    """What the assistant thought before, with the signature that its answer had."""

    thinking: str
    signature: str


class RedactedThinkingBlock(Strict, frozen=True, tag_field="type", tag="redacted_thinking"):
    """Thinking that only another server can read."""

    data: str


class ToolUseBlock(Strict, frozen=True, tag_field="type", tag="tool_use"):
    """A call that the assistant made."""

    id: Annotated[str, Meta(min_length=1, max_length=256)]
    name: Annotated[str, Meta(min_length=1, max_length=200)]
    input: Json
    cache_control: Ephemeral | None = None
    caller: Json | None = None
    toolset_name: str | None = None


class _Foreign(msgspec.Struct, frozen=True, omit_defaults=True):
    """A block that only a vendor's cloud makes, whatever it holds; it is left out as a whole."""

    cache_control: Ephemeral | None = None
    id: Any = None
    name: Any = None
    input: Any = None
    caller: Any = None
    content: Any = None
    is_error: Any = None
    file_id: Any = None
    tool_name: Any = None
    tool_use_id: Any = None
    server_name: Any = None


class ToolReference(_Foreign, frozen=True, tag_field="type", tag="tool_reference"):
    """A tool that a cloud's search has found."""


class ServerToolUse(_Foreign, frozen=True, tag_field="type", tag="server_tool_use"):
    """A call of a cloud's own tool."""


class WebSearchResult(_Foreign, frozen=True, tag_field="type", tag="web_search_tool_result"):
    """What a cloud's search has found."""


class WebFetchResult(_Foreign, frozen=True, tag_field="type", tag="web_fetch_tool_result"):
    """What a cloud has fetched."""


class CodeResult(_Foreign, frozen=True, tag_field="type", tag="code_execution_tool_result"):
    """What code did in a cloud."""


class BashResult(_Foreign, frozen=True, tag_field="type", tag="bash_code_execution_tool_result"):
    """What commands did in a cloud."""


class EditorResult(_Foreign, frozen=True, tag_field="type", tag="text_editor_code_execution_tool_result"):
    """What an editor did in a cloud."""


class ToolSearchResult(_Foreign, frozen=True, tag_field="type", tag="tool_search_tool_result"):
    """Which tools a cloud has found."""


class MCPToolUse(_Foreign, frozen=True, tag_field="type", tag="mcp_tool_use"):
    """A call that a cloud made of somebody's tool."""


class MCPToolResult(_Foreign, frozen=True, tag_field="type", tag="mcp_tool_result"):
    """What that call gave."""


class ContainerUpload(_Foreign, frozen=True, tag_field="type", tag="container_upload"):
    """A file of a cloud's container."""


ForeignBlock = (
    ServerToolUse | WebSearchResult | WebFetchResult | CodeResult | BashResult | EditorResult | ToolSearchResult
    | MCPToolUse | MCPToolResult | ContainerUpload
)  # fmt: skip
ResultBlock = TextBlock | ImageBlock | DocumentBlock | SearchResultBlock | ToolReference


class ToolResultBlock(Strict, frozen=True, tag_field="type", tag="tool_result"):
    """What a call of the turn before has given."""

    tool_use_id: Annotated[str, Meta(min_length=1)]
    content: str | tuple[ResultBlock, ...] | None = None
    is_error: bool | None = None
    cache_control: Ephemeral | None = None
    toolset_name: str | None = None


UserBlock = TextBlock | ImageBlock | DocumentBlock | SearchResultBlock | ToolResultBlock | ForeignBlock
AssistantBlock = TextBlock | ThinkingBlock | RedactedThinkingBlock | ToolUseBlock | ForeignBlock


class UserTurn(Strict, frozen=True, tag_field="role", tag="user"):
    """What the user said, and what tools have given."""

    content: Annotated[str, Meta(min_length=1)] | Annotated[tuple[UserBlock, ...], Meta(min_length=1)]


class AssistantTurn(Strict, frozen=True, tag_field="role", tag="assistant"):
    """What the assistant said before."""

    content: str | tuple[AssistantBlock, ...]


class SystemTurn(Strict, frozen=True, tag_field="role", tag="system"):
    """Instructions in the middle of a conversation."""

    content: Annotated[str, Meta(min_length=1)] | Annotated[tuple[TextBlock, ...], Meta(min_length=1)]


Turn = UserTurn | AssistantTurn | SystemTurn
