"""From a decoded request to what an instance is asked: no value is replaced."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import msgspec

from enginehouse.config import AgentConfig
from enginehouse.dialects.anthropic.messages.blocks import Json
from enginehouse.dialects.anthropic.messages.changing import Policy, behind, without_changing
from enginehouse.dialects.anthropic.messages.conversation import conversation, texts_of
from enginehouse.dialects.anthropic.messages.left_out import LeftOut, invalid
from enginehouse.dialects.anthropic.messages.request import (
    OF_CLOUD,
    OF_CLOUD_TOOLS,
    AnyChoice,
    AutoChoice,
    CountRequest,
    MessagesRequest,
    MessagesTool,
    NoneChoice,
    ThinkingDisabled,
    ThinkingEnabled,
    ToolChoiceByName,
)
from enginehouse.wire.json_schema import check_schema, check_size
from enginehouse_plugin import request as contract

PLACES = {
    "chat_template_kwargs": "thinking",
    "reasoning_effort": "output_config.effort",
    "response_format": "output_config.format",
    "stop": "stop_sequences",
    "parallel_tool_calls": "tool_choice.disable_parallel_tool_use",
}
"""What this API calls fields that the contract's features name."""

_CUSTOM = (None, "custom")


def generation_request(
    asked: CountRequest, *, request_id: str, left_out: LeftOut, changing: Policy
) -> tuple[contract.GenerationRequest, Collection[str], str | None]:
    """Build what an instance is asked, name the fields that the request says itself, and tell the line that changes.

    Raises:
        InvalidRequest: fields do not go together, or cannot be honoured where that is refused.
    """
    for name in OF_CLOUD:
        if getattr(asked, name, None) is not None:
            left_out.add(name, "only a vendor's cloud has it")
    if asked.speed == "fast":
        left_out.add("speed", "there is one speed")
    said: dict[str, Any] = {}
    seen = 0
    for at, tool in enumerate(asked.tools or ()):
        seen = _check_tool(tool, at, seen)
    tools = _tools(asked, left_out)
    if tools:
        said["tools"] = tools
    _say_choice(asked, tools, said, left_out)
    _say_thinking(asked, said, left_out)
    _say_output(asked, said, seen)
    if isinstance(asked, MessagesRequest):
        _say_sampling(asked, said)
    messages, line = _messages(asked, left_out, changing)
    request = contract.GenerationRequest(id=request_id, prompt=contract.Chat(tuple(messages)), **said)
    return request, said.keys(), line


def _messages(asked: CountRequest, left_out: LeftOut, changing: Policy) -> tuple[list[contract.Message], str | None]:
    messages = conversation(asked.messages, left_out)
    if not messages:
        raise invalid("messages", "nothing of it can be shown to a model here")
    system, line = without_changing(asked.system or "", changing)
    if system:
        messages.insert(0, contract.SystemMessage(content=texts_of(system)))
    if line is not None and changing == "move":
        behind(messages, line)
    return messages, line


def _say_sampling(asked: MessagesRequest, said: dict[str, Any]) -> None:
    said["max_tokens"] = asked.max_tokens
    for name in ("stream", "temperature", "top_p", "top_k"):
        if (value := getattr(asked, name)) is not None:
            said[name] = value
    if asked.stop_sequences is not None:
        said["stop"] = asked.stop_sequences
    if isinstance(asked.thinking, ThinkingEnabled) and asked.thinking.budget_tokens >= asked.max_tokens:
        raise invalid(
            "thinking.budget_tokens",
            f"it must be less than 'max_tokens' ({asked.max_tokens}), which counts it too",
        )


def _check_tool(tool: MessagesTool, at: int, seen: int) -> int:
    """Check the parts of *tool* that may hold any JSON, and that one of the client's own is whole."""
    where = f"tools[{at}]"
    for name in ("input_examples", *OF_CLOUD_TOOLS):
        if isinstance(value := getattr(tool, name), dict | list | tuple):
            seen = check_size(list(value) if isinstance(value, tuple) else value, ("tools", at, name), seen)
    if tool.input_schema is not None:
        seen = check_schema(tool.input_schema, ("tools", at, "input_schema"), seen)
        if tool.type in _CUSTOM and tool.input_schema.get("type") != "object":
            raise invalid(f"{where}.input_schema.type", "it must be 'object'")
    elif tool.type in _CUSTOM:
        raise invalid(f"{where}.input_schema", "it is required: a JSON Schema of the type 'object'")
    return seen


def _tools(asked: CountRequest, left_out: LeftOut) -> tuple[contract.Tool, ...]:
    found: dict[str, contract.Tool] = {}
    for at, tool in enumerate(asked.tools or ()):
        where = f"tools[{at}]"
        if tool.type not in _CUSTOM:
            left_out.add(where, f"no tool of the type '{str(tool.type)[:64]}' runs here; give one of your own")
            continue
        for name in OF_CLOUD_TOOLS:
            if getattr(tool, name) is not None:
                left_out.add(f"{where}.{name}", "a tool of your own does not have it")
        if tool.input_examples:
            left_out.add(f"{where}.input_examples", "no template shows examples; put them into the description")
        if tool.defer_loading:
            left_out.add(f"{where}.defer_loading", "every tool is shown to the model at once")
        if tool.allowed_callers is not None and "direct" not in tool.allowed_callers:
            left_out.add(f"{where}.allowed_callers", "the model itself calls tools")
        if tool.name in found:
            raise invalid(f"{where}.name", "another tool has the same name")
        found[tool.name] = contract.Tool(
            name=tool.name, description=tool.description, parameters=tool.input_schema, strict=bool(tool.strict)
        )
    return tuple(found.values())


def _say_choice(asked: CountRequest, tools: tuple[contract.Tool, ...], said: dict[str, Any], left_out: LeftOut) -> None:
    choice = asked.tool_choice
    if choice is None:
        if tools:
            said["tool_choice"] = "auto"
        return
    if isinstance(choice, AnyChoice | ToolChoiceByName) and not asked.tools:
        raise invalid("tool_choice", "a call can only be asked for when 'tools' are given")
    if isinstance(choice, ToolChoiceByName) and all(tool.name != choice.name for tool in asked.tools or ()):
        raise invalid("tool_choice.name", "no tool has this name")
    wanted: contract.ToolChoice = "auto"
    if isinstance(choice, NoneChoice):
        wanted = "none"
    elif isinstance(choice, AnyChoice):
        wanted = "required"
    elif isinstance(choice, ToolChoiceByName):
        wanted = contract.NamedTool(choice.name)
        if all(tool.name != choice.name for tool in tools):
            left_out.add("tool_choice", "it names a tool that does not run here")
            wanted = "auto"
    if not tools:
        if isinstance(choice, AnyChoice):
            left_out.add("tool_choice", "none of the tools runs here")
        return
    said["tool_choice"] = wanted
    if isinstance(choice, AutoChoice | AnyChoice | ToolChoiceByName) and choice.disable_parallel_tool_use is not None:
        said["parallel_tool_calls"] = not choice.disable_parallel_tool_use


def _say_thinking(asked: CountRequest, said: dict[str, Any], left_out: LeftOut) -> None:
    if isinstance(asked.thinking, ThinkingEnabled):
        said["chat_template_kwargs"] = {"enable_thinking": True}
        left_out.add("thinking.budget_tokens", "no engine keeps a budget of thinking; 'max_tokens' bounds it")
        if said.get("tool_choice") not in (None, "auto", "none"):
            raise invalid("tool_choice", "a call cannot be forced while thinking is enabled; use 'auto' or 'none'")
    elif isinstance(asked.thinking, ThinkingDisabled):
        said["chat_template_kwargs"] = {"enable_thinking": False}


def _say_output(asked: CountRequest, said: dict[str, Any], seen: int) -> None:
    config = asked.output_config
    if config is not None and config.effort is not None:
        said["reasoning_effort"] = config.effort
    wanted = config.format if config is not None and config.format is not None else asked.output_format
    if wanted is not None:
        place = ("output_format",) if wanted is asked.output_format else ("output_config", "format")
        said["output"] = _schema(wanted.schema, (*place, "schema"), seen)


def _schema(schema: Json, where: tuple[str, ...], seen: int) -> contract.JsonSchema:
    check_schema(schema, where, seen)
    return contract.JsonSchema(name="output", schema=schema, strict=True)


def check_tools(asked: CountRequest, agent: AgentConfig) -> None:
    """Refuse a tool of *asked* that *agent* may not be given.

    Raises:
        InvalidRequest: naming the first.
    """
    if agent.tools is None:
        return
    for at, tool in enumerate(asked.tools or ()):
        if tool.type in _CUSTOM and tool.name not in agent.tools:
            listed = ", ".join(f"'{name}'" for name in agent.tools) or "none"
            raise invalid(f"tools[{at}].name", f"the agent '{asked.model}' is not given it. Allowed: {listed}")


def recorded(asked: CountRequest, betas: tuple[str, ...]) -> dict[str, Any]:
    """Return what the request's log line holds of *asked*: the recorded fields that were given, and *betas*."""
    noted: dict[str, Any] = {}
    if isinstance(asked, MessagesRequest):
        if asked.metadata is not None:
            noted["metadata"] = msgspec.to_builtins(asked.metadata)
        if asked.service_tier is not None:
            noted["service_tier"] = asked.service_tier
    for name in ("user_profile_id", "workspace_id"):
        if (value := getattr(asked, name)) is not None:
            noted[name] = value
    if betas:
        noted["betas"] = list(betas)
    return noted
