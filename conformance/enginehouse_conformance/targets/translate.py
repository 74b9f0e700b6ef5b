"""The suite's own translation between the API's JSON form and the plugin contract, for targets without HTTP.

It knows the fields that checks of scope `generation` send. It judges nothing: what a router must refuse is
checked over HTTP.
"""

from __future__ import annotations

from typing import Any

import msgspec

from enginehouse_conformance.answer import Alternative, CallPiece, Delta, TokenEntry, Usage
from enginehouse_plugin import (
    AnyEvent,
    Chat,
    Finished,
    GenerationRequest,
    JsonObject,
    JsonSchema,
    Message,
    NamedTool,
    ReasoningDelta,
    RefusalDelta,
    Started,
    TextDelta,
    TokenLogprob,
    Tool,
    ToolCallDelta,
    UsageReport,
)
from enginehouse_plugin.request import OutputFormat, ToolChoice

from .base import Body

_RENAMED = frozenset(
    {"model", "messages", "user", "metadata", "stream_options", "max_completion_tokens", "add_generation_prompt"}
)
_MADE = frozenset({"id", "prompt", "stream", "logit_bias", "stop", "output", "tools", "tool_choice"})
_PLAIN = frozenset(GenerationRequest.__struct_fields__) - _MADE
"""Fields that the contract and the API have in the same form: a new one needs nothing here."""
_READ = _PLAIN | _RENAMED | {"stream", "logit_bias", "stop", "response_format", "tools", "tool_choice"}


class Untranslatable(Exception):
    """A check sent a field that the contract has no word for: a mistake of the check."""


def to_request(body: Body, *, request_id: str, stream: bool) -> GenerationRequest:
    """The `GenerationRequest` that *body* means, every default decided as the API decides it.

    Raises:
        Untranslatable: a field that this translation does not know.
    """
    unknown = body.keys() - _READ
    if unknown:
        raise Untranslatable(f"no word of the contract for {', '.join(sorted(unknown))}")
    given = {name: body[name] for name in _PLAIN if body.get(name) is not None}
    if body.get("max_completion_tokens") is not None:
        given["max_tokens"] = body["max_completion_tokens"]
    stop = body.get("stop") or ()
    tools = tuple(_tool(tool) for tool in body.get("tools") or ())
    return GenerationRequest(
        id=request_id,
        prompt=Chat(msgspec.convert(body["messages"], tuple[Message, ...])),
        stream=stream,
        logit_bias={int(token): float(bias) for token, bias in (body.get("logit_bias") or {}).items()},
        stop=(stop,) if isinstance(stop, str) else tuple(stop),
        output=_output(body.get("response_format")),
        tools=tools,
        tool_choice=_tool_choice(body.get("tool_choice"), has_tools=bool(tools)),
        **given,
    )


def _tool(tool: dict[str, Any]) -> Tool:
    return msgspec.convert(_without_nulls(tool["function"]), Tool)


def _tool_choice(choice: Any, *, has_tools: bool) -> ToolChoice:  # the API's JSON
    if isinstance(choice, dict):
        return NamedTool(choice["function"]["name"])
    return choice if choice is not None else ("auto" if has_tools else "none")


def _output(response_format: dict[str, Any] | None) -> OutputFormat | None:
    kind = (response_format or {}).get("type", "text")
    if kind == "json_object":
        return JsonObject()
    if response_format is not None and kind == "json_schema":
        return msgspec.convert(_without_nulls(response_format["json_schema"]), JsonSchema)
    return None


def _without_nulls(given: dict[str, Any]) -> dict[str, Any]:
    """*given* without what is null, which is the same as left out."""
    return {name: value for name, value in given.items() if value is not None}


def to_delta(event: AnyEvent, at_s: float) -> Delta | None:
    """The delta that *event* is; None for `Started`, whose counts come again in the usage."""
    match event:
        case Started():
            return None
        case TextDelta():
            return Delta(choice=event.choice, text=event.text, logprobs=_entries(event.logprobs), at_s=at_s)
        case ReasoningDelta():
            return Delta(choice=event.choice, reasoning=event.text, logprobs=_entries(event.logprobs), at_s=at_s)
        case RefusalDelta():
            return Delta(choice=event.choice, refusal=event.text, logprobs=_entries(event.logprobs), at_s=at_s)
        case ToolCallDelta():
            piece = CallPiece(
                index=event.call_index,
                id=event.id,
                type="function" if event.id else None,
                name=event.name,
                arguments=event.arguments_fragment,
            )
            return Delta(choice=event.choice, calls=(piece,), at_s=at_s)
        case Finished():
            return Delta(choice=event.choice, finish=event.reason, at_s=at_s)
        case UsageReport():
            usage = Usage(
                prompt_tokens=event.prompt_tokens,
                completion_tokens=event.completion_tokens,
                total_tokens=event.prompt_tokens + event.completion_tokens,
                cached_tokens=event.cached_tokens,
                reasoning_tokens=event.reasoning_tokens,
            )
            return Delta(usage=usage, at_s=at_s)


def _entries(logprobs: tuple[TokenLogprob, ...] | None) -> tuple[TokenEntry, ...] | None:
    if logprobs is None:
        return None
    return tuple(
        TokenEntry(
            entry.token,
            entry.logprob,
            entry.token_bytes,
            tuple(Alternative(top.token, top.logprob, top.token_bytes) for top in entry.top),
        )
        for entry in logprobs
    )
