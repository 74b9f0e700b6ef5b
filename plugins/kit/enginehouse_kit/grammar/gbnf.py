"""GBNF, the notation that llama.cpp and xgrammar read, of a grammar's form.

What either engine reads wrongly is not written: counts from 2000 on, which llama.cpp takes for none; `\\x5F`, of which
xgrammar reads all digits that follow; counts of none.
"""

from __future__ import annotations

from collections.abc import Callable

from .characters import Ranges
from .form import Either, Grammar, Literal, Many, Node, Regular, Rule, Series
from .limits import OverBudget
from .regex import Regex
from .spelling import Spelling

MAX_COUNT = 1999
"""Largest count that llama.cpp unrolls (seen in build 11549)."""
MAX_BYTES = 2_000_000
"""Size of a grammar's text."""
_MANY_RANGES = 12


def gbnf(grammar: Grammar, start: Node | None = None) -> str:
    """The text of *grammar*, from *start* on if it is given.

    Raises:
        OverBudget: it would be too large.
    """
    return Printer(grammar).written(start)


class Printer:
    """Writes the rules of a grammar."""

    def __init__(self, grammar: Grammar) -> None:
        self._grammar = grammar
        self._regexes: dict[Regex, str] = {}
        self._quoted: dict[Regex, str] = {}
        self._classes: dict[Ranges, str] = {}
        self._counts: dict[tuple[str, int], str] = {}
        self._size = 0
        self.lines: list[str] = []

    def written(self, start: Node | None = None) -> str:
        """All of it, from *start* on if it is given.

        Raises:
            OverBudget: it would be too large.
        """
        lines = [f"root ::= {self.node(self._grammar.root if start is None else start)}\n"]
        lines += [f"{name} ::= {self.node(node)}\n" for name, node in self._grammar.rules.items()]
        text = "".join([*lines, *self.lines])
        if len(text) > MAX_BYTES:
            raise OverBudget
        return text

    def node(self, node: Node) -> str:
        """What stands for *node* in a rule."""
        if isinstance(node, Literal):
            return literal(node.text)
        if isinstance(node, Rule):
            return node.name
        if isinstance(node, Regular):
            return self.regex(node.regex) if node.strings is None else self._strings(node.strings)
        if isinstance(node, Series):
            return " ".join(self._inside(item) for item in node.items) or '""'
        if isinstance(node, Either):
            return " | ".join(self.node(option) for option in node.options) or '""'
        if isinstance(node, Many):
            return self._times(self._atom(node.item), node.low, node.high)
        raise TypeError(node)

    def _inside(self, node: Node) -> str:
        return f"({self.node(node)})" if isinstance(node, Either) else self.node(node)

    def _atom(self, node: Node) -> str:
        return node.name if isinstance(node, Rule) else self._rule(self.node(node))

    def _rule(self, body: str) -> str:
        """Name of a rule for *body*."""
        name = f"x{len(self.lines)}"
        self._write(name, body)
        return name

    def _write(self, name: str, body: str) -> None:
        self._size += len(body)
        if self._size > MAX_BYTES:
            raise OverBudget
        self.lines.append(f"{name} ::= {body}\n")

    def _times(self, item: str, low: int, high: int | None) -> str:
        """*item*, a rule or a set, *low* to *high* times: in pieces that llama.cpp counts."""
        pieces = []
        while low > MAX_COUNT:
            pieces.append(f"{item}{{{MAX_COUNT}}}")
            low -= MAX_COUNT
            high = None if high is None else high - MAX_COUNT
        if high is not None and high > MAX_COUNT:
            if low:
                pieces.append(item if low == 1 else f"{item}{{{low}}}")
            pieces.append(self._up_to(item, high - low))
        elif high is None:
            pieces.append(item + {0: "*", 1: "+"}.get(low, f"{{{low},}}"))
        elif high:
            pieces.append(item if (low, high) == (1, 1) else f"{item}?" if high == 1 else f"{item}{{{low},{high}}}")
        return " ".join(pieces)

    def _up_to(self, item: str, high: int) -> str:
        """A rule for up to *high*: so many that one piece holds, or a whole piece and more."""
        if high <= MAX_COUNT:
            return f"{item}{{0,{high}}}"
        if (item, high) not in self._counts:
            more = self._up_to(item, high - MAX_COUNT)
            self._counts[item, high] = self._rule(f"{item}{{0,{MAX_COUNT - 1}}} | {item}{{{MAX_COUNT}}} {more}")
        return self._counts[item, high]

    def regex(self, regex: Regex) -> str:
        """What stands for *regex* in a rule."""
        if regex.kind == "text" or (regex.kind == "set" and len(regex.parts[0]) < 4):
            return self._plain(regex)
        if regex not in self._regexes:
            body = self._plain(regex) if regex.is_plain else self._states(regex, self._class, self.regex)
            self._regexes[regex] = self._rule(body)
        return self._regexes[regex]

    def _strings(self, language: Regex) -> str:
        """A rule for the JSON text of the strings of *language*."""
        if language not in self._quoted:
            spelling = Spelling(self._grammar.algebra)

            def spelled(rest: Regex) -> str:
                return self.regex(spelling.inside(rest))

            def one_of(ranges: Ranges) -> str:
                return spelled(self._grammar.algebra.set(ranges))

            quote = literal('"')
            self._quoted[language] = self._rule(f"{quote} {self._states(language, one_of, spelled)} {quote}")
        return self._quoted[language]

    def _plain(self, regex: Regex) -> str:
        kind, parts = regex.kind, regex.parts
        if kind == "none":
            raise ValueError("a language without texts")
        if kind == "empty":
            return '""'
        if kind == "set":
            return self._class(parts[0])
        if kind == "text":
            return literal(parts[0])
        if kind == "or":
            return "(" + " | ".join(self._plain(part) for part in parts) + ")"
        if kind == "many":
            item = self._plain(parts[0]) if parts[0].kind == "set" else self.regex(parts[0])
            if parts[0].kind == "text":
                item = self._rule(item)
            return self._times(item, parts[1], parts[2])
        found = []
        while regex.kind == "seq":
            found.append(self._plain(regex.parts[0]))
            regex = regex.parts[1]
        return " ".join([*found, self._plain(regex)])

    def _class(self, ranges: Ranges) -> str:
        """One character of *ranges*; a rule for them if they are many."""
        if len(ranges) < _MANY_RANGES:
            return character_class(ranges)
        if ranges not in self._classes:
            self._classes[ranges] = self._rule(character_class(ranges))
        return self._classes[ranges]

    def _states(self, regex: Regex, one_of: Callable[[Ranges], str], written: Callable[[Regex], str]) -> str:
        """A rule for each state of the automaton of *regex*; the name of the first."""
        states = self._grammar.states(regex)
        prefix = f"s{len(self.lines)}n"
        for number, state in enumerate(states):
            if state.rest is not None:
                continue
            options = []
            for target, ranges in state.onward.items():
                after = states[target]
                if after.rest is not None:
                    options.append(f"{one_of(ranges)} {written(after.rest)}")
                else:
                    ends = after.is_end and not after.onward
                    options.append(one_of(ranges) if ends else f"{one_of(ranges)} {prefix}{target}")
            self._write(f"{prefix}{number}", " | ".join(options + ['""'] * state.is_end))
        return f"{prefix}0"


def literal(text: str) -> str:
    """A literal that matches *text*."""
    out = []
    for character in text:
        point = ord(character)
        if character in '"\\':
            out.append("\\" + character)
        elif point < 0x20 or 0x7F <= point < 0xA0:
            out.append(f"\\u{point:04X}")
        else:
            out.append(character)
    return '"' + "".join(out) + '"'


def character_class(ranges: Ranges) -> str:
    """One character of *ranges*."""
    return "[" + "".join(_range(low, high) for low, high in ranges) + "]"


def _range(low: int, high: int) -> str:
    return _point(low) if low == high else f"{_point(low)}-{_point(high)}"


def _point(point: int) -> str:
    if chr(point).isascii() and chr(point).isalnum():
        return chr(point)
    return f"\\u{point:04X}" if point < 0x10000 else f"\\U{point:08X}"
