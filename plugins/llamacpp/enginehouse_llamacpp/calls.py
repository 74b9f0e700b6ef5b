"""Tool calls by grammar: what the model must, or may, write.

A call that is required, or of a named tool, is all that the grammar allows. With `auto` the model writes
freely until it writes the mark of a call; from there on the grammar holds it to a valid one.
"""

from __future__ import annotations

from typing import Any

from enginehouse_plugin import GenerationRequest, JsonObject, JsonSchema, NamedTool, Tool
from enginehouse_plugin.errors import InvalidRequest
from enginehouse_plugin.hosting.chat_messages import CALL_CLOSES, CALL_OPENS
from enginehouse_plugin.hosting.forced_calls import MAX_CALLS
from enginehouse_plugin.hosting.thinking import State

from .gbnf import json_literal, literal
from .grammar import Grammar, SchemaRules
from .thinking import thinking_rule

_WORD_TRIGGER = 1  # llama.cpp: COMMON_GRAMMAR_TRIGGER_TYPE_WORD
_NO_PARAMETERS: dict[str, Any] = {"type": "object", "properties": {}, "additionalProperties": False}
_SCHEMA = "response_format.json_schema.schema"


def output_grammar(request: GenerationRequest, thinking: State = "never") -> dict[str, Any]:  # JSON
    """The fields of `/completion` that shape the output; empty where it is free.

    Reasoning may stand before the output, as *thinking* says.

    Raises:
        InvalidRequest: a schema cannot be enforced.
    """
    grammar = Grammar()
    content = _content(grammar, request)
    if not request.tools or request.tool_choice == "none":
        return {"grammar": grammar.text(f"{thinking_rule(grammar, thinking)} ({content})")} if content else {}
    calls = _calls(grammar, request)
    if request.tool_choice != "auto":
        return {"grammar": grammar.text(f"{thinking_rule(grammar, thinking)} ({calls})")}
    block = f'{literal(CALL_OPENS)} "\\n"? {calls} "\\n"? {literal(CALL_CLOSES)}'
    blocks = f'{block} ("\\n"? {block}){{0,{MAX_CALLS - 1}}}' if request.parallel_tool_calls else block
    if content:
        return {"grammar": grammar.text(f"{thinking_rule(grammar, thinking)} ({content} | {blocks})")}
    return {
        "grammar": grammar.text(blocks),
        "grammar_lazy": True,
        "grammar_triggers": [{"type": _WORD_TRIGGER, "value": CALL_OPENS}],
    }


def blame_of(request: GenerationRequest) -> str | None:
    """The field whose grammar the engine would refuse."""
    if request.tools and request.tool_choice != "none":
        return "tools"
    return _SCHEMA if isinstance(request.output, JsonSchema) else None


def _content(grammar: Grammar, request: GenerationRequest) -> str | None:
    if isinstance(request.output, JsonObject):
        return grammar.use("object")
    if isinstance(request.output, JsonSchema):
        return SchemaRules(grammar, request.output.schema, _SCHEMA).root()
    return None


def _calls(grammar: Grammar, request: GenerationRequest) -> str:
    """What calls the tools that may be called: one call; where several are forced, also a list of them."""
    tools = list(enumerate(request.tools))
    if isinstance(request.tool_choice, NamedTool):
        name = request.tool_choice.name
        tools = [(at, tool) for at, tool in tools if tool.name == name]
        if not tools:
            raise InvalidRequest(
                f"'tool_choice' names the function '{name}', which is not in 'tools'.", param="tool_choice"
            )
    colon = grammar.use("colon")
    named = " | ".join(_named_call(grammar, tool, at) for at, tool in tools)
    one = grammar.add(f'"{{" {json_literal("name")} {colon} ({named}) "}}"')
    if not request.parallel_tool_calls or request.tool_choice != "required":
        return one
    return f'{one} | "[" {one} ({grammar.use("comma")} {one}){{0,{MAX_CALLS - 1}}} "]"'


def _named_call(grammar: Grammar, tool: Tool, at: int) -> str:
    """A call of *tool*, from its name on."""
    schema = _NO_PARAMETERS if tool.parameters is None else tool.parameters
    arguments = SchemaRules(grammar, schema, f"tools[{at}].function.parameters").root(kind="object")
    colon, comma = grammar.use("colon"), grammar.use("comma")
    return grammar.add(f"{json_literal(tool.name)} {comma} {json_literal('arguments')} {colon} {arguments}")
