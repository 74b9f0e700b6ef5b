"""JSON Schema, read as its standard reads it: each keyword as what it says of each type of values.

Assertions are read, or `Unsupported` is raised; every other word is an annotation. Draft 2020-12, with what older
drafts and OpenAPI 3.0 say otherwise: `definitions`, `dependencies`, `items` as a list with `additionalItems`,
`exclusiveMinimum` as a flag, `nullable`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from typing import Any

from .disjoint import Disjoint
from .document import Document
from .facets import Facets, is_number, names_of
from .limits import Unsupported
from .numbers import Numbers, decimal_of
from .regex import Algebra, Regex
from .shapes import Arrays, Booleans, CannotTell, Null, Objects, Seen, Shape, Shaping, Strings
from .spelling import none_of, one_of
from .terms import Term, Terms

MAX_SHAPES = 400
"""Alternatives that one schema may come to."""

_REFERENCE = frozenset(("$ref", "title", "description"))
_MANY_SHAPES = 8
_LONG_NAME = 64  # characters; what differs from a longer one is not said part by part

_TYPES = ("object", "array", "string", "number", "integer", "boolean", "null")


class Reader:
    """Reads the terms of one document as shapes.

    If *is_lenient*, what cannot be enforced is left out and noted in `notes`.
    """

    def __init__(self, document: Document, algebra: Algebra, *, is_lenient: bool = False) -> None:
        self.document = document
        self.algebra = algebra
        self.terms = Terms(algebra.budget)
        self.shaping = Shaping(algebra, self.terms)
        self.notes: dict[str, None] = {}
        """What was left out."""
        self.is_lenient = is_lenient
        self._known: dict[Term, list[Shape]] = {}
        self._reading: set[Term] = set()
        self._others: dict[tuple[str, ...], Regex] = {}
        self._facets = Facets(self)
        self.disjoint = Disjoint(self)

    # ---- terms ----

    def shapes(self, term: Term) -> list[Shape]:
        """What *term* allows.

        Raises:
            Unsupported: a keyword cannot be enforced.
        """
        found = self._known.get(term)
        if found is None:
            if term in self._reading:
                raise Unsupported(term.path, "$ref", "refers to itself without an end")
            self._reading.add(term)
            try:
                found = self._known[term] = self._read(term)
            finally:
                self._reading.discard(term)
        return found

    def _read(self, term: Term) -> list[Shape]:
        if term.kind == "true":
            return self.shaping.anything()
        if term.kind == "false":
            return []
        if term.kind == "const":
            return [self._const(term.content)]
        if term.kind == "all":
            found = self.shapes(term.content[0])
            for part in term.content[1:]:
                found = self.both(found, self.shapes(part), term.path)
            return found
        if term.kind == "any":
            return self._bounded([shape for part in term.content for shape in self.shapes(part)], term.path)
        if term.kind == "not":
            try:
                return self.opposite(self.shapes(term.content), term.path)
            except CannotTell as error:
                raise Unsupported(term.path, "not", "cannot be said of this schema") from error
        return self._schema(term.content, term.path)

    def both(self, left: list[Shape], right: list[Shape], path: str) -> list[Shape]:
        """Shapes that fit one of *left* and one of *right*."""
        found: list[Shape] = []
        for one in left:
            for other in right:
                if type(one) is type(other):
                    shape = self.shaping.joined(one, other)
                    found += [] if shape is None or self._is_idle(shape, len(found)) else [shape]
            self._bounded(found, path)
        return found

    def _is_idle(self, shape: Shape, others: int) -> bool:
        """Whether a key that *shape* requires has no value: asked where alternatives multiply."""
        if others < _MANY_SHAPES or not isinstance(shape, Objects):
            return False
        terms = (shape.named.get(name, self.terms.true) for name in shape.required)
        return any(term.kind == "all" and self.disjoint.is_never(term) for term in terms)

    def opposite(self, shapes: list[Shape], path: str) -> list[Shape]:
        """What fits none of *shapes*.

        Raises:
            CannotTell: no shapes say that.
        """
        found = self.shaping.anything()
        for shape in shapes:
            others = [one for one in self.shaping.anything() if type(one) is not type(shape)]
            found = self.both(found, others + self.shaping.negated(shape), path)
        return found

    def _bounded(self, shapes: list[Shape], path: str) -> list[Shape]:
        if len(shapes) > MAX_SHAPES:
            raise Unsupported(path, "anyOf", f"combines to more than {MAX_SHAPES} alternatives")
        return shapes

    # ---- schemas ----

    def _schema(self, schema: Any, path: str) -> list[Shape]:  # Any: JSON
        if not isinstance(schema, dict):
            raise Unsupported(path, "schema", "is not an object or a boolean")
        found = [shape for name in self._types(schema, path) for shape in self._facets.of_type(name, schema, path)]
        for keyword, read in (
            ("const", self._const_keyword),
            ("enum", self._enum),
            ("$ref", self._reference),
            ("$dynamicRef", self._reference),
            ("$recursiveRef", self._recursive),
            ("allOf", self._all),
            ("anyOf", self._any),
            ("oneOf", self._one),
            ("not", self._not),
            ("if", self._if),
            ("dependentRequired", self._dependent),
            ("dependentSchemas", self._dependent),
            ("dependencies", self._dependent),
        ):
            if keyword in schema:
                found = self._tried(found, partial(read, found, schema, keyword, path))
        if "unevaluatedProperties" in schema or "unevaluatedItems" in schema:
            found = self._tried(found, partial(self._unevaluated_in, found, schema, path))
        return found

    def _tried(self, before: list[Shape], read: Callable[[], list[Shape]]) -> list[Shape]:
        """What *read* makes of *before*; that itself where it cannot be enforced and need not."""
        try:
            return read()
        except Unsupported as refused:
            self.leave_out(refused)
            return before

    def leave_out(self, refused: Unsupported) -> None:
        """Note what cannot be enforced.

        Raises:
            Unsupported: *refused*, unless this is lenient.
        """
        if not self.is_lenient:
            raise refused
        self.notes[refused.place] = None

    def _types(self, schema: dict[str, Any], path: str) -> list[str]:
        names = schema.get("type", ["object", "array", "string", "number", "boolean", "null"])
        names = [names] if isinstance(names, str) else names
        if not isinstance(names, list) or not names or any(name not in _TYPES for name in names):
            raise Unsupported(path, "type", f"must be one or more of {', '.join(_TYPES)}")
        if "number" in names:
            names = [name for name in names if name != "integer"]
        if schema.get("nullable") is True and "type" in schema:
            names = [*names, "null"]
        return list(dict.fromkeys(names))

    def _const_keyword(self, found: list[Shape], schema: dict[str, Any], keyword: str, path: str) -> list[Shape]:
        return self.both(found, [self._const(schema[keyword])], path)

    def _enum(self, found: list[Shape], schema: dict[str, Any], keyword: str, path: str) -> list[Shape]:
        values = schema[keyword]
        if not isinstance(values, list):
            raise Unsupported(path, keyword, "must be a list")
        self.algebra.budget.spend(len(values))
        texts = tuple(dict.fromkeys(value for value in values if isinstance(value, str)))
        numbers = tuple(dict.fromkeys(decimal_of(value) for value in values if is_number(value)))
        listed: list[Shape] = [Strings(self.algebra.all, texts)] if texts else []
        listed += [Numbers(values=numbers)] if numbers else []
        listed += [self._const(value) for value in values if not isinstance(value, str) and not is_number(value)]
        return self.both(found, listed, path)

    def _const(self, value: Any) -> Shape:  # Any: JSON
        terms = self.terms
        if value is None:
            return Null()
        if isinstance(value, bool):
            return Booleans((value,))
        if isinstance(value, int | float):
            return Numbers(values=(decimal_of(value),))
        if isinstance(value, str):
            return Strings(self.algebra.all, (value,))
        if isinstance(value, list):
            items = tuple(terms.const(item) for item in value)
            return Arrays(items, terms.false, len(items), len(items))
        named = {name: terms.const(item) for name, item in value.items()}
        rules = ((self.other_than(named, ()), terms.false),)
        return Objects(named, rules, tuple(named), len(named), len(named))

    def other_than(self, names: Iterable[str], languages: Iterable[Regex]) -> Regex:
        """Keys that are none of *names* and in none of *languages*."""
        others = tuple(dict.fromkeys(names))
        found = self._others.get(others)
        if found is None:
            long = [name for name in others if len(name) > _LONG_NAME]
            short = none_of(self.algebra, [name for name in others if len(name) <= _LONG_NAME])
            found = self.algebra.both(short, self.algebra.negated(one_of(self.algebra, long)) if long else short)
            self._others[others] = found
        return self.algebra.both(found, *(self.algebra.negated(language) for language in languages))

    # ---- combinations ----

    def _reference(self, found: list[Shape], schema: dict[str, Any], keyword: str, path: str) -> list[Shape]:
        target, at = self.document.target(schema, keyword, path)
        term = self.terms.json(target, at)
        if term in self._reading:
            raise Unsupported(path, keyword, "refers to itself without an end")
        return self.both(found, self.shapes(term), path)

    def _recursive(self, found: list[Shape], schema: dict[str, Any], keyword: str, path: str) -> list[Shape]:
        if self.document.has_recursive_anchor:
            raise Unsupported(path, keyword, "may lead to several places")
        return self._reference(found, schema, keyword, path)

    def _parts(self, schema: dict[str, Any], keyword: str, path: str) -> list[Term]:
        parts = schema[keyword]
        if not isinstance(parts, list) or not parts:
            raise Unsupported(path, keyword, "must be a list of schemas")
        return [self._part(part, f"{path}/{keyword}/{at}") for at, part in enumerate(parts)]

    def _part(self, schema: Any, path: str) -> Term:  # Any: JSON
        """The term of *schema*: of a reference alone that of what it leads to, which others may lead to as well."""
        own = self.terms.json(schema, path)
        if isinstance(schema, dict) and "$ref" in schema and schema.keys() <= _REFERENCE:
            with suppress(Unsupported):
                term = self.terms.json(*self.document.target(schema, "$ref", path))
                return own if term in self._reading else term
        return own

    def _all(self, found: list[Shape], schema: dict[str, Any], keyword: str, path: str) -> list[Shape]:
        for part in self._parts(schema, keyword, path):
            found = self._tried(found, partial(self._both_with, found, part, path))
        return found

    def _both_with(self, found: list[Shape], part: Term, path: str) -> list[Shape]:
        return self.both(found, self.shapes(part), path)

    def _any(self, found: list[Shape], schema: dict[str, Any], keyword: str, path: str) -> list[Shape]:
        options = [shape for part in self._parts(schema, keyword, path) for shape in self.shapes(part)]
        return self.both(found, self._bounded(self.shaping.gathered(options), path), path)

    def _one(self, found: list[Shape], schema: dict[str, Any], keyword: str, path: str) -> list[Shape]:
        parts = self._parts(schema, keyword, path)
        groups = [self.both(found, self.shapes(part), path) for part in parts]
        overlaps = self.disjoint.overlaps(groups)
        out: list[Shape] = []
        for at, group in enumerate(groups):
            for other in overlaps[at]:
                group = self._apart(group, self.shapes(parts[other]), MAX_SHAPES // len(parts), path)
            out += group
        return self._bounded(out, path)

    def _apart(self, group: list[Shape], theirs: list[Shape], most: int, path: str) -> list[Shape]:
        """What fits one of *group* and none of *theirs*; of more than *most* ways some, told by missing keys."""
        apart: list[Shape] = []
        near: list[Shape] = []
        for one in group:
            (apart if all(self.disjoint.exclude(one, two) for two in theirs) else near).append(one)
        try:
            others = self.opposite(theirs, path)
            if len(apart) + len(near) * len(others) > most:
                others = [shape for shape in others if not isinstance(shape, Objects) or self._lacks(shape)]
            share = max((most - len(apart)) // max(len(near), 1), 1)
            for one in near:
                apart += self.both([one], others, path)[:share]
            return self._bounded(apart, path)
        except CannotTell as error:
            raise Unsupported(path, "oneOf", "has alternatives that may fit at once; use 'anyOf'") from error

    def _lacks(self, shape: Objects) -> bool:
        """Whether *shape* says of keys only that some are missing."""
        return not shape.required and not shape.holds and all(term is self.terms.false for term in shape.named.values())

    def _not(self, found: list[Shape], schema: dict[str, Any], keyword: str, path: str) -> list[Shape]:
        try:
            opposite = self.terms.negated(self.terms.json(schema[keyword], f"{path}/not"))
            return self.both(found, self._strictly(opposite), path)
        except Unsupported as error:
            raise Unsupported(path, keyword, "cannot be said of this schema") from error

    def _strictly(self, term: Term) -> list[Shape]:
        """Shapes of *term*, nothing left out: under `not`, less would be more."""
        before, self.is_lenient = self.is_lenient, False
        try:
            return self.shapes(term)
        finally:
            self.is_lenient = before

    def _if(self, found: list[Shape], schema: dict[str, Any], keyword: str, path: str) -> list[Shape]:
        condition = self.terms.json(schema[keyword], f"{path}/if")
        then = self.terms.json(schema.get("then", True), f"{path}/then")
        otherwise = self.terms.json(schema.get("else", True), f"{path}/else")
        if then is self.terms.true and otherwise is self.terms.true:
            return found
        try:
            holds = self._strictly(condition)
            fails = self.opposite(holds, path)
        except (CannotTell, Unsupported) as error:
            raise Unsupported(path, keyword, "cannot be decided by a grammar") from error
        met = self.both(self.both(found, holds, path), self.shapes(then), path)
        return self._bounded(met + self.both(self.both(found, fails, path), self.shapes(otherwise), path), path)

    def _dependent(self, found: list[Shape], schema: dict[str, Any], keyword: str, path: str) -> list[Shape]:
        if not isinstance(schema[keyword], dict):
            raise Unsupported(path, keyword, "must be an object")
        terms = self.terms
        others = [shape for shape in self.shaping.anything() if not isinstance(shape, Objects)]
        for name, needed in schema[keyword].items():
            if isinstance(needed, list):
                wanted: list[Shape] = [*others, Objects({}, required=names_of(needed, keyword, path))]
            else:
                wanted = self.shapes(terms.json(needed, f"{path}/{keyword}/{name}"))
            present = self.both(wanted, [Objects({}, required=(name,))], path)
            found = self.both(found, [*others, Objects({name: terms.false}), *present], path)
        return found

    def _unevaluated_in(self, found: list[Shape], schema: dict[str, Any], path: str) -> list[Shape]:
        return [self._unevaluated(shape, schema, path) for shape in found]

    def _unevaluated(self, shape: Shape, schema: dict[str, Any], path: str) -> Shape:
        terms = self.terms
        if isinstance(shape, Objects) and "unevaluatedProperties" in schema and not shape.seen.is_all:
            term = terms.json(schema["unevaluatedProperties"], f"{path}/unevaluatedProperties")
            rule = (self.other_than(shape.seen.names, shape.seen.languages), term)
            joined = self.shaping.joined(shape, Objects({}, (rule,), seen=Seen(is_all=True)))
            return Objects({}, low=1, high=0) if joined is None else joined
        if isinstance(shape, Arrays) and "unevaluatedItems" in schema and shape.seen is not None:
            if shape.contains:
                raise Unsupported(path, "unevaluatedItems", "cannot be combined with 'contains'")
            term = terms.json(schema["unevaluatedItems"], f"{path}/unevaluatedItems")
            first = tuple(terms.true for _ in range(shape.seen))
            joined = self.shaping.joined(shape, Arrays(first, term, seen=None))
            return Arrays((), terms.true, 1, 0) if joined is None else joined
        return shape
