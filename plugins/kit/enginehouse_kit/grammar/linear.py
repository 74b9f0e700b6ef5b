"""GBNF as xgrammar follows it fast: what is repeated is written together with what follows it.

xgrammar judges the tokens for each place of a rule once, when it compiles; those that read on beyond the rule it judges
anew at each step. A rule for one character of a string, as it is or as an escape, ends behind that character: nearly
all tokens read on, and a string of up to 200 characters takes 100 to 600 ms of a processor for each token (of 49,152;
seen in 0.2.8). Here a rule says one character and then, by the name of the next rule, all that follows up to the end of
the text: 0.1 ms a token, for 7 ms a place when it is compiled. xgrammar keeps what it has judged of a rule for all
grammars that have the same one.

Places are counted so up to `DEEP`. A longer text goes on in blocks of `BLOCK` places that all share. At the end of a
block tokens read on, too, but most of them are among those of the other way, that the text ends within `DEEP` places:
xgrammar skips these. So every longer text costs the same to compile, and on the average 1.5 ms a token.

The texts are the same as in the other form.
"""

from __future__ import annotations

from collections.abc import Hashable

from .form import Grammar
from .gbnf import Printer
from .lengths import places
from .regex import Regex

DEEP = 128
BLOCK = 64
_MOST_PLACES = 3000
"""Characters of all copies of one repetition; what has more is written as a rule that is repeated."""


class LinearPrinter(Printer):
    """Writes a grammar for xgrammar."""

    def __init__(self, grammar: Grammar) -> None:
        super().__init__(grammar)
        self._names: dict[Hashable, str] = {}
        """Of rules, by what they say."""

    def regex(self, regex: Regex) -> str:
        """What stands for *regex* in a rule."""
        return self._named(regex, "") if _repeats(regex) else super().regex(regex)

    def _named(self, regex: Regex, rest: str) -> str:
        """A rule for *regex* and then *rest*."""
        if (regex, rest) not in self._names:
            self._names[regex, rest] = self._rule(" | ".join(self._ways(regex, rest)))
        return self._names[regex, rest]

    def _ways(self, regex: Regex, rest: str) -> list[str]:
        """The alternatives of *regex*, each and then *rest*."""
        kind, parts = regex.kind, regex.parts
        if kind == "or":
            return [way for part in parts for way in self._ways(part, rest)]
        if kind == "seq":
            return self._ways(parts[0], self._then(parts[1], rest))
        if kind == "many" and parts[0].kind != "set":
            return [self._repeated(regex, rest)]
        return [_series(self._plain(regex), rest)]

    def _then(self, regex: Regex, rest: str) -> str:
        """*regex* and then *rest*, without alternatives."""
        if regex.kind == "seq" and regex.parts[0].kind in ("set", "text"):
            return _series(self._plain(regex.parts[0]), self._then(regex.parts[1], rest))
        return _series(self._plain(regex), rest) if regex.kind in ("set", "text") else self._named(regex, rest)

    def _repeated(self, regex: Regex, rest: str) -> str:
        """*regex*, which is many of something, and then *rest*."""
        item, low, high = regex.parts
        copies = min(max(low, high or 0), DEEP + BLOCK) + 1
        if item.is_nullable or copies * places(item) > _MOST_PLACES:
            return _series(self._times(self._rule(self.regex(item)), low, high), rest)
        if high is None:
            rest = self._endless(item, rest)
        elif high > low:
            rest = self._up_to_and(item, high - low, rest)
        return self._exactly(item, low, rest)

    def _endless(self, item: Regex, rest: str) -> str:
        key = item, "endless", rest
        if key not in self._names:
            name = self._names[key] = f"e{len(self._names)}"
            self._write(name, " | ".join([rest or '""', *self._ways(item, name)]))
        return self._names[key]

    def _up_to_and(self, item: Regex, most: int, rest: str) -> str:
        """Up to *most* of *item*, and then *rest*."""
        if most <= DEEP:
            return self._chain(item, most, rest, ends=True)
        ends, block = self._up_to_and(item, DEEP, rest), self._exactly(item, BLOCK, "")
        blocks = -(-(most - DEEP) // BLOCK)
        found = self._up_to_and(item, most - blocks * BLOCK, rest)
        for number in range(1, blocks + 1):
            key = item, most - blocks * BLOCK, "blocks", number, rest
            if key not in self._names:
                self._names[key] = self._rule(f"{ends} | {block} {found}")
            found = self._names[key]
        return found

    def _exactly(self, item: Regex, count: int, rest: str) -> str:
        """*count* of *item*, and then *rest*."""
        blocks = max(count - DEEP, 0) // BLOCK
        found = self._chain(item, count - blocks * BLOCK, rest, ends=False)
        return " ".join([*[self._chain(item, BLOCK, "", ends=False)] * blocks, found]) if blocks else found

    def _chain(self, item: Regex, count: int, rest: str, *, ends: bool) -> str:
        """A rule for each of *count* of *item*, and then *rest*; if it *ends*, that may stand behind fewer, too."""
        if (item, count, rest, ends) in self._names:
            return self._names[item, count, rest, ends]
        found = rest
        for number in range(1, count + 1):
            key = item, number, rest, ends
            if key not in self._names:
                self._names[key] = self._rule(" | ".join([rest or '""'] * ends + self._ways(item, found)))
            found = self._names[key]
        return found


def _series(first: str, rest: str) -> str:
    return f"{first} {rest}" if rest else first


def _repeats(regex: Regex) -> bool:
    """Whether *regex*, without steps, repeats more than one character."""
    todo, seen = [regex], {regex}
    while todo:
        item = todo.pop()
        if not item.is_plain:
            return False
        if item.kind == "many" and item.parts[0].kind != "set":
            return True
        inside = {part for part in item.parts if isinstance(part, Regex)} - seen
        seen |= inside
        todo += inside
    return False
