"""Tool calls by grammar: what the model must, or may, write.

A call that is required, or of a named tool, is all that the grammar allows. With `auto` the model writes
freely until it writes the mark of a call; from there on the grammar holds it to a valid one.
"""

from __future__ import annotations

from typing import Any

import msgspec

from enginehouse_kit.text.chat_messages import CALL_CLOSES, CALL_OPENS
from enginehouse_kit.text.forced_calls import MAX_CALLS
from enginehouse_kit.text.thinking import CLOSES, OPENS, State
from enginehouse_plugin.errors import InvalidRequest
from enginehouse_plugin.request import GenerationRequest, JsonObject, JsonSchema, NamedTool, Tool

from .gbnf import json_literal, literal
from .rules import Grammar, SchemaRules

_NO_PARAMETERS: dict[str, Any] = {"type": "object", "properties": {}, "additionalProperties": False}
_SCHEMA = "response_format.json_schema.schema"


class OutputGrammar(msgspec.Struct, frozen=True):
    """A grammar in GBNF. One that *is_lazy* holds from the first mark of a tool call (`CALL_OPENS`) on.

    *behind_mark*: a lazy one without that mark, for engines whose grammars begin behind what triggers them.
    """

    text: str
    is_lazy: bool = False
    behind_mark: str = ""


def output_grammar(request: GenerationRequest, thinking: State = "never") -> OutputGrammar | None:
    """What shapes the output of *request*; None where it is free.

    Reasoning may stand before the output, as *thinking* says.

    Raises:
        InvalidRequest: a schema cannot be enforced.
    """
    grammar = Grammar()
    content = _content(grammar, request)
    if not request.tools or request.tool_choice == "none":
        return OutputGrammar(grammar.text(f"{thinking_rule(grammar, thinking)} ({content})")) if content else None
    calls = _calls(grammar, request)
    if request.tool_choice != "auto":
        return OutputGrammar(grammar.text(f"{thinking_rule(grammar, thinking)} ({calls})"))
    behind_mark = f'"\\n"? {calls} "\\n"? {literal(CALL_CLOSES)}'
    if request.parallel_tool_calls:
        behind_mark += f' ("\\n"? {literal(CALL_OPENS)} {behind_mark}){{0,{MAX_CALLS - 1}}}'
    blocks = f"{literal(CALL_OPENS)} {behind_mark}"
    if content:
        return OutputGrammar(grammar.text(f"{thinking_rule(grammar, thinking)} ({content} | {blocks})"))
    return OutputGrammar(grammar.text(blocks), is_lazy=True, behind_mark=grammar.text(behind_mark))


def blame_of(request: GenerationRequest) -> str | None:
    """The field whose grammar the engine would refuse."""
    if request.tools and request.tool_choice != "none":
        return "tools"
    return _SCHEMA if isinstance(request.output, JsonSchema) else None


def thinking_rule(grammar: Grammar, state: State) -> str:
    """An expression for the reasoning that may stand before an answer; empty if none may."""
    if state == "never":
        return ""
    # One rule for each part of the closing mark that has been read: any other character leads back.
    names = [grammar.reserve() for _ in CLOSES]
    grammar.write(names[0], f'[^<] {names[0]} | "<" {names[1]}')
    for at in range(1, len(CLOSES)):
        onward = f'"{CLOSES[at]}"' if at == len(CLOSES) - 1 else f'"{CLOSES[at]}" {names[at + 1]}'
        grammar.write(names[at], f'"<" {names[1]} | [^{CLOSES[at]}<] {names[0]} | {onward}')
    rest = f"{names[0]} [ \\n]{{0,4}}"
    return rest if state == "inside" else f'("{OPENS}" {rest})?'


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
