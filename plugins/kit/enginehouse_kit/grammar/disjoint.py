"""Whether schemas exclude each other, and which have no value at all: what can be proved, no more."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from .automaton import TooManyStates, is_empty
from .limits import Unsupported
from .numbers import Numbers
from .regex import Regex
from .shapes import Arrays, Booleans, Null, Objects, Shape, Strings, item_of
from .terms import Term, canonical, whole

if TYPE_CHECKING:
    from .reading import Reader


class Disjoint:
    """Proofs about the terms of one reader."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._never: dict[Term, bool] = {}
        self._asked: set[Term] = set()
        self._values: dict[Term, frozenset[bytes] | None] = {}

    def overlaps(self, groups: Sequence[list[Shape]]) -> list[list[int]]:
        """For each group the numbers of others that some value may fit as well."""
        found: list[list[int]] = [[] for _ in groups]
        for at, group in enumerate(groups):
            for other in range(at + 1, len(groups)):
                if any(not self.exclude(one, two) for one in group for two in groups[other]):
                    found[at].append(other)
                    found[other].append(at)
        return found

    def exclude(self, one: Shape, other: Shape) -> bool:
        """Whether it is proved that no value fits both."""
        if type(one) is not type(other):
            return True
        self._reader.algebra.budget.spend()
        if isinstance(one, Objects) and isinstance(other, Objects) and self._told_apart(one, other):
            return True
        joined = self._reader.shaping.joined(one, other)
        return joined is None or self.is_never_shape(joined)

    def _told_apart(self, one: Objects, other: Objects) -> bool:
        """Whether a key that one of them requires takes different values in both."""
        for name in dict.fromkeys((*one.required, *other.required)):
            if name in one.named and name in other.named:
                mine, theirs = self.values(one.named[name]), self.values(other.named[name])
                if mine is not None and theirs is not None and mine.isdisjoint(theirs):
                    return True
        return False

    def values(self, term: Term) -> frozenset[bytes] | None:
        """All values of *term*, if they are listed."""
        if term in self._values:
            return self._values[term]
        self._values[term] = None  # while it is being worked out
        found: set[bytes] = set()
        shapes = self._shapes(term)
        for shape in [None] if shapes is None else shapes:
            listed = None if shape is None else listed_values(shape)
            if listed is None:
                return None
            found |= listed
        self._values[term] = frozenset(found)
        return self._values[term]

    def is_never(self, term: Term) -> bool:
        """Whether it is proved that no value fits *term*."""
        if term.kind in ("true", "const"):
            return False
        if term in self._never:
            return self._never[term]
        if term in self._asked:
            return False
        self._asked.add(term)
        try:
            shapes = self._shapes(term)
            found = shapes is not None and all(self.is_never_shape(shape) for shape in shapes)
        finally:
            self._asked.discard(term)
        self._never[term] = found
        return found

    def _shapes(self, term: Term) -> list[Shape] | None:
        try:
            return self._reader.shapes(term)
        except Unsupported:
            return None

    def is_never_shape(self, shape: Shape) -> bool:
        """Whether it is proved that no value fits *shape*."""
        if isinstance(shape, Null):
            return False
        if isinstance(shape, Booleans):
            return not shape.values
        if isinstance(shape, Numbers):
            return shape.is_never
        if isinstance(shape, Strings):
            is_listed = shape.values is not None and shape.wide is None
            return not shape.values if is_listed else self._is_empty(self._reader.shaping.meant(shape))
        if isinstance(shape, Arrays):
            return self._is_never_array(shape)
        if shape.high is not None and max(shape.low, len(shape.required)) > shape.high:
            return True
        return any(self.is_never(self.value_of(shape, name)) for name in shape.required)

    def _is_empty(self, language: Regex) -> bool:
        try:
            return is_empty(self._reader.algebra, language)
        except TooManyStates:
            return False

    def _is_never_array(self, shape: Arrays) -> bool:
        if shape.high is not None and shape.low > shape.high:
            return True
        for one in shape.contains:
            if (one.high is not None and one.low > one.high) or (one.low and self.is_never(one.term)):
                return True
        return any(self.is_never(item_of(shape, at)) for at in range(min(shape.low, len(shape.first) + 1)))

    def value_of(self, shape: Objects, name: str) -> Term:
        """What the value of *name* fits in *shape*."""
        algebra = self._reader.algebra
        parts = [shape.named[name]] if name in shape.named else []
        parts += [term for language, term in shape.rules if algebra.matches(language, name)]
        return self._reader.terms.all(*parts)


def listed_values(shape: Shape) -> set[bytes] | None:
    """The values of *shape*, if they are listed; canonical JSON."""
    if isinstance(shape, Null):
        return {b"null"}
    if isinstance(shape, Booleans):
        return {canonical(value) for value in shape.values}
    if isinstance(shape, Numbers) and shape.values is not None:
        return {canonical(whole(float(value)) if value % 1 else int(value)) for value in shape.values}
    if isinstance(shape, Strings) and shape.values is not None and shape.wide is None:
        return {canonical(value) for value in shape.values}
    return None
