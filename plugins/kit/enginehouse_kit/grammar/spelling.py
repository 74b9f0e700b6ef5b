"""How JSON text spells the characters of a string: each in exactly one way, so that texts differ where strings do."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from . import characters
from .regex import CHARACTERS, Algebra, Regex

_SHORT = {0x22: '"', 0x5C: "\\", 0x08: "b", 0x0C: "f", 0x0A: "n", 0x0D: "r", 0x09: "t"}
_DIRECT = characters.shared(characters.complement([(point, point) for point in _SHORT]), CHARACTERS)
_MOST_SHARED = 100  # nested beginnings that texts share


class Spelling:
    """Strings as JSON text, for languages of one algebra."""

    def __init__(self, algebra: Algebra) -> None:
        self._algebra = algebra
        self._known: dict[Regex, Regex] = {}
        self._quote = algebra.text('"')

    def quoted(self, language: Regex) -> Regex:
        """The strings of *language* as JSON text."""
        return self._algebra.seq(self._quote, self.inside(language), self._quote)

    def inside(self, language: Regex) -> Regex:
        """The strings of *language* as they stand between the quotes."""
        found = self._known.get(language)
        if found is None:
            found = self._known[language] = self._spelled(language)
        return found

    def _spelled(self, language: Regex) -> Regex:
        algebra, kind, parts = self._algebra, language.kind, language.parts
        if kind == "set":
            direct = algebra.set(characters.shared(parts[0], _DIRECT))
            short = [(ord(letter), ord(letter)) for point, letter in _SHORT.items() if characters.has(parts[0], point)]
            return algebra.either([direct, algebra.seq(algebra.text("\\"), algebra.set(short))])
        if kind == "text":
            return algebra.text(spelled(parts[0]))
        if kind == "seq":
            return algebra.seq(*map(self.inside, language.in_order()))
        if kind == "many":
            return algebra.many(self.inside(parts[0]), parts[1], parts[2])
        if kind == "or":
            return algebra.either([self.inside(part) for part in parts])
        if kind == "and":
            return algebra.both(*(self.inside(part) for part in parts))
        if kind == "not":
            return algebra.both(self.inside(algebra.all), algebra.negated(self.inside(parts[0])))
        return language


def spelled(text: str) -> str:
    """*text* inside the quotes of JSON."""
    return msgspec.json.encode(text).decode()[1:-1]


def one_of(algebra: Algebra, choices: list[str]) -> Regex:
    """Exactly *choices*, with what they begin with in common written once.

    Engines follow each alternative that still fits: of thousands side by side it would take seconds a token.
    """
    algebra.budget.spend(len(choices) // 2)
    return _one_of(algebra, sorted(set(choices)), 0, 0)


def none_of(algebra: Algebra, names: Iterable[str]) -> Regex:
    """Strings that are none of *names*, told apart character by character: no automaton is needed for many names."""
    return _none_of(algebra, sorted(set(names)), 0, {})


def _none_of(algebra: Algebra, names: list[str], skipped: int, others: dict[str, Regex]) -> Regex:
    """Ends of strings that begin with the *skipped* characters which all of *names*, sorted, begin with.

    *others* has what begins with another character, by those characters: of most names' ends there is one alone.
    """
    following: dict[str, list[str]] = {}
    for name in names:
        if len(name) > skipped:
            following.setdefault(name[skipped], []).append(name)
    algebra.budget.spend(1 + len(following))
    first = "".join(following)
    other = others.get(first)
    if other is None:
        excluded = algebra.set(characters.complement([(ord(c), ord(c)) for c in following]))
        other = others[first] = algebra.seq(excluded, algebra.all)
    options = [other]
    options += [
        algebra.seq(algebra.text(c), _none_of(algebra, rest, skipped + 1, others)) for c, rest in following.items()
    ]
    if not names or len(names[0]) > skipped:
        options.append(algebra.empty)
    return algebra.either(options)


def _one_of(algebra: Algebra, choices: list[str], skipped: int, depth: int) -> Regex:
    """What follows the first *skipped* characters of *choices*, which are sorted and share them."""
    if len(choices) == 1:
        return algebra.text(choices[0][skipped:])
    if depth > _MOST_SHARED:
        return algebra.either([algebra.text(choice[skipped:]) for choice in choices])
    options = []
    at = 0
    while at < len(choices):
        start, first = at, choices[at][skipped : skipped + 1]
        while at < len(choices) and choices[at][skipped : skipped + 1] == first:
            at += 1
        group = choices[start:at]
        if len(group) == 1:
            options.append(algebra.text(group[0][skipped:]))
            continue
        ends = skipped
        low, high = group[0], group[-1]
        while ends < min(len(low), len(high)) and low[ends] == high[ends]:
            ends += 1
        options.append(algebra.seq(algebra.text(low[skipped:ends]), _one_of(algebra, group, ends, depth + 1)))
    algebra.budget.spend(len(options))
    return algebra.either(options)
