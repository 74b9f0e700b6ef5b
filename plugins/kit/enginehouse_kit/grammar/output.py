"""What the model must, or may, write: JSON, tool calls, reasoning before them.

A call that is required, or of a named tool, is all that the grammar allows. With `auto` the model writes freely until
it writes the mark of a call; from there on the grammar holds it to a valid one.

Schemas of `response_format` and of `strict` tools are enforced whole or refused. Other tools are enforced as far as a
grammar goes, and what is left to the model is named.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections import OrderedDict
from functools import cached_property
from threading import Lock
from typing import Any

import msgspec

from enginehouse_kit.text.chat_messages import CALL_CLOSES, CALL_OPENS
from enginehouse_kit.text.forced_calls import MAX_CALLS
from enginehouse_kit.text.thinking import CLOSES, OPENS, State
from enginehouse_plugin.errors import InvalidRequest
from enginehouse_plugin.request import GenerationRequest, JsonObject, JsonSchema, NamedTool, Text, Tool

from .form import EMPTY, NOTHING, Grammar, Literal, Node, Regular, either, many, sequence
from .gbnf import MAX_BYTES, gbnf
from .limits import MAX_STEPS, Abandoned, Budget, OverBudget, Unsupported, shown
from .linear import LinearPrinter
from .rules import Rules, Writer
from .spelling import spelled

_NO_PARAMETERS: dict[str, Any] = {"type": "object", "properties": {}, "additionalProperties": False}
_SCHEMA = "response_format.json_schema.schema"
_KEPT_STEPS = 400_000
"""Steps that the grammars which are kept have taken, all together: they stand for memory, about 100 MB of it."""
_REFUSED_STEPS = 100  # what keeping anything costs
_LONG_BYTES = 4096
"""Schemas beyond this size are compiled on a thread of their own,"""
_SHORT_STEPS = 500
"""and those that take more steps than these, some milliseconds."""


class OutputGrammar:
    """A grammar of the output. One that *is_lazy* holds from the first mark of a tool call (`CALL_OPENS`) on."""

    def __init__(self, form: Grammar, behind_mark: Node | None, ignored: tuple[str, ...]) -> None:
        self.form = form
        self.is_lazy = behind_mark is not None
        self.behind = behind_mark
        """A lazy one without the mark, for engines whose grammars begin behind what triggers them."""
        self.ignored = ignored
        """Places in tools that are not strict: what stands there is left to the model."""

    @cached_property
    def text(self) -> str:
        """The grammar in GBNF."""
        return gbnf(self.form)

    @cached_property
    def for_xgrammar(self) -> str:
        """The grammar in GBNF as xgrammar follows it fast; a lazy one without the mark that it begins with.

        What is too long or has too many parts for that is written as for other engines.
        """
        try:
            return LinearPrinter(self.form).written(self.behind)
        except (OverBudget, RecursionError):
            return gbnf(self.form, self.behind)

    def write(self, *, for_xgrammar: bool) -> None:
        """Write it in GBNF: this takes as long as it is large."""
        getattr(self, _written_as(for_xgrammar=for_xgrammar))

    def is_written(self, *, for_xgrammar: bool) -> bool:
        """Whether it has been, so that it costs nothing any more."""
        return _written_as(for_xgrammar=for_xgrammar) in vars(self)


def _written_as(*, for_xgrammar: bool) -> str:
    return "for_xgrammar" if for_xgrammar else "text"


class _Kept:
    """Grammars of late, and refusals, by what they were made of; threads share it."""

    def __init__(self) -> None:
        self._found: OrderedDict[bytes, tuple[OutputGrammar | InvalidRequest, int]] = OrderedDict()
        self._steps = 0
        self._lock = Lock()

    def get(self, key: bytes) -> OutputGrammar | None:
        """The grammar.

        Raises:
            InvalidRequest: it was refused.
        """
        with self._lock:
            if key not in self._found:
                return None
            self._found.move_to_end(key)
            found, _ = self._found[key]
        if isinstance(found, InvalidRequest):
            raise InvalidRequest(found.message, param=found.param, code=found.code)
        return found

    def put(self, key: bytes, found: OutputGrammar | InvalidRequest, steps: int) -> None:
        with self._lock:
            if key in self._found:
                return
            self._found[key] = found, steps
            self._steps += steps
            while self._steps > _KEPT_STEPS:
                _, (_, freed) = self._found.popitem(last=False)
                self._steps -= freed


_kept = _Kept()


def output_grammar(
    request: GenerationRequest, thinking: State = "never", budget: Budget | None = None
) -> OutputGrammar | None:
    """What shapes the output of *request*; None where it is free.

    Reasoning may stand before the output, as *thinking* says.

    Raises:
        InvalidRequest: a schema cannot be enforced.
        Abandoned: *budget* was a trial's, or has been stopped.
    """
    if request.output is None and not _has_calls(request):
        return None
    key = hashlib.sha256(_content(request, thinking)).digest()
    found = _kept.get(key)
    if found is None:
        budget = budget or Budget()
        try:
            found = _compiled(request, thinking, budget)
        except InvalidRequest as refused:
            _kept.put(key, InvalidRequest(refused.message, param=refused.param, code=refused.code), _REFUSED_STEPS)
            raise
        _kept.put(key, found, sum(budget.spent.values()) + _REFUSED_STEPS)
    return found


def _compiled(request: GenerationRequest, thinking: State, budget: Budget) -> OutputGrammar:
    """The grammar, and its text. While that is too long, the tool that takes the most is left to the model, if it is
    not strict, and then all that are not.

    Raises:
        InvalidRequest: a schema cannot be enforced.
    """
    free = {arguments_param(at): at for at, tool in enumerate(request.tools or ()) if not tool.strict}
    left_out: frozenset[int] = frozenset()
    while True:
        grammar = _Compiler(request, thinking, budget, left_out).grammar()
        with contextlib.suppress(OverBudget):
            grammar.write(for_xgrammar=False)
            return grammar
        most = budget.most
        if len(left_out) == len(free):
            budget.refuse(f"make a grammar of more than {MAX_BYTES} bytes")
        left_out = frozenset(free.values()) if left_out or most not in free else frozenset([free[most]])
        budget.restart()


async def ready_grammar(
    request: GenerationRequest, thinking: State = "never", *, for_xgrammar: bool = False
) -> OutputGrammar | None:
    """`output_grammar`, written in GBNF, without holding up the event loop; cancelling it ends the work.

    *for_xgrammar*: written as that follows it fast.

    Raises:
        InvalidRequest: a schema cannot be enforced.
    """

    def written(budget: Budget) -> OutputGrammar | None:
        grammar = output_grammar(request, thinking, budget)
        if grammar is not None:
            grammar.write(for_xgrammar=for_xgrammar)
        return grammar

    if request.output is None and not _has_calls(request):
        return None
    content = _content(request, thinking)
    kept = _kept.get(hashlib.sha256(content).digest())
    if kept is not None and kept.is_written(for_xgrammar=for_xgrammar):
        return kept
    if kept is None and len(content) <= _LONG_BYTES:
        with contextlib.suppress(Abandoned):
            return written(Budget(trial=_SHORT_STEPS))
    budget = Budget()
    try:
        return await asyncio.to_thread(written, budget)
    except asyncio.CancelledError:
        budget.stop()
        raise


def _has_calls(request: GenerationRequest) -> bool:
    return bool(request.tools) and request.tool_choice != "none"


def _content(request: GenerationRequest, thinking: State) -> bytes:
    """What the grammar of *request* is made of."""
    tools = [(tool.name, tool.parameters, tool.strict) for tool in request.tools or ()]
    return msgspec.json.encode((thinking, request.output, tools, request.tool_choice, request.parallel_tool_calls))


def arguments_param(at: int) -> str:
    """The field of the arguments' schema of the tool number *at*."""
    return f"tools[{at}].function.parameters"


def blame_of(request: GenerationRequest) -> str | None:
    """The field whose grammar the engine would refuse."""
    if _has_calls(request):
        return "tools"
    return _SCHEMA if isinstance(request.output, JsonSchema) else None


class _Compiler:
    """Compiles the schemas of one request."""

    def __init__(
        self, request: GenerationRequest, thinking: State, budget: Budget, left_out: frozenset[int] = frozenset()
    ) -> None:
        self._request = request
        self._left_out = left_out
        self._thinking: State = thinking
        self._budget = budget
        self._writer = Writer(self._budget)
        self._ignored: list[str] = []

    def grammar(self) -> OutputGrammar:
        """The whole.

        Raises:
            InvalidRequest: a schema cannot be enforced.
        """
        request, form = self._request, self._writer.grammar
        try:
            calls = self._calls() if _has_calls(request) else NOTHING
            is_forced = calls != NOTHING and request.tool_choice != "auto"
            content = NOTHING if is_forced else self._content()  # a forced call leaves no room for an answer
        except OverBudget:
            self._budget.refuse(f"take more than {MAX_STEPS} steps to compile")
        behind = None
        if calls != NOTHING and request.tool_choice == "auto":
            behind = form.add(self._block(calls))
            calls = sequence(Literal(CALL_OPENS), behind)
            if content != NOTHING:
                behind = None
        root = either([content, calls])
        form.close(root if behind is not None else sequence(thinking_rule(self._writer, self._thinking), root))
        self._writer.algebra.forget()
        self._budget.left = 10**12  # what follows reads a text, whose length is bounded elsewhere
        return OutputGrammar(form, behind, tuple(self._ignored))

    def _content(self) -> Node:
        output = self._request.output
        if isinstance(output, JsonObject):
            return self._writer.primitive("object")
        return self._schema(output.schema, _SCHEMA) if isinstance(output, JsonSchema) else NOTHING

    def _block(self, calls: Node) -> Node:
        """Calls between marks, the first mark left out."""
        breaks = many(Literal("\n"), 0, 1)
        block = sequence(breaks, calls, breaks, Literal(CALL_CLOSES))
        if not self._request.parallel_tool_calls:
            return block
        block = self._writer.grammar.add(block)
        return sequence(block, many(sequence(breaks, Literal(CALL_OPENS), block), 0, MAX_CALLS - 1))

    def _calls(self) -> Node:
        """What calls the tools that may be called: one call; where several are forced, also a list of them."""
        request, writer = self._request, self._writer
        tools = list(enumerate(request.tools))
        if isinstance(request.tool_choice, NamedTool):
            name = request.tool_choice.name
            tools = [(at, tool) for at, tool in tools if tool.name == name]
            if not tools:
                raise InvalidRequest(
                    f"'tool_choice' names the function '{name}', which is not in 'tools'.", param="tool_choice"
                )
        named = either(self._named_call(tool, at) for at, tool in tools)
        key = Literal('{"name"')
        one = writer.grammar.add(sequence(key, writer.colon, writer.grammar.add(named), Literal("}")))
        if not request.parallel_tool_calls or request.tool_choice != "required":
            return one
        more = many(writer.grammar.add(sequence(writer.comma, one)), 0, MAX_CALLS - 1)
        return either([one, sequence(Literal("["), one, more, Literal("]"))])

    def _named_call(self, tool: Tool, at: int) -> Node:
        """A call of *tool*, from its name on."""
        writer = self._writer
        schema = _NO_PARAMETERS if tool.parameters is None else tool.parameters
        if at in self._left_out:
            self._ignored.append(arguments_param(at))
            schema = {"type": "object"}
        arguments = self._arguments(schema, arguments_param(at), is_lenient=not tool.strict)
        name, key = Literal(f'"{spelled(tool.name)}"'), Literal('"arguments"')
        return writer.grammar.add(sequence(name, writer.comma, key, writer.colon, arguments))

    def _arguments(self, schema: Any, param: str, *, is_lenient: bool) -> Node:  # Any: JSON
        if not is_lenient:
            return self._schema(schema, param, kind="object")
        self._budget.begin(param, share=0.5)
        try:
            rules = Rules(self._writer, schema, is_lenient=True)
            found = rules.root("object")
            self._ignored += [param + place for place in rules.reader.notes]
            if self._writer.grammar.can_end(found):
                return found
            self._ignored.append(param)
        except Unsupported as refused:
            self._ignored.append(param + refused.place)
        except (OverBudget, RecursionError):  # too large, or nested too deeply
            self._ignored.append(param)
        self._budget.begin(param)
        return self._writer.primitive("object")

    def _schema(self, schema: Any, param: str, kind: str | None = None) -> Node:  # Any: JSON
        self._budget.begin(param)
        try:
            found = Rules(self._writer, schema).root(kind)
        except Unsupported as refused:
            raise _refusal(str(refused), param) from refused
        except RecursionError as error:
            raise InvalidRequest(
                f"The JSON schema is nested too deeply, at '{shown(self._budget.place)}'.",
                param=param,
                code="unsupported_schema",
            ) from error
        if not self._writer.grammar.can_end(found):
            raise _refusal("'schema' at '#' allows no value at all", param)
        return found


def _refusal(reason: str, param: str) -> InvalidRequest:
    return InvalidRequest(f"The JSON schema cannot be enforced: {reason}.", param=param, code="unsupported_schema")


def schema_form(schema: Any, param: str) -> Grammar:  # Any: JSON
    """JSON that fits *schema*.

    Raises:
        InvalidRequest: the schema cannot be enforced; names the keyword and where it stands.
    """
    request = GenerationRequest(id="", prompt=Text(""), output=JsonSchema("", schema))
    try:
        return _Compiler(request, "never", Budget()).grammar().form
    except InvalidRequest as refused:
        raise InvalidRequest(refused.message, param=param, code=refused.code) from refused


def thinking_rule(writer: Writer, state: State) -> Node:
    """The reasoning that may stand before an answer; nothing if none may."""
    if state == "never":
        return EMPTY
    algebra = writer.algebra
    closes = algebra.text(CLOSES)
    speaks = algebra.seq(algebra.all, closes, algebra.all)
    blanks = algebra.many(algebra.set([(0x20, 0x20), (0x0A, 0x0A)]), 0, 4)
    reasoned = Regular(algebra.seq(algebra.negated(speaks), closes, blanks))
    return reasoned if state == "inside" else many(sequence(Literal(OPENS), reasoned), 0, 1)
