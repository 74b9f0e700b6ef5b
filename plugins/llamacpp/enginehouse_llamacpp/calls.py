"""Tool calls by grammar: what the model must, or may, write, and how calls are read from it.

A call that is required, or of a named tool, is all that the grammar allows. With `auto` the model writes
freely until it writes the mark of a call; from there on the grammar holds it to a valid one.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from enginehouse_plugin import (
    AnyEvent,
    FinishReason,
    GenerationRequest,
    JsonObject,
    JsonSchema,
    NamedTool,
    TextDelta,
    Tool,
)
from enginehouse_plugin.errors import InvalidRequest
from enginehouse_plugin.hosting.forced_calls import MAX_CALLS, ForcedCallParser

from .gbnf import json_literal, literal
from .grammar import Grammar, SchemaRules
from .messages import CALL_CLOSES, CALL_OPENS
from .thinking import State, thinking_rule

_WORD_TRIGGER = 1  # llama.cpp: COMMON_GRAMMAR_TRIGGER_TYPE_WORD
_NO_PARAMETERS: dict[str, Any] = {"type": "object", "properties": {}, "additionalProperties": False}
_SCHEMA = "response_format.json_schema.schema"


class CallReader:
    """Reads the text of a choice whose tool calls the grammar shapes.

    *is_forced*: the whole text is calls. Otherwise each stands behind its mark. *is_named*: the request
    names the tool, and the finish reason is `stop`, as the API has it.
    """

    def __init__(self, *, is_forced: bool, is_named: bool = False) -> None:
        self._parser: ForcedCallParser | None = ForcedCallParser() if is_forced else None
        self._is_named = is_named
        self._calls = 0  # of parsers before this one
        self._held = ""

    def read(self, text: str, choice: int, completion_tokens: int) -> Iterator[AnyEvent]:
        """Take more text."""
        text, self._held = self._held + text, ""
        while text:
            if self._parser is None:
                before, mark, text = text.partition(CALL_OPENS)
                self._held = "" if mark else beginning_of_mark(before)
                plain = before.removesuffix(self._held)
                if plain and not self._calls:  # between two calls there are only marks
                    yield TextDelta(choice, plain, completion_tokens)
                if mark:
                    self._parser = ForcedCallParser()
                continue
            # A call ends with a brace, a list of calls with a bracket: what follows that is not for the parser.
            part, text = _up_to_end(text)
            for piece in self._parser.push(part):
                yield msgspec.structs.replace(piece, call_index=piece.call_index + self._calls).delta(
                    choice, completion_tokens
                )
            if self._parser.is_complete:
                self._calls += self._parser.calls
                self._parser = None

    def finish(self, choice: int, completion_tokens: int) -> Iterator[TextDelta]:
        """Give what was held back."""
        if self._held and not self._calls:
            yield TextDelta(choice, self._held, completion_tokens)

    def reason(self, reason: FinishReason) -> FinishReason:
        """The finish reason of the choice, where *reason* is why the text ended."""
        has_calls = self._calls or (self._parser is not None and self._parser.calls)
        return "tool_calls" if has_calls and reason == "stop" and not self._is_named else reason


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


def call_reader(request: GenerationRequest) -> CallReader | None:
    """A reader for one choice of *request*, if it may call tools."""
    if not request.tools or request.tool_choice == "none":
        return None
    return CallReader(is_forced=request.tool_choice != "auto", is_named=isinstance(request.tool_choice, NamedTool))


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


def _up_to_end(text: str) -> tuple[str, str]:
    """Split *text* behind the first character that may end a call or a list of calls."""
    ends = [at for at in (text.find("}"), text.find("]")) if at >= 0]
    cut = min(ends) + 1 if ends else len(text)
    return text[:cut], text[cut:]


def beginning_of_mark(text: str) -> str:
    """The end of *text* that may become the mark of a call."""
    longest = min(len(CALL_OPENS) - 1, len(text))
    return next((text[-size:] for size in range(longest, 0, -1) if CALL_OPENS.startswith(text[-size:])), "")
