"""A regular expression as an automaton of few states: for grammars that know neither `and` nor `not`."""

from __future__ import annotations

from itertools import pairwise

import msgspec

from .characters import Ranges, normal
from .regex import CHARACTERS, Algebra, Regex

MAX_STATES = 5000


class TooManyStates(ValueError):
    """The automaton would have more than `MAX_STATES` states."""


class State(msgspec.Struct):
    """A state: whether the text may end in it, and the characters that lead on, by number of the next state.

    One with a *rest* is the last: what follows is in that language, which any grammar can say as it is.
    """

    is_end: bool
    onward: dict[int, Ranges]
    rest: Regex | None = None


def automaton(algebra: Algebra, root: Regex) -> list[State]:
    """States of *root*, the first one first; those from which no end is reached are left out.

    Raises:
        TooManyStates: it is too large.
        OverBudget: it costs too much.
    """
    numbers = {root: 0}
    states: list[State] = []
    todo = [root]
    for item in todo:
        if item.is_plain:
            states.append(State(item.is_nullable, {}, None if item is algebra.empty else item))
            continue
        targets: dict[int, list[tuple[int, int]]] = {}
        for ranges, sample in _kinds(algebra, item):
            after = algebra.derivative(item, sample)
            if after is algebra.none:
                continue
            if after not in numbers:
                if len(todo) >= MAX_STATES:
                    raise TooManyStates
                numbers[after] = len(todo)
                todo.append(after)
            targets.setdefault(numbers[after], []).extend(ranges)
        states.append(State(item.is_nullable, {number: normal(ranges) for number, ranges in targets.items()}))
    return _trimmed(states)


def is_empty(algebra: Algebra, root: Regex) -> bool:
    """Whether no text is in *root*."""
    if root.is_plain or root.is_nullable:
        return root is algebra.none
    seen = {root}
    todo = [root]
    while todo:
        item = todo.pop()
        for _, sample in _kinds(algebra, item):
            after = algebra.derivative(item, sample)
            if after.is_nullable or (after.is_plain and after is not algebra.none):
                return False
            if after is not algebra.none and after not in seen:
                if len(seen) >= MAX_STATES:
                    raise TooManyStates
                seen.add(after)
                todo.append(after)
    return True


def _kinds(algebra: Algebra, root: Regex) -> list[tuple[Ranges, str]]:
    """Characters that *root* does not tell apart where it begins, with one of each kind."""
    firsts: set[Regex | str] = set()
    seen: set[Regex] = set()
    todo = [root]
    while todo:
        item = todo.pop()
        if item in seen:
            continue
        seen.add(item)
        if item.kind == "set":
            firsts.add(item)
        elif item.kind == "text":
            firsts.add(item.parts[0][0])
        elif item.kind == "step":
            firsts.update(item.parts[0].alphabet)
        elif item.kind == "seq":
            todo += item.parts if item.parts[0].is_nullable else item.parts[:1]
        else:
            todo += [part for part in item.parts if isinstance(part, Regex)]
    algebra.budget.spend(len(seen) // 16)
    key = frozenset(firsts)
    if key not in algebra.kinds:
        sets = [((ord(item), ord(item)),) if isinstance(item, str) else item.parts[0] for item in firsts]
        algebra.budget.spend(1 + sum(map(len, sets)) // 16)
        algebra.kinds[key] = _parted(sets)
    return algebra.kinds[key]


def _parted(sets: list[Ranges]) -> list[tuple[Ranges, str]]:
    """All characters, by which of *sets* they are in."""
    edges: dict[int, int] = {}
    for number, ranges in enumerate([CHARACTERS, *sets]):
        for low, high in ranges:
            for edge in (low, high + 1):
                edges[edge] = edges.get(edge, 0) ^ (1 << number)
    points = sorted(edges)
    found: dict[int, list[tuple[int, int]]] = {}
    inside = 0
    for low, behind in pairwise(points):
        inside ^= edges[low]
        if inside & 1:
            found.setdefault(inside, []).append((low, behind - 1))
    return [(tuple(ranges), chr(ranges[0][0])) for ranges in found.values()]


def _trimmed(states: list[State]) -> list[State]:
    before: list[list[int]] = [[] for _ in states]
    for number, state in enumerate(states):
        for target in state.onward:
            before[target].append(number)
    alive = {number for number, state in enumerate(states) if state.is_end or state.rest is not None}
    todo = list(alive)
    while todo:
        for number in before[todo.pop()]:
            if number not in alive:
                alive.add(number)
                todo.append(number)
    order = [number for number in range(len(states)) if number in alive or number == 0]
    renumbered = {number: at for at, number in enumerate(order)}
    return [
        State(
            states[number].is_end,
            {renumbered[t]: ranges for t, ranges in states[number].onward.items() if t in alive},
            states[number].rest,
        )
        for number in order
    ]
