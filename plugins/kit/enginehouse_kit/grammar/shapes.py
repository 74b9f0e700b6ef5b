"""What a schema says of each type of JSON values: shapes, which can be joined and turned round.

A schema is a list of shapes; a value fits it if it fits one of them.
"""

from __future__ import annotations

import msgspec

from .numbers import Numbers
from .regex import Algebra, Regex
from .terms import Term, Terms


class Null(msgspec.Struct, frozen=True):
    """null."""


class Booleans(msgspec.Struct, frozen=True):
    """Some of true and false."""

    values: tuple[bool, ...] = (True, False)


class Strings(msgspec.Struct, frozen=True):
    """Strings of *language*; *values* alone if not None, which are all in it."""

    language: Regex
    values: tuple[str, ...] | None = None


class Contains(msgspec.Struct, frozen=True):
    """*low* to *high* items fit *term*."""

    term: Term
    low: int
    high: int | None


class Arrays(msgspec.Struct, frozen=True):
    """Arrays: *first* items one by one, then *rest*.

    *is_closed*: further items are allowed, but nothing speaks of them, so none is written. *seen* items have been
    spoken of (None: all), which is what `unevaluatedItems` asks.
    """

    first: tuple[Term, ...]
    rest: Term
    low: int = 0
    high: int | None = None
    is_unique: bool = False
    contains: tuple[Contains, ...] = ()
    is_closed: bool = False
    seen: int | None = 0


class Seen(msgspec.Struct, frozen=True):
    """Keys that a schema speaks of, which is what `unevaluatedProperties` asks."""

    names: tuple[str, ...] = ()
    languages: tuple[Regex, ...] = ()
    is_all: bool = False


class Objects(msgspec.Struct, frozen=True):
    """Objects: a key's value fits what *named* has for the key, and the term of each of *rules* whose language has it.

    *is_closed*: further keys are allowed, but nothing speaks of them, so none is written.
    """

    named: dict[str, Term]
    rules: tuple[tuple[Regex, Term], ...] = ()
    required: tuple[str, ...] = ()
    low: int = 0
    high: int | None = None
    is_closed: bool = False
    seen: Seen = Seen()


Shape = Null | Booleans | Numbers | Strings | Arrays | Objects


class CannotTell(ValueError):
    """No grammar says the opposite of the shape."""


class Shaping:
    """Joins shapes, and turns them round."""

    def __init__(self, algebra: Algebra, terms: Terms) -> None:
        self._algebra = algebra
        self._terms = terms

    def anything(self) -> list[Shape]:
        """Every value."""
        terms = self._terms
        strings = Strings(self._algebra.all)
        return [Null(), Booleans(), Numbers(), strings, Arrays((), terms.true), Objects({})]

    def joined(self, one: Shape, other: Shape) -> Shape | None:
        """What fits both; None if nothing does, as far as that shows at once."""
        self._algebra.budget.spend()
        if isinstance(one, Null):
            return one if isinstance(other, Null) else None
        if isinstance(one, Booleans):
            if not isinstance(other, Booleans):
                return None
            values = tuple(value for value in one.values if value in other.values)
            return Booleans(values) if values else None
        if isinstance(one, Numbers):
            numbers = one.and_(other) if isinstance(other, Numbers) else None
            return None if numbers is None or numbers.is_never else numbers
        if isinstance(one, Strings):
            return self._strings(one, other) if isinstance(other, Strings) else None
        if isinstance(one, Arrays):
            return self._arrays(one, other) if isinstance(other, Arrays) else None
        return self._objects(one, other) if isinstance(other, Objects) else None

    def _strings(self, one: Strings, other: Strings) -> Strings | None:
        if one.values is None and other.values is None:
            language = self._algebra.both(one.language, other.language)
            return None if language is self._algebra.none else Strings(language)
        listed, held = (one, other) if one.values is not None else (other, one)
        values = listed.values or ()
        if held.values is not None:
            known = frozenset(held.values)
            values = tuple(value for value in values if value in known)
        else:
            values = tuple(value for value in values if self._algebra.matches(held.language, value))
        return Strings(self._algebra.all, values) if values else None

    def _arrays(self, one: Arrays, other: Arrays) -> Arrays | None:
        terms = self._terms
        length = max(len(one.first), len(other.first))
        self._algebra.budget.spend(length)
        high = _least(one.high, other.high)
        low = max(one.low, other.low)
        if high is not None and low > high:
            return None
        first = tuple(terms.all(item_of(one, at), item_of(other, at)) for at in range(length))
        seen = None if one.seen is None or other.seen is None else max(one.seen, other.seen)
        is_closed = one.is_closed or other.is_closed
        is_unique = one.is_unique or other.is_unique
        contains = tuple(dict.fromkeys((*one.contains, *other.contains)))
        return Arrays(first, terms.all(one.rest, other.rest), low, high, is_unique, contains, is_closed, seen)

    def _objects(self, one: Objects, other: Objects) -> Objects | None:
        terms = self._terms
        self._algebra.budget.spend(len(one.named) + len(other.named))
        high = _least(one.high, other.high)
        low = max(one.low, other.low)
        if high is not None and low > high:
            return None
        named = dict(one.named)
        for name, term in other.named.items():
            named[name] = terms.all(named[name], term) if name in named else term
        required = tuple(dict.fromkeys((*one.required, *other.required)))
        if any(named.get(name) is terms.false for name in required):
            return None
        rules = tuple(dict.fromkeys((*one.rules, *other.rules)))
        seen = Seen(
            tuple(dict.fromkeys((*one.seen.names, *other.seen.names))),
            tuple(dict.fromkeys((*one.seen.languages, *other.seen.languages))),
            one.seen.is_all or other.seen.is_all,
        )
        return Objects(named, rules, required, low, high, one.is_closed or other.is_closed, seen)

    # ---- the opposite ----

    def negated(self, shape: Shape) -> list[Shape]:
        """Values of the same type that do not fit *shape*.

        Raises:
            CannotTell: no shapes say that.
        """
        if isinstance(shape, Null):
            return []
        if isinstance(shape, Booleans):
            values = tuple(value for value in (True, False) if value not in shape.values)
            return [Booleans(values)] if values else []
        if isinstance(shape, Numbers):
            return self._other_numbers(shape)
        if isinstance(shape, Strings):
            algebra = self._algebra
            language = shape.language
            if shape.values is not None:
                language = algebra.either([algebra.text(value) for value in shape.values])
            language = algebra.negated(language)
            return [] if language is algebra.none else [Strings(language)]
        return self._other_arrays(shape) if isinstance(shape, Arrays) else self._other_objects(shape)

    def _other_numbers(self, shape: Numbers) -> list[Shape]:
        if shape.values is not None:
            return [Numbers(without=shape.values)]
        if shape.steps:
            raise CannotTell
        out: list[Shape] = [Numbers(values=shape.without)] if shape.without else []
        out += [Numbers(is_fraction=True)] if shape.is_integer else []
        out += [Numbers(is_integer=True)] if shape.is_fraction else []
        if shape.low is not None:
            out.append(Numbers(high=shape.low, is_open_high=not shape.is_open_low))
        if shape.high is not None:
            out.append(Numbers(low=shape.high, is_open_low=not shape.is_open_high))
        return out

    def _other_arrays(self, shape: Arrays) -> list[Shape]:
        terms = self._terms
        if shape.is_unique:
            raise CannotTell
        out: list[Shape] = []
        if shape.low:
            out.append(Arrays((), terms.true, 0, shape.low - 1))
        if shape.high is not None:
            out.append(Arrays((), terms.true, shape.high + 1))
        for at, term in enumerate(shape.first):
            if term is not terms.true:
                out.append(Arrays((*(terms.true for _ in range(at)), terms.negated(term)), terms.true, at + 1))
        if shape.rest is terms.false:
            out.append(Arrays((), terms.true, len(shape.first) + 1))
        elif shape.rest is not terms.true:
            if shape.first:
                raise CannotTell
            out.append(Arrays((), terms.true, contains=(Contains(terms.negated(shape.rest), 1, None),)))
        for one in shape.contains:
            if one.low:
                out.append(Arrays((), terms.true, contains=(Contains(one.term, 0, one.low - 1),)))
            if one.high is not None:
                out.append(Arrays((), terms.true, contains=(Contains(one.term, one.high + 1, None),)))
        return out

    def _other_objects(self, shape: Objects) -> list[Shape]:
        terms = self._terms
        if shape.rules:
            raise CannotTell
        out: list[Shape] = []
        if shape.low:
            out.append(Objects({}, high=shape.low - 1))
        if shape.high is not None:
            out.append(Objects({}, low=shape.high + 1))
        out += [Objects({name: terms.false}) for name in shape.required]
        for name, term in shape.named.items():
            if term is not terms.true:
                out.append(Objects({name: terms.negated(term)}, required=(name,)))
        return out


def item_of(arrays: Arrays, at: int) -> Term:
    """What the item number *at* fits."""
    return arrays.first[at] if at < len(arrays.first) else arrays.rest


def _least(one: int | None, other: int | None) -> int | None:
    return other if one is None else one if other is None else min(one, other)
