"""Regular languages as expressions that are closed under `and` and `not`, followed by derivatives.

An expression is made by an `Algebra`, which makes equal ones once, so that they are compared and remembered by
identity. The derivative of a language by a character is what may follow that character (Brzozowski 1964).
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any, Literal

import msgspec

from . import characters
from .characters import Ranges
from .limits import Budget

Kind = Literal["none", "empty", "set", "text", "seq", "or", "and", "not", "many", "step"]

CHARACTERS: Ranges = characters.normal([(8, 10), (12, 13), (0x20, characters.MAX_CODE_POINT)])
"""What JSON text holds in the one spelling that a grammar gives it: control characters with a short escape alone."""


_UNSAID = re.compile("[\x00-\x07\x0b\x0e-\x1f\ud800-\udfff]")  # no character of `CHARACTERS`


class Regex(msgspec.Struct, eq=False, gc=False):
    """One expression; *parts* depend on *kind*. Lengths are in characters; `longest` None is without bound.

    Nothing in it leads back to it: thousands are no work for the collector of cycles, which stops all threads.
    """

    identity: int
    kind: Kind
    parts: tuple[Any, ...]  # Any: expressions, or ranges, a text, counts
    is_nullable: bool
    shortest: int
    longest: int | None
    is_plain: bool
    """Without `and`, `not` and steps, so that any grammar can say it as it is."""

    def in_order(self) -> list[Regex]:
        """What stands one behind the other in it: of anything but a `seq` that itself."""
        items: list[Regex] = []
        rest = self
        while rest.kind == "seq":
            items.append(rest.parts[0])
            rest = rest.parts[1]
        return [*items, rest]


class Steps(ABC):
    """A language given by a function from state to state; see `Algebra.steps`."""

    @abstractmethod
    def start(self) -> Any:  # Any: a state, of the language's own kind
        """The first state."""

    @abstractmethod
    def next(self, state: Any, character: str) -> Any | None:
        """The state behind *character*; None where it cannot stand."""

    @abstractmethod
    def is_end(self, state: Any) -> bool:
        """Whether the text may end here."""

    alphabet: str = ""


class Algebra:
    """Makes expressions."""

    def __init__(self, budget: Budget) -> None:
        self.budget = budget
        self._known: dict[tuple[Any, ...], Regex] = {}
        self._derivatives: dict[tuple[int, str], Regex] = {}
        self.kinds: dict[frozenset[Regex | str], list[tuple[Ranges, str]]] = {}
        """What an automaton has found characters to be told apart by."""
        self.none = self._make("none", (), (False, 0, 0, True))
        self.empty = self._make("empty", (), (True, 0, 0, True))
        self.any = self.set(CHARACTERS)
        self.all = self.many(self.any, 0, None)

    def _make(self, kind: Kind, parts: tuple[Any, ...], facts: tuple[bool, int, int | None, bool]) -> Regex:
        key = (kind, *(part.identity if isinstance(part, Regex) else part for part in parts))
        found = self._known.get(key)
        if found is None:
            self.budget.spend()
            found = self._known[key] = Regex(len(self._known), kind, parts, *facts)
        return found

    # ---- making ----

    def set(self, ranges: Iterable[tuple[int, int]]) -> Regex:
        """One character of *ranges*."""
        found = characters.shared(characters.normal(ranges), CHARACTERS)
        if len(found) > 8:
            self.budget.spend(len(found) // 8)
        return self._make("set", (found,), (False, 1, 1, True)) if found else self.none

    def text(self, text: str) -> Regex:
        """Exactly *text*."""
        if not text:
            return self.empty
        if len(text) == 1:
            return self.set([(ord(text), ord(text))])
        if _UNSAID.search(text):
            return self.none
        self.budget.spend(len(text) // 16)
        return self._make("text", (text,), (False, len(text), len(text), True))

    def seq(self, *items: Regex) -> Regex:
        """One of each, in order."""
        found = self.empty
        for item in reversed(items):
            found = self._pair(item, found)
        return found

    def _pair(self, first: Regex, rest: Regex) -> Regex:
        if first is self.none or rest is self.none:
            return self.none
        if first is self.empty:
            return rest
        if rest is self.empty:
            return first
        if first.kind == "seq":
            return self._pair(first.parts[0], self._pair(first.parts[1], rest))
        longest = None if first.longest is None or rest.longest is None else first.longest + rest.longest
        facts = (
            first.is_nullable and rest.is_nullable,
            first.shortest + rest.shortest,
            longest,
            first.is_plain and rest.is_plain,
        )
        return self._make("seq", (first, rest), facts)

    def many(self, item: Regex, low: int, high: int | None) -> Regex:
        """*low* to *high* of *item*, None: without bound."""
        if high is not None and high < low:
            return self.none
        if item is self.empty or high == 0 or (item is self.none and low == 0):
            return self.empty
        if item is self.none:
            return self.none
        if item.is_nullable:
            low = 0
        if (low, high) == (1, 1):
            return item
        if item.kind == "many" and low in (0, 1) and high is None and item.parts[1] <= 1 and item.parts[2] is None:
            item, low = item.parts[0], min(low, item.parts[1])
        elif item.kind == "many" and item.parts[1] == 0 and None not in (high, item.parts[2]):
            item, high = item.parts[0], high * item.parts[2]  # as one count: engines try each way to share it out
        longest = None if high is None or item.longest is None else high * item.longest
        return self._make("many", (item, low, high), (low == 0, low * item.shortest, longest, item.is_plain))

    def either(self, options: Iterable[Regex]) -> Regex:
        """One of *options*."""
        found: dict[Regex, None] = {}
        todo = list(options)
        self.budget.spend(len(todo) // 4)
        if len(todo) == 1:
            return todo[0]
        sets: list[tuple[int, int]] = []
        while todo:
            option = todo.pop(0) if len(todo) < 8 else todo.pop()
            if option.kind == "or":
                self.budget.spend(len(option.parts) // 4)
                todo += option.parts
            elif option.kind == "set":
                sets += option.parts[0]
            elif option is self.all:
                return self.all
            elif option is not self.none:
                found[option] = None
        if sets:
            found[self.set(sets)] = None
        if self.empty in found and any(option.is_nullable for option in found if option is not self.empty):
            del found[self.empty]
        return self._or(self._joined_counts(list(found)))

    def _or(self, options: list[Regex]) -> Regex:
        if not options:
            return self.none
        if len(options) == 1:
            return options[0]
        options.sort(key=lambda option: option.identity)
        longest = None
        if all(option.longest is not None for option in options):
            longest = max(option.longest or 0 for option in options)
        facts = (
            any(option.is_nullable for option in options),
            min(option.shortest for option in options),
            longest,
            all(option.is_plain for option in options),
        )
        return self._make("or", tuple(options), facts)

    def _joined_counts(self, options: list[Regex]) -> list[Regex]:
        """Of counts of the same item whose ranges overlap, the joined one: a derivative makes many of them."""
        counts: dict[Regex, list[tuple[int, int | None]]] = {}
        for option in options:
            if option.kind == "many":
                counts.setdefault(option.parts[0], []).append((option.parts[1], option.parts[2]))
        if all(len(ranges) == 1 for ranges in counts.values()):
            return options
        out = [option for option in options if option.kind != "many"]
        for item, ranges in counts.items():
            ranges.sort(key=lambda pair: pair[0])
            low, high = ranges[0]
            for next_low, next_high in ranges[1:]:
                if high is None or next_low <= high + 1:
                    high = None if high is None or next_high is None else max(high, next_high)
                else:
                    out.append(self.many(item, low, high))
                    low, high = next_low, next_high
            out.append(self.many(item, low, high))
        return list(dict.fromkeys(out))

    def both(self, *items: Regex) -> Regex:
        """What is in all of *items*."""
        found: dict[Regex, None] = {}
        todo = list(items)
        self.budget.spend(len(todo) // 2)
        ranges: Ranges | None = None
        low, high = 0, None  # of lengths alone
        while todo:
            item = todo.pop(0)
            if item.kind == "and":
                todo += item.parts
            elif item is self.none:
                return self.none
            elif item.kind == "set":
                ranges = item.parts[0] if ranges is None else characters.shared(ranges, item.parts[0])
            elif item.kind == "many" and item.parts[0] is self.any:
                low = max(low, item.parts[1])
                high = item.parts[2] if high is None or (item.parts[2] or high) < high else high
            else:
                found[item] = None
        if high is not None and high < low:
            return self.none
        if ranges is not None:
            found[self.set(ranges)] = None
        return self._and(list(found), low, high)

    def _and(self, items: list[Regex], low: int, high: int | None) -> Regex:
        lengths = self.many(self.any, low, high)
        if not items:
            return lengths
        for at, item in enumerate(items):
            held = self.held(item, low, high)
            if held is not None:
                items[at] = held
                break
        else:
            items.append(lengths)
        if self.none in items:
            return self.none
        if self.empty in items:
            return self.empty if all(item.is_nullable for item in items) else self.none
        if any(item.kind == "not" and item.parts[0] in items for item in items):
            return self.none
        items = list(dict.fromkeys(items))
        if len(items) == 1:
            return items[0]
        shortest = max(item.shortest for item in items)
        longest = min((item.longest for item in items if item.longest is not None), default=None)
        if longest is not None and longest < shortest:
            return self.none
        items.sort(key=lambda item: item.identity)
        return self._make("and", tuple(items), (all(i.is_nullable for i in items), shortest, longest, False))

    def held(self, item: Regex, low: int, high: int | None) -> Regex | None:
        """*item*, its lengths held between *low* and *high*, if that is said by counts inside it."""
        if item.kind == "not":
            return item if (low, high) == (0, None) else None
        if item.shortest >= low and (high is None or (item.longest is not None and item.longest <= high)):
            return item
        if (high is not None and item.shortest > high) or (item.longest is not None and item.longest < low):
            return self.none
        parts = item.in_order()
        open_at = [at for at, part in enumerate(parts) if part.shortest != part.longest]
        if len(open_at) != 1 or parts[open_at[0]].kind != "many":
            return None
        one, least, most = parts[open_at[0]].parts
        if (one.shortest, one.longest) != (1, 1):
            return None
        fixed = sum(part.shortest for at, part in enumerate(parts) if at != open_at[0])
        least = max(least, low - fixed)
        if high is not None:
            most = high - fixed if most is None else min(most, high - fixed)
        parts[open_at[0]] = self.many(one, least, most)
        return self.seq(*parts)

    def negated(self, item: Regex) -> Regex:
        """Texts of `CHARACTERS` that are not in *item*."""
        if item.kind == "not":
            found: Regex = item.parts[0]
            return found
        if item is self.none:
            return self.all
        if item is self.all:
            return self.none
        return self._make("not", (item,), (not item.is_nullable, 1 if item.is_nullable else 0, None, False))

    def steps(self, language: Steps, state: Any = None) -> Regex:  # Any: a state of *language*
        """What *language* takes from *state* on; from its start if None."""
        state = language.start() if state is None else state
        return self._make("step", (language, state), (language.is_end(state), 0, None, False))

    def forget(self) -> None:
        """Forget derivatives, which are made again when they are needed."""
        self._derivatives.clear()
        self.kinds.clear()

    # ---- asking ----

    def derivative(self, item: Regex, character: str) -> Regex:
        """What may follow *character* in *item*."""
        kind = item.kind
        if kind == "set":
            return self.empty if characters.has(item.parts[0], ord(character)) else self.none
        if kind == "text":
            text = item.parts[0]
            return self.text(text[1:]) if text[0] == character else self.none
        if kind in ("none", "empty"):
            return self.none
        key = (item.identity, character)
        found = self._derivatives.get(key)
        if found is None:
            self.budget.spend()
            found = self._derivatives[key] = self._derived(item, character)
        return found

    def _derived(self, item: Regex, character: str) -> Regex:
        kind, parts = item.kind, item.parts
        if kind == "seq":
            first = self._pair(self.derivative(parts[0], character), parts[1])
            return self.either((first, self.derivative(parts[1], character))) if parts[0].is_nullable else first
        if kind == "many":
            one, low, high = parts
            rest = self.many(one, max(low - 1, 0), None if high is None else high - 1)
            return self._pair(self.derivative(one, character), rest)
        if kind == "or":
            return self.either([self.derivative(part, character) for part in parts])
        if kind == "and":
            return self.both(*(self.derivative(part, character) for part in parts))
        if kind == "not":
            return self.negated(self.derivative(parts[0], character))
        language, state = parts
        after = language.next(state, character)
        return self.none if after is None else self.steps(language, after)

    def matches(self, item: Regex, text: str) -> bool:
        """Whether *text* is in *item*."""
        if _UNSAID.search(text):
            return False
        if item is self.all:
            return True
        self.budget.spend(len(text) // 8)
        for character in text:
            item = self.derivative(item, character)
            if item is self.none:
                return False
        return item.is_nullable
