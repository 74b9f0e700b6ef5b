"""Regular expressions of JSON Schema's `pattern`, read as ECMA-262 has them, as languages of whole strings.

A pattern that is not anchored may match anywhere in the string. What stands for a place (anchors, word boundaries,
lookahead) is said by what may follow there, so it may stand anywhere but inside a repetition.
"""

from __future__ import annotations

from typing import NamedTuple

from . import characters
from .characters import Ranges, complement, normal
from .regex import Algebra, Regex

MAX_REPEATS = 10_000
"""Repetitions that a pattern may count up to."""
MAX_PATTERN = 20_000
"""Characters of a pattern."""

_CATEGORY_STEPS = 1000  # what going through all characters costs, the first time

_DIGITS: Ranges = ((0x30, 0x39),)
_WORD: Ranges = ((0x30, 0x39), (0x41, 0x5A), (0x5F, 0x5F), (0x61, 0x7A))
_SPACE = normal(
    [
        *((9, 13), (32, 32), (160, 160), (0x1680, 0x1680), (0x2000, 0x200A), (0x2028, 0x2029), (0x202F, 0x202F)),
        *((0x205F, 0x205F), (0x3000, 0x3000), (0xFEFF, 0xFEFF)),
    ]
)
_LINE_ENDS: Ranges = ((10, 10), (13, 13), (0x2028, 0x2029))
_SETS = {"d": _DIGITS, "w": _WORD, "s": _SPACE}
_CONTROLS = {"t": 9, "n": 10, "v": 11, "f": 12, "r": 13}
_CATEGORIES = {
    "letter": "L",
    "uppercase_letter": "Lu",
    "lowercase_letter": "Ll",
    "mark": "M",
    "number": "N",
    "decimal_number": "Nd",
    "digit": "Nd",
    "punctuation": "P",
    "symbol": "S",
    "separator": "Z",
    "space_separator": "Zs",
}


class UnsupportedPattern(ValueError):
    """The pattern is no regular expression, or none that a grammar can say."""


class _Place(NamedTuple):
    """A condition on the place between two characters: `^`, `$`, `b` (a boundary of words), `?` (lookahead)."""

    kind: str
    is_negated: bool = False
    options: _Options = []


class _Group(NamedTuple):
    """Alternatives with places in them; *may_miss*: or nothing."""

    options: _Options
    may_miss: bool = False


_Item = Regex | _Place | _Group
_Options = list[list[_Item]]


class _Before(NamedTuple):
    """What stands before a place."""

    is_start: bool
    is_word: bool


def pattern_language(algebra: Algebra, pattern: str) -> Regex:
    """The strings that *pattern* matches.

    Raises:
        UnsupportedPattern: it cannot be said.
    """
    if len(pattern) > MAX_PATTERN:
        raise UnsupportedPattern(f"it has more than {MAX_PATTERN} characters")
    parser = _Parser(algebra, pattern)
    options = parser.alternatives()
    if not parser.is_at_end:
        raise UnsupportedPattern(f"unbalanced ')' at position {parser.at}")
    found = _Meaning(algebra)
    anywhere: _Item = algebra.all
    return algebra.either([found.of([anywhere, *items], algebra.all, _Before(True, False)) for items in options])


class _Meaning:
    """What sequences with places in them match."""

    def __init__(self, algebra: Algebra) -> None:
        self.algebra = algebra
        self.word = algebra.set(_WORD)
        self.ends_in_word = algebra.seq(algebra.all, self.word)

    def of(self, items: list[_Item], rest: Regex, before: _Before) -> Regex:
        """Texts from a place on, which *items* match and *rest* follows."""
        algebra = self.algebra
        if not items:
            return rest
        item, after = items[0], items[1:]
        if isinstance(item, Regex):
            return self._consumed(item, after, rest, before)
        algebra.budget.spend(len(items))
        if isinstance(item, _Group):
            options = [*item.options, []] if item.may_miss else item.options
            return algebra.either([self.of([*option, *after], rest, before) for option in options])
        if item.kind == "^":
            return self.of(after, rest, before) if before.is_start else algebra.none
        onward = self.of(after, rest, before)
        if item.kind == "$":
            return algebra.empty if onward.is_nullable else algebra.none
        if item.kind == "b":
            starts_word = algebra.seq(self.word, algebra.all)
            needs_word = before.is_word == item.is_negated
            return algebra.both(onward, starts_word if needs_word else algebra.negated(starts_word))
        ahead = algebra.either([self.of(option, algebra.all, before) for option in item.options])
        return algebra.both(onward, algebra.negated(ahead) if item.is_negated else ahead)

    def _consumed(self, item: Regex, after: list[_Item], rest: Regex, before: _Before) -> Regex:
        if item is self.algebra.empty:
            return self.of(after, rest, before)
        if _looks_back(after):
            return self._split(item, after, rest, before)
        return self.algebra.seq(item, self.of(after, rest, before))

    def _split(self, item: Regex, after: list[_Item], rest: Regex, before: _Before) -> Regex:
        """*item* by what it leaves behind: nothing, a character of a word, or another one."""
        algebra = self.algebra
        options = []
        if item.is_nullable:
            options.append(self.of(after, rest, before))
        if item is not algebra.empty:
            some = algebra.both(item, algebra.seq(algebra.any, algebra.all)) if item.is_nullable else item
            for is_word in (True, False):
                ending = self.ends_in_word if is_word else algebra.negated(self.ends_in_word)
                part = algebra.both(some, ending)
                if part is not algebra.none:
                    options.append(algebra.seq(part, self.of(after, rest, _Before(False, is_word))))
        return algebra.either(options)


def _looks_back(items: list[_Item]) -> bool:
    """Whether a place that asks for what stands before it can come at the beginning of *items*."""
    for item in items:
        if isinstance(item, Regex):
            if not item.is_nullable:
                return False
        elif isinstance(item, _Group) or item.kind == "?":
            if any(_looks_back(option) for option in item.options):
                return True
        elif item.kind != "$":
            return True
    return False


class _Parser:
    """Recursive descent over the pattern."""

    def __init__(self, algebra: Algebra, pattern: str) -> None:
        self.algebra = algebra
        self.pattern = pattern
        self.at = 0

    @property
    def is_at_end(self) -> bool:
        return self.at >= len(self.pattern)

    def alternatives(self) -> _Options:
        found = [self.sequence()]
        while self.take("|"):
            found.append(self.sequence())
        return found

    def sequence(self) -> list[_Item]:
        items: list[_Item] = []
        plain: list[str] = []

        def flush() -> None:
            if plain:
                items.append(self.algebra.text("".join(plain)))
                plain.clear()

        while not self.is_at_end and self.peek() not in "|)":
            character = self.peek()
            follows = self.pattern[self.at + 1 : self.at + 2]
            if character not in "^$.[(\\*+?{" and (not follows or follows not in "*+?{"):
                plain.append(self.next())
                continue
            flush()
            items.append(self.quantified())
        flush()
        return items

    def quantified(self) -> _Item:
        item = self.atom()
        while not self.is_at_end and self.peek() in "*+?{":
            counts = self.counts()
            if counts is None:
                break
            self.take("?")  # a lazy quantifier matches the same strings
            low, high = counts
            if isinstance(item, Regex):
                item = self.algebra.many(item, low, high)
            elif isinstance(item, _Group) and (low, high) in ((0, 1), (1, 1)):
                item = _Group(item.options, item.may_miss or low == 0)
            else:
                raise UnsupportedPattern(f"a repeated anchor, before position {self.at}")
        return item

    def counts(self) -> tuple[int, int | None] | None:
        """What the quantifier here says; None if the brace stands for itself."""
        symbol = self.peek()
        if symbol != "{":
            self.at += 1
            return {"*": (0, None), "+": (1, None), "?": (0, 1)}[symbol]
        end = self.pattern.find("}", self.at)
        low, comma, high = self.pattern[self.at + 1 : max(end, self.at)].partition(",")
        if end < 0 or not (low.isascii() and low.isdigit()) or (high and not (high.isascii() and high.isdigit())):
            return None
        if len(low) > 9 or len(high) > 9 or int(low) > MAX_REPEATS or (high and int(high) > MAX_REPEATS):
            raise UnsupportedPattern(f"more than {MAX_REPEATS} repetitions")
        if high and int(high) < int(low):
            raise UnsupportedPattern(f"an empty count at position {self.at}")
        self.at = end + 1
        return int(low), (int(high) if high else None) if comma else int(low)

    def atom(self) -> _Item:
        character = self.next()
        if character == "(":
            return self.group()
        if character == "[":
            return self.algebra.set(self.character_set())
        if character == ".":
            return self.algebra.set(complement(_LINE_ENDS))
        if character in "^$":
            return _Place(character)
        if character == "\\":
            if self.peek() in ("b", "B"):
                return _Place("b", self.next() == "B")
            return self.algebra.set(normal(self.escape()))
        if character in "*+?":
            raise UnsupportedPattern(f"nothing to repeat at position {self.at - 1}")
        return self.algebra.text(character)

    def group(self) -> _Item:
        is_ahead = is_negated = False
        if self.take("?"):
            if self.peek() in ("=", "!"):
                is_ahead, is_negated = True, self.next() == "!"
            elif not self.take(":"):
                self.take("P")
                if not self.take("<") or self.peek() in ("=", "!", ""):
                    raise UnsupportedPattern(f"a group that begins with '(?{self.peek()}', at position {self.at - 2}")
                end = self.pattern.find(">", self.at)
                if not self.pattern[self.at : max(end, self.at)].isidentifier():
                    raise UnsupportedPattern(f"a group without a name at position {self.at}")
                self.at = end + 1
        options = self.alternatives()
        if not self.take(")"):
            raise UnsupportedPattern("a '(' that is not closed")
        if is_ahead:
            return _Place("?", is_negated, options)
        if any(not isinstance(item, Regex) for option in options for item in option):
            return _Group(options)
        return self.algebra.either(
            [self.algebra.seq(*(item for item in option if isinstance(item, Regex))) for option in options]
        )

    def character_set(self) -> Ranges:
        is_negated = self.take("^")
        ranges: list[tuple[int, int]] = []
        while not self.take("]"):
            low = self.member()
            if self.peek() == "-" and self.pattern[self.at + 1 : self.at + 2] not in ("]", ""):
                self.at += 1
                high = self.member()
                if _is_one(low) and _is_one(high):
                    if low[0][0] > high[0][0]:
                        raise UnsupportedPattern(f"not a range before position {self.at}")
                    low = ((low[0][0], high[0][0]),)
                else:  # beside a class the hyphen is itself
                    low = (*low, *high, (0x2D, 0x2D))
            ranges += low
        return complement(ranges) if is_negated else normal(ranges)

    def member(self) -> Ranges:
        character = self.next()
        if character == "\\":
            return ((8, 8),) if self.take("b") else self.escape()
        return ((ord(character), ord(character)),)

    def escape(self) -> Ranges:
        character = self.next()
        if character in "dwsDWS":
            ranges = _SETS[character.lower()]
            return complement(ranges) if character.isupper() else ranges
        if character in "pP":
            return self.category(is_negated=character == "P")
        if character in _CONTROLS:
            point = _CONTROLS[character]
        elif character == "0" and not self.peek().isdigit():
            point = 0
        elif character == "c" and self.peek().isascii() and self.peek().isalpha():
            point = ord(self.next()) % 32
        elif character == "x":
            point = self.hexadecimal(2)
        elif character == "u":
            point = self.code_point()
        elif character.isalnum():
            raise UnsupportedPattern(f"'\\{character}' at position {self.at - 2}")
        else:
            point = ord(character)
        return ((point, point),)

    def category(self, *, is_negated: bool) -> Ranges:
        end = self.pattern.find("}", self.at)
        if not self.take("{") or end < 0:
            raise UnsupportedPattern(f"no category at position {self.at}")
        name = self.pattern[self.at : end].rpartition("=")[2]
        self.at = end + 1
        short = _CATEGORIES.get(name.lower(), name)
        self.algebra.budget.spend(_CATEGORY_STEPS)
        ranges = characters.of_category(short) if len(short) <= 2 and short.isalpha() else ()
        if not ranges:
            raise UnsupportedPattern(f"the property '{name}'")
        return complement(ranges) if is_negated else ranges

    def code_point(self) -> int:
        if self.take("{"):
            end = self.pattern.find("}", self.at)
            point = self.hexadecimal(max(end - self.at, 0))
            self.at += 1
            if end < 0 or point > characters.MAX_CODE_POINT:
                raise UnsupportedPattern(f"no character before position {self.at}")
            return point
        point = self.hexadecimal(4)
        if 0xD800 <= point < 0xDC00 and self.pattern[self.at : self.at + 2] == "\\u":
            self.at += 2
            low = self.hexadecimal(4)
            return 0x10000 + ((point - 0xD800) << 10) + (low - 0xDC00)
        return point

    def hexadecimal(self, digits: int) -> int:
        text = self.pattern[self.at : self.at + digits]
        self.at += digits
        if len(text) != digits or not text.isalnum() or not text.isascii():
            raise UnsupportedPattern(f"not hexadecimal: '{text}'")
        try:
            return int(text, 16)
        except ValueError as error:
            raise UnsupportedPattern(f"not hexadecimal: '{text}'") from error

    def peek(self) -> str:
        return self.pattern[self.at : self.at + 1]

    def next(self) -> str:
        if self.is_at_end:
            raise UnsupportedPattern("it ends too early")
        self.at += 1
        return self.pattern[self.at - 1]

    def take(self, text: str) -> bool:
        found = self.peek() == text
        self.at += found
        return found


def _is_one(ranges: Ranges) -> bool:
    return len(ranges) == 1 and ranges[0][0] == ranges[0][1]
