"""JSON Schema to a grammar whose every sentence is JSON that the schema accepts.

Engines have converters of their own, which drop keywords that they do not know and differ from each other and
between versions. This one refuses what it cannot say, or, where that is asked for, says what it leaves out.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from .arrays import ArrayRules
from .automaton import TooManyStates
from .document import Document
from .form import EMPTY, NOTHING, Grammar, Literal, Node, Regular, Rule, either, many, sequence
from .lengths import places, shortened
from .limits import Budget, Unsupported
from .numbers import INTEGER, NUMBER, Numbers, written
from .objects import ObjectRules
from .pattern import pattern_language
from .reading import Reader
from .regex import Algebra, Regex
from .shapes import Arrays, Booleans, Null, Shape, Strings
from .spelling import Spelling, one_of, spelled
from .terms import Term

MAX_LENGTH = 10_000
"""Characters of a string that a grammar counts; a larger `maxLength` is held to this."""
_EXACT_STATES = 3000
"""Places of a pattern times the `maxLength` beside it, up to which it is held without narrowing it."""
_MOST_VALUES = 1000


class Writer:
    """What all schemas of one grammar share."""

    def __init__(self, budget: Budget) -> None:
        self.algebra = Algebra(budget)
        self.grammar = Grammar(self.algebra)
        self.spelling = Spelling(self.algebra)
        space = self.algebra.many(self.algebra.text(" "), 0, 1)
        self.colon: Node = Regular(self.algebra.seq(self.algebra.text(":"), space))
        self.comma: Node = Regular(self.algebra.seq(self.algebra.text(","), space))
        self._primitives: dict[str, Node] = {}
        self._counted: set[Regex] = set()

    def count(self, language: Regex) -> None:
        """Take the steps for what engines make of the counts in *language*, which they unroll."""
        todo = [language]
        while todo:
            item = todo.pop()
            if item in self._counted:
                continue
            self._counted.add(item)
            if item.kind == "many":
                self.algebra.budget.spend((item.parts[2] or item.parts[1]) // 4)
            todo += [part for part in item.parts if isinstance(part, Regex)]

    def primitive(self, name: str) -> Node:
        """Any value, or any of one type."""
        if not self._primitives:
            self._write_primitives()
        return self._primitives[name]

    def _write_primitives(self) -> None:
        grammar, algebra = self.grammar, self.algebra
        names = {name: grammar.reserve() for name in ("value", "object", "array")}
        value = Rule(names["value"])
        string: Node = Regular(self.spelling.quoted(algebra.all))
        number: Node = Regular(pattern_language(algebra, NUMBER))
        integer: Node = Regular(pattern_language(algebra, INTEGER))
        member = grammar.add(sequence(string, self.colon, value))
        members = sequence(member, many(grammar.add(sequence(self.comma, member)), 0, None))
        items = sequence(value, many(grammar.add(sequence(self.comma, value)), 0, None))
        boolean = either([Literal("true"), Literal("false")])
        grammar.rules[names["object"]] = sequence(Literal("{"), either([EMPTY, members]), Literal("}"))
        grammar.rules[names["array"]] = sequence(Literal("["), either([EMPTY, items]), Literal("]"))
        containers = [Rule(names["object"]), Rule(names["array"])]
        grammar.rules[names["value"]] = either([*containers, string, number, boolean, Literal("null")])
        self._primitives = {
            "value": value,
            "object": containers[0],
            "array": containers[1],
            "string": string,
            "number": number,
            "integer": integer,
            "boolean": boolean,
            "null": Literal("null"),
        }


class Rules:
    """Writes the rules of one schema document into a grammar."""

    def __init__(self, writer: Writer, schema: Any, *, is_lenient: bool = False) -> None:  # Any: JSON
        self._writer = writer
        self.grammar, self.spelling, self.colon, self.comma = (
            writer.grammar,
            writer.spelling,
            writer.colon,
            writer.comma,
        )
        document = Document(schema, writer.algebra.budget)
        self.reader = Reader(document, writer.algebra, is_lenient=is_lenient)
        self._objects = ObjectRules(self)
        self._arrays = ArrayRules(self)
        self._known: dict[Term, Node] = {}

    def root(self, kind: str | None = None) -> Node:
        """The whole schema, of whose values only those of the type *kind* count.

        Raises:
            Unsupported: it cannot be enforced.
            OverBudget: it costs too much.
        """
        terms = self.reader.terms
        whole = terms.json(self.reader.document.root, "#")
        if kind is not None:
            self._kind = {"type": kind}  # a part of the document, which has to live
            whole = terms.all(whole, terms.json(self._kind, "#"))
        return self.term(whole)

    def at(self, name: str) -> Node:
        """The rule *name*."""
        return Rule(name)

    def term(self, term: Term) -> Node:
        """What *term* allows: a rule, or a small node in place of one."""
        if term is self.reader.terms.true:
            return self._writer.primitive("value")
        found = self._known.get(term)
        if found is None:
            name = self.grammar.reserve()
            self._known[term] = Rule(name)
            budget = self.grammar.algebra.budget
            before, budget.place = budget.place, term.path
            node = self._tried(partial(self._body, term), "value")
            budget.place = before
            if isinstance(node, Literal | Regular | Rule) or node == NOTHING:
                self.grammar.rules[name] = node
                self._known[term] = node
                return node
            self.grammar.rules[name] = node
            found = self._known[term]
        return found

    def values(self, term: Term) -> list[Node] | None:
        """Each value of *term*, if they are listed."""
        found = self.reader.disjoint.values(term)
        if found is None or len(found) > _MOST_VALUES:
            return None
        return [Literal(value.decode()) for value in found]

    def _tried(self, write: Callable[[], Node], otherwise: str) -> Node:
        """What *write* makes; where that cannot be said and need not, any value of the type *otherwise*."""
        try:
            return write()
        except Unsupported as refused:
            self.leave_out(refused)
            return self._writer.primitive(otherwise)

    def leave_out(self, refused: Unsupported) -> None:
        """Note what cannot be said.

        Raises:
            Unsupported: *refused*, unless this is lenient.
        """
        self.reader.leave_out(refused)

    def _body(self, term: Term) -> Node:
        bodies: list[Node] = []
        listed: list[str] = []
        for shape in self.reader.shapes(term):
            if isinstance(shape, Numbers) and shape.values is not None:
                listed += [written(value) for value in shape.values]
            elif isinstance(shape, Strings) and shape.values is not None:
                listed += [f'"{spelled(value)}"' for value in shape.values]
            else:
                bodies.append(self._tried(partial(self._shape, shape, term), _name(shape)))
        if listed:
            bodies.append(Regular(one_of(self.reader.algebra, listed)))
        return either(bodies)

    def _shape(self, shape: Shape, term: Term) -> Node:
        path = term.path
        if isinstance(shape, Null):
            return Literal("null")
        if isinstance(shape, Booleans):
            return either(Literal("true" if value else "false") for value in shape.values)
        if isinstance(shape, Numbers):
            return self._number(shape, path)
        if isinstance(shape, Strings):
            return self._string(shape, path, _keyword_of(term))
        return self._arrays.node(shape, path) if isinstance(shape, Arrays) else self._objects.node(shape, path)

    def _number(self, shape: Numbers, path: str) -> Node:
        try:
            language = shape.language(self.reader.algebra)
        except ValueError as error:
            raise Unsupported(path, "multipleOf" if shape.steps else "minimum", str(error)) from error
        return self.regular(language, path, "multipleOf")

    def _string(self, shape: Strings, path: str, keyword: str) -> Node:
        algebra = self.reader.algebra
        language = shape.language
        if language.shortest > MAX_LENGTH:
            raise Unsupported(path, "minLength", f"is only supported up to {MAX_LENGTH}")
        if language.longest is not None and language.longest > MAX_LENGTH:
            language = algebra.held(language, 0, MAX_LENGTH) or language
        return self.strings(self._shared_out(language), path, keyword)

    def _shared_out(self, language: Regex) -> Regex:
        """*language*; of a pattern beside a large `maxLength` the part whose own parts share that length.

        All of it would take a state for each length at each place.
        """
        algebra = self.reader.algebra
        if language.kind != "and" or len(language.parts) != 2:
            return language
        lengths = [p for p in language.parts if p.kind == "many" and p.parts[0] is algebra.any]
        others = [p for p in language.parts if p not in lengths]
        if len(lengths) != 1 or not others[0].is_plain:
            return language
        _, low, high = lengths[0].parts
        if high is None or high * places(others[0]) <= _EXACT_STATES or others[0].shortest < low:
            return language
        short = shortened(algebra, others[0], min(high, MAX_LENGTH))
        return language if short is algebra.none else short

    def regular(self, language: Regex, path: str, keyword: str) -> Node:
        """A text of *language*, which *keyword* at *path* asks for.

        Raises:
            Unsupported: engines cannot follow it.
        """
        return Regular(language) if self._has_texts(language, path, keyword) else NOTHING

    def strings(self, language: Regex, path: str, keyword: str) -> Node:
        """A string of *language*, which *keyword* at *path* asks for.

        Raises:
            Unsupported: engines cannot follow it.
        """
        if not self._has_texts(language, path, keyword):
            return NOTHING
        try:
            return Regular(self.spelling.quoted(language), None if language.is_plain else language)
        except RecursionError as error:
            raise Unsupported(path, keyword, "has too many parts") from error

    def _has_texts(self, language: Regex, path: str, keyword: str) -> bool:
        """Whether there are any; takes the steps for what engines make of them."""
        if language.is_plain:
            self._writer.count(language)
            return language is not self.reader.algebra.none
        try:
            states = self.grammar.states(language)
        except TooManyStates as error:
            raise Unsupported(path, keyword, "needs too many states") from error
        for state in states:
            if state.rest is not None:
                self._writer.count(state.rest)
        return any(state.is_end or state.rest is not None for state in states)


def _keyword_of(term: Term) -> str:
    """The keyword that says the most of the strings of *term*."""
    todo, found = [term], set[str]()
    while todo:
        item = todo.pop()
        if item.kind == "json":
            found |= item.content.keys()
        elif item.kind in ("all", "any", "not"):
            todo += item.content if item.kind != "not" else [item.content]
    return "format" if "format" in found and "pattern" not in found else "pattern"


def _name(shape: Shape) -> str:
    """The type of *shape*, as the standard calls it."""
    if isinstance(shape, Null | Booleans):
        return "null" if isinstance(shape, Null) else "boolean"
    if isinstance(shape, Numbers):
        return "integer" if shape.is_integer else "number"
    return "string" if isinstance(shape, Strings) else "array" if isinstance(shape, Arrays) else "object"
