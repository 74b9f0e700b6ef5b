"""From a decoded request to what an instance is asked: no value is replaced."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Final

from enginehouse.dialects.openai.chat.request import JsonObjectFormat
from enginehouse.dialects.openai.responses.request import (
    AllowedChoice,
    CustomChoice,
    FunctionChoice,
    ResponsesCustom,
    ResponsesFunction,
    ResponsesRequest,
    SchemaFormat,
    TextConfig,
    ToolGrammar,
)
from enginehouse.dialects.openai.responses.rules import LOGPROBS
from enginehouse_plugin import request as contract

FREE_INPUT: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {"input": {"type": "string", "description": "The tool's input, as plain text."}},
    "required": ["input"],
    "additionalProperties": False,
}
"""Parameters of the function that a custom tool is to the model."""


def generation_request(
    asked: ResponsesRequest, messages: tuple[contract.Message, ...], *, request_id: str
) -> tuple[contract.GenerationRequest, Collection[str]]:
    """Build what an instance is asked, and name the fields that the request says itself."""
    said: dict[str, Any] = {}
    if asked.stream is not None:
        said["stream"] = asked.stream
    if asked.max_output_tokens is not None:
        said["max_tokens"] = asked.max_output_tokens
    if asked.temperature is not None:
        said["temperature"] = asked.temperature
    if asked.top_p is not None:
        said["top_p"] = asked.top_p
    if asked.include is not None and LOGPROBS in asked.include:
        said["logprobs"] = True
        said["top_logprobs"] = asked.top_logprobs or 0
    if asked.text is not None and asked.text.format is not None:
        said["output"] = _output(asked.text)
    if asked.tools:
        said["tools"], said["tool_choice"] = _tools(asked, asked.tools)
    if asked.parallel_tool_calls is not None:
        said["parallel_tool_calls"] = asked.parallel_tool_calls
    if asked.reasoning is not None and asked.reasoning.effort is not None:
        said["reasoning_effort"] = asked.reasoning.effort
    request = contract.GenerationRequest(id=request_id, prompt=contract.Chat(messages), logit_bias={}, **said)
    return request, said.keys()


def _output(text: TextConfig) -> contract.OutputFormat | None:
    if isinstance(text.format, JsonObjectFormat):
        return contract.JsonObject()
    if isinstance(text.format, SchemaFormat):
        spec = text.format
        return contract.JsonSchema(
            name=spec.name, schema=spec.schema, description=spec.description, strict=bool(spec.strict)
        )
    return None


def _tools(asked: ResponsesRequest, given: tuple[object, ...]) -> tuple[tuple[contract.Tool, ...], contract.ToolChoice]:
    tools = [made for tool in given if (made := _tool(tool)) is not None]
    if not tools:
        return (), "none"
    choice: contract.ToolChoice = "auto"
    wanted = asked.tool_choice
    if isinstance(wanted, str):
        choice = wanted
    elif isinstance(wanted, FunctionChoice | CustomChoice):
        choice = contract.NamedTool(name=wanted.name)
    elif isinstance(wanted, AllowedChoice):
        choice = wanted.mode
        names = {allowed.name for allowed in wanted.tools}
        tools = [tool for tool in tools if tool.name in names]
    return tuple(tools), choice


def _tool(tool: object) -> contract.Tool | None:
    if isinstance(tool, ResponsesFunction):
        return contract.Tool(
            name=tool.name, description=tool.description, parameters=tool.parameters, strict=bool(tool.strict)
        )
    if isinstance(tool, ResponsesCustom):
        description = tool.description
        if isinstance(tool.format, ToolGrammar):
            grammar = f"The input follows this {tool.format.syntax} grammar:\n{tool.format.definition}"
            description = f"{description}\n\n{grammar}" if description else grammar
        return contract.Tool(name=tool.name, description=description, parameters=FREE_INPUT)
    return None
