"""A regular expression as an automaton of few states: for grammars that know neither `and` nor `not`."""

from __future__ import annotations

import msgspec

from .characters import Ranges, complement, has, normal, shared
from .regex import CHARACTERS, Algebra, Regex

MAX_STATES = 10_000


class TooManyStates(ValueError):
    """The automaton would have more than `MAX_STATES` states."""


class State(msgspec.Struct):
    """A state: whether the text may end in it, and the characters that lead on, by number of the next state."""

    is_end: bool
    onward: dict[int, Ranges]


def automaton(algebra: Algebra, root: Regex) -> list[State]:
    """States of *root*, the first one first; those from which no end is reached are left out.

    Raises:
        TooManyStates: it is too large.
        OverBudget: it costs too much.
    """
    blocks = _blocks(algebra, root)
    numbers = {root: 0}
    states: list[State] = []
    todo = [root]
    for item in todo:
        targets: dict[int, list[tuple[int, int]]] = {}
        for ranges, sample in blocks:
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
    blocks = _blocks(algebra, root)
    seen = {root}
    todo = [root]
    while todo:
        item = todo.pop()
        for _, sample in blocks:
            after = algebra.derivative(item, sample)
            if after.is_nullable or (after.is_plain and after is not algebra.none):
                return False
            if after is not algebra.none and after not in seen:
                if len(seen) >= MAX_STATES:
                    raise TooManyStates
                seen.add(after)
                todo.append(after)
    return True


def _blocks(algebra: Algebra, root: Regex) -> list[tuple[Ranges, str]]:
    """Characters that *root* does not tell apart, with one of each kind."""
    sets: dict[Ranges, None] = {}
    seen: set[Regex] = set()
    todo = [root]
    while todo:
        item = todo.pop()
        if item in seen:
            continue
        seen.add(item)
        if item.kind == "set":
            sets[item.parts[0]] = None
        elif item.kind == "text":
            sets.update({((ord(c), ord(c)),): None for c in item.parts[0]})
        elif item.kind == "step":
            sets.update({((ord(c), ord(c)),): None for c in item.parts[0].alphabet})
        else:
            todo += [part for part in item.parts if isinstance(part, Regex)]
    blocks: list[Ranges] = [CHARACTERS]
    for ranges in sorted(sets, key=len, reverse=True):
        if ranges == CHARACTERS:
            continue
        outside = complement(ranges)
        algebra.budget.spend(1 + len(blocks) * len(ranges) // 64)
        split = []
        for block in blocks:
            if len(ranges) == 1 and ranges[0][0] == ranges[0][1] and not has(block, ranges[0][0]):
                split.append(block)
                continue
            split += [part for part in (shared(block, ranges), shared(block, outside)) if part]
        blocks = split
    return [(block, chr(block[0][0])) for block in blocks]


def _trimmed(states: list[State]) -> list[State]:
    before: list[list[int]] = [[] for _ in states]
    for number, state in enumerate(states):
        for target in state.onward:
            before[target].append(number)
    alive = {number for number, state in enumerate(states) if state.is_end}
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
        )
        for number in order
    ]
