"""Regular expressions of JSON Schema's `pattern`, as GBNF.

The dialect is ECMA-262's without what a grammar cannot say: lookaround, references back, word boundaries,
and anchors inside. A pattern that is not anchored may match anywhere in the string.
"""

from __future__ import annotations

from .gbnf import Ranges, character_class, complement, normal

MAX_REPEATS = 1000
"""Repetitions that a pattern may count up to; llama.cpp refuses far larger ones, and each costs time."""

_DIGITS: Ranges = [(0x30, 0x39)]
_WORD: Ranges = [(0x30, 0x39), (0x41, 0x5A), (0x5F, 0x5F), (0x61, 0x7A)]
_SPACE: Ranges = [(9, 13), (32, 32), (160, 160), (0x1680, 0x1680), (0x2000, 0x200A), (0x2028, 0x2029), (0x202F, 0x202F)]
_SPACE += [(0x205F, 0x205F), (0x3000, 0x3000), (0xFEFF, 0xFEFF)]
_LINE_ENDS: Ranges = [(10, 10), (13, 13), (0x2028, 0x2029)]
_SETS = {"d": _DIGITS, "w": _WORD, "s": _SPACE}
_CONTROLS = {"t": 9, "n": 10, "v": 11, "f": 12, "r": 13, "0": 0}
_ANY = character_class([(0, 0x10FFFF)])


class UnsupportedPattern(ValueError):
    """The pattern is no regular expression, or none that a grammar can say."""


def pattern_rule(pattern: str) -> str:
    """A GBNF expression for the inside of a JSON string that *pattern* matches.

    Raises:
        UnsupportedPattern: it cannot be said.
    """
    parser = _Parser(pattern)
    expression = parser.alternatives(top=True)
    if not parser.is_at_end:
        raise UnsupportedPattern(f"unbalanced ')' at position {parser.at}")
    return expression


class _Parser:
    """Recursive descent over the pattern; each method returns GBNF for what it has read."""

    def __init__(self, pattern: str) -> None:
        self.pattern = pattern
        self.at = 0

    @property
    def is_at_end(self) -> bool:
        return self.at >= len(self.pattern)

    def alternatives(self, *, top: bool) -> str:
        found = [self.sequence(top=top)]
        while self.take("|"):
            found.append(self.sequence(top=top))
        return found[0] if len(found) == 1 else "(" + " | ".join(found) + ")"

    def sequence(self, *, top: bool) -> str:
        parts: list[str] = []
        starts = top and self.take("^")
        ends = False
        while not self.is_at_end and self.peek() not in "|)":
            if self.peek() == "$" and top and self.pattern[self.at + 1 : self.at + 2] in ("", "|"):
                self.at += 1
                ends = True
                break
            parts.append(self.quantified())
        if top and not starts:
            parts.insert(0, f"{_ANY}*")
        if top and not ends:
            parts.append(f"{_ANY}*")
        return " ".join(part for part in parts if part != '""') or '""'

    def quantified(self) -> str:
        atom = self.atom()
        while not self.is_at_end and self.peek() in "*+?{":
            symbol = self.next()
            if symbol == "{":
                symbol = self.counts()
            self.take("?")  # a lazy quantifier matches the same strings
            atom = '""' if symbol in ("{0}", "{0,0}") else f"({atom}){symbol}"  # not every engine takes such a count
        return atom

    def counts(self) -> str:
        end = self.pattern.find("}", self.at)
        low, comma, high = self.pattern[self.at : max(end, self.at)].partition(",")
        if end < 0 or not (low.isascii() and low.isdigit()) or (high and not (high.isascii() and high.isdigit())):
            raise UnsupportedPattern(f"not a count after '{{' at position {self.at - 1}")
        if int(low) > MAX_REPEATS or (high and int(high) > MAX_REPEATS):
            raise UnsupportedPattern(f"more than {MAX_REPEATS} repetitions")
        if high and int(high) < int(low):
            raise UnsupportedPattern(f"an empty count at position {self.at - 1}")
        self.at = end + 1
        return "{" + str(int(low)) + ("," + (str(int(high)) if high else "") if comma else "") + "}"

    def atom(self) -> str:
        character = self.next()
        if character == "(":
            return self.group()
        if character == "[":
            return character_class(self.checked(self.character_set()))
        if character == ".":
            return character_class(complement(_LINE_ENDS))
        if character == "\\":
            escaped = self.escape()
            return character_class(self.checked(normal(escaped)))
        if character in "^$":
            raise UnsupportedPattern(f"an anchor inside the pattern, at position {self.at - 1}")
        if character in "*+?{":
            raise UnsupportedPattern(f"nothing to repeat at position {self.at - 1}")
        return character_class(self.checked([(ord(character), ord(character))]))

    def group(self) -> str:
        if self.take("?") and not self.take(":"):
            raise UnsupportedPattern(f"a group that begins with '(?{self.peek()}', at position {self.at - 2}")
        inner = self.alternatives(top=False)
        if not self.take(")"):
            raise UnsupportedPattern("a '(' that is not closed")
        return f"({inner})"

    def character_set(self) -> Ranges:
        is_negated = self.take("^")
        ranges: Ranges = []
        while not self.take("]"):
            low = self.member()
            if self.peek() == "-" and self.pattern[self.at + 1 : self.at + 2] not in ("]", ""):
                self.at += 1
                high = self.member()
                if len(low) != 1 or len(high) != 1 or low[0][0] != low[0][1] or low[0][0] > high[0][1]:
                    raise UnsupportedPattern(f"not a range before position {self.at}")
                low = [(low[0][0], high[0][1])]
            ranges += low
        return complement(ranges) if is_negated else normal(ranges)

    def member(self) -> Ranges:
        character = self.next()
        if character == "\\":
            return [(8, 8)] if self.take("b") else self.escape()
        return [(ord(character), ord(character))]

    def escape(self) -> Ranges:
        character = self.next()
        if character.lower() in _SETS:
            ranges = _SETS[character.lower()]
            return complement(ranges) if character.isupper() else ranges
        if character in _CONTROLS:
            point = _CONTROLS[character]
        elif character == "x":
            point = self.hexadecimal(2)
        elif character == "u":
            point = self.hexadecimal(4)
        elif character.isalnum():
            raise UnsupportedPattern(f"'\\{character}' at position {self.at - 2}")
        else:
            point = ord(character)
        return [(point, point)]

    def hexadecimal(self, digits: int) -> int:
        text = self.pattern[self.at : self.at + digits]
        self.at += digits
        try:
            return int(text, 16)
        except ValueError as error:
            raise UnsupportedPattern(f"not hexadecimal: '{text}'") from error

    def checked(self, ranges: Ranges) -> Ranges:
        if character_class(ranges) == "()":
            raise UnsupportedPattern(f"a set without characters that JSON text can hold, before position {self.at}")
        return ranges

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
