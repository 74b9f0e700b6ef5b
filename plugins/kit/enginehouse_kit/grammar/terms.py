"""Schemas as terms: a part of a document, a value, or a combination of them, made once each.

Nothing is expanded here: a term is worked on when a rule for it is needed, so that recursive schemas have an end.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

import msgspec

from .limits import Budget

Kind = Literal["true", "false", "json", "const", "all", "any", "not"]


class Term(msgspec.Struct, eq=False, gc=False):
    """A schema. *content*: JSON of a document with its place, a value, or the terms that it is made of."""

    identity: int
    kind: Kind
    content: Any  # see above
    path: str


class Terms:
    """Makes the terms of one document."""

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._known: dict[tuple[Any, ...], Term] = {}
        self.true = self._make(("true",), "true", None, "#")
        self.false = self._make(("false",), "false", None, "#")
        self.nothing = self._make(("nothing",), "any", (), "#")
        """No value, where that is less than is meant: neither is there one of which it can be said not to fit."""

    def _make(self, key: tuple[Any, ...], kind: Kind, content: Any, path: str) -> Term:
        found = self._known.get(key)
        if found is None:
            self._budget.spend()
            found = self._known[key] = Term(len(self._known), kind, content, path)
        return found

    def json(self, schema: Any, path: str) -> Term:
        """The part *schema* of the document, which lives as long as this does."""
        if isinstance(schema, bool):
            return self.true if schema else self.false
        if schema == {}:
            return self.true
        return self._make(("json", id(schema)), "json", schema, path)

    def const(self, value: Any) -> Term:
        """Exactly *value*."""
        return self._make(("const", canonical(value)), "const", value, "#")

    def all(self, *items: Term) -> Term:
        """What fits all of *items*."""
        found: dict[Term, None] = {}
        for item in items:
            if item is self.false:
                return self.false
            if item is not self.true:
                found.update(dict.fromkeys(item.content if item.kind == "all" else (item,)))
        if not found:
            return self.true
        if len(found) == 1:
            return next(iter(found))
        key = ("all", frozenset(item.identity for item in found))
        return self._make(key, "all", tuple(found), next(iter(found)).path)

    def any(self, items: Iterable[Term]) -> Term:
        """What fits one of *items*."""
        found = tuple(dict.fromkeys(item for item in items if item is not self.false))
        if self.true in found:
            return self.true
        if len(found) < 2:
            return found[0] if found else self.false
        return self._make(("any", *(item.identity for item in found)), "any", found, found[0].path)

    def negated(self, item: Term) -> Term:
        """What does not fit *item*."""
        if item.kind == "not":
            found: Term = item.content
            return found
        if item is self.nothing:
            return self.false
        if item is self.true or item is self.false:
            return self.false if item is self.true else self.true
        return self._make(("not", item.identity), "not", item, item.path)


def canonical(value: Any) -> bytes:  # Any: JSON
    """The same bytes for the same JSON value: 1.0 is 1, and the order of keys says nothing."""
    return msgspec.json.encode(whole(value), order="sorted")


def whole(value: Any) -> Any:  # Any: JSON
    """*value* with whole numbers as such: 1.0 is 1."""
    if isinstance(value, float):
        return int(value) if value.is_integer() and abs(value) < 2**53 else value
    if isinstance(value, list):
        return [whole(item) for item in value]
    return {key: whole(item) for key, item in value.items()} if isinstance(value, dict) else value
