"""What a schema says of each type of JSON values: shapes, which can be joined and turned round.

A schema is a list of shapes; a value fits it if it fits one of them.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal

import msgspec

from .numbers import Numbers
from .regex import Algebra, Regex
from .terms import Term, Terms


class Null(msgspec.Struct, frozen=True, gc=False):
    """null."""


class Booleans(msgspec.Struct, frozen=True, gc=False):
    """Some of true and false."""

    values: tuple[bool, ...] = (True, False)


class Strings(msgspec.Struct, frozen=True, gc=False):
    """Strings of *language*; *values* alone if not None, which are all in it.

    Where these are only some of those that are meant, *wide* holds all of them: what does not fit is outside of that.
    """

    language: Regex
    values: tuple[str, ...] | None = None
    wide: Regex | None = None


class Contains(msgspec.Struct, frozen=True, gc=False):
    """*low* to *high* items fit *term*."""

    term: Term
    low: int
    high: int | None


class Arrays(msgspec.Struct, frozen=True, gc=False):
    """Arrays: *first* items one by one, then *rest*.

    *seen* items have been spoken of (None: all), which is what `unevaluatedItems` asks.
    """

    first: tuple[Term, ...]
    rest: Term
    low: int = 0
    high: int | None = None
    is_unique: bool = False
    contains: tuple[Contains, ...] = ()
    seen: int | None = 0


class Seen(msgspec.Struct, frozen=True, gc=False):
    """Keys that a schema speaks of, which is what `unevaluatedProperties` asks."""

    names: tuple[str, ...] = ()
    languages: tuple[Regex, ...] = ()
    is_all: bool = False


class Objects(msgspec.Struct, frozen=True, gc=False):
    """Objects: a key's value fits what *named* has for it, and the term of each of *rules* whose language has the key.

    For each of *holds* there is some member whose key is in its language and whose value fits its term.
    """

    named: dict[str, Term]
    rules: tuple[tuple[Regex, Term], ...] = ()
    required: tuple[str, ...] = ()
    low: int = 0
    high: int | None = None
    seen: Seen = Seen()
    holds: tuple[tuple[Regex, Term], ...] = ()


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

    def gathered(self, shapes: Iterable[Shape]) -> list[Shape]:
        """Alternatives, each once; of those that list their values one for all."""
        found: dict[int, Shape] = {}
        texts: dict[str, None] = {}
        numbers: dict[Decimal, None] = {}
        for shape in shapes:
            if isinstance(shape, Strings) and shape.values is not None:
                texts.update(dict.fromkeys(shape.values))
            elif isinstance(shape, Numbers) and shape.values is not None:
                numbers.update(dict.fromkeys(shape.values))
            else:
                found[id(shape)] = shape
        out = list(found.values())
        out += [Strings(self._algebra.all, tuple(texts))] if texts else []
        return out + ([Numbers(values=tuple(numbers))] if numbers else [])

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
        wide = None
        if one.wide is not None or other.wide is not None:
            wide = self._algebra.both(self.meant(one), self.meant(other))
        if one.values is None and other.values is None:
            language = self._algebra.both(one.language, other.language)
            return self._held(Strings(language, wide=wide))
        listed, held = (one, other) if one.values is not None else (other, one)
        values = listed.values or ()
        if held.values is not None:
            known = frozenset(held.values)
            values = tuple(value for value in values if value in known)
        else:
            values = tuple(value for value in values if self._algebra.matches(held.language, value))
        return self._held(Strings(self._algebra.all, values, wide))

    def _held(self, strings: Strings) -> Strings | None:
        """*strings*, unless none are meant."""
        if strings.values is not None and strings.wide is None:
            return strings if strings.values else None
        return None if self.meant(strings) is self._algebra.none else strings

    def meant(self, strings: Strings) -> Regex:
        """All that *strings* stands for, and maybe more."""
        if strings.wide is not None or strings.values is None:
            return strings.language if strings.wide is None else strings.wide
        return self._algebra.either([self._algebra.text(value) for value in strings.values])

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
        is_unique = one.is_unique or other.is_unique
        contains = tuple(dict.fromkeys((*one.contains, *other.contains)))
        return Arrays(first, terms.all(one.rest, other.rest), low, high, is_unique, contains, seen)

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
        holds = tuple(dict.fromkeys((*one.holds, *other.holds)))
        return Objects(named, rules, required, low, high, seen, holds)

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
            outside = self._algebra.negated(self.meant(shape))
            wide = None
            if shape.wide is not None:  # what is not of the narrow one may not fit, either
                wide = self._algebra.negated(self.meant(msgspec.structs.replace(shape, wide=None)))
            held = self._held(Strings(outside, wide=wide))
            return [] if held is None else [held]
        return self._other_arrays(shape) if isinstance(shape, Arrays) else self._other_objects(shape)

    def _other_numbers(self, shape: Numbers) -> list[Shape]:
        if shape.values is not None:
            return [Numbers(without=shape.values)]
        out: list[Shape] = [Numbers(values=shape.without)] if shape.without else []
        out += [Numbers(off_steps=(step,)) for step in shape.steps]
        out += [Numbers(steps=(step,)) for step in shape.off_steps]
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
        out: list[Shape] = []
        for language, term in shape.rules:
            if term is not terms.true:
                out.append(Objects({}, holds=((language, terms.negated(term)),)))
        for language, term in shape.holds:
            out.append(Objects({}, ((language, terms.negated(term)),)))
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
