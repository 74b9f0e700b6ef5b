"""llguidance's dialect of Lark, of a grammar's form: each regular language is one terminal."""

from __future__ import annotations

import json

from .characters import Ranges
from .form import Either, Grammar, Literal, Many, Node, Regular, Rule, Series
from .limits import OverBudget
from .regex import Regex

MAX_BYTES = 2_000_000
"""Size of a grammar's text."""


def lark(grammar: Grammar, start: str, root: Node | None = None) -> list[str]:
    """Lines of *grammar*, whose first rule is called *start*; it begins at *root* if that is given.

    Raises:
        OverBudget: they would be too long.
    """
    printer = _Printer(grammar)
    lines = [f"{start}: {printer.node(grammar.root if root is None else root)}"]
    lines += [f"{name}: {printer.node(node)}" for name, node in grammar.rules.items()]
    lines += printer.lines
    if sum(map(len, lines)) > MAX_BYTES:
        raise OverBudget
    return lines


class _Printer:
    def __init__(self, grammar: Grammar) -> None:
        self._grammar = grammar
        self._algebra = grammar.algebra
        self._terminals: dict[Regex, str] = {}
        self._bodies: dict[str, str] = {}
        self.lines: list[str] = []

    def node(self, node: Node) -> str:
        if isinstance(node, Literal):
            return json.dumps(node.text) if node.text else '""'
        if isinstance(node, Rule):
            return node.name
        if isinstance(node, Regular):
            return self._regular(node.regex)
        if isinstance(node, Series):
            return " ".join(self._inside(item) for item in node.items) or '""'
        if isinstance(node, Either):
            return " | ".join(self.node(option) for option in node.options) or '""'
        if isinstance(node, Many):
            return self._inside(node.item) + _times(node.low, node.high)
        raise TypeError(node)

    def _inside(self, node: Node) -> str:
        is_whole = isinstance(node, Literal | Rule | Regular)
        return self.node(node) if is_whole else f"({self.node(node)})"

    def _regular(self, regex: Regex) -> str:
        if regex is self._algebra.empty:
            return '""'
        if _has_steps(regex):
            return self._states(regex)
        if not regex.is_nullable:
            return self._terminal(regex)
        return f"({self._terminal(self._algebra.both(regex, self._algebra.negated(self._algebra.empty)))})?"

    def _terminal(self, regex: Regex) -> str:
        """Name of the terminal for *regex*."""
        name = self._terminals.get(regex)
        if name is None:
            if regex.is_plain:
                body = f"/{_written(regex)}/"
            elif regex.kind == "not":
                body = f"~{self._terminal(regex.parts[0])}"
            elif regex.kind == "and":
                body = " & ".join(self._terminal(part) for part in regex.parts)
            elif regex.kind == "or":
                body = " | ".join(self._terminal(part) for part in regex.parts)
            elif regex.kind == "many":
                body = self._terminal(regex.parts[0]) + _times(*regex.parts[1:])
            else:
                body = " ".join(self._terminal(part) for part in regex.parts)
            name = f"T{len(self._terminals)}"
            self._terminals[regex] = name
            self.lines.append(f"{name}: {body}")
        return name

    def _states(self, regex: Regex) -> str:
        """A rule for each state of the automaton of *regex*; the name of the first."""
        states = self._grammar.states(regex)
        prefix = f"s{len(self.lines)}n"
        for number, state in enumerate(states):
            options = [
                f"{self._terminal(self._algebra.set(ranges))} {prefix}{target}"
                for target, ranges in state.onward.items()
            ]
            options += [chr(34) * 2] if state.rest is None and state.is_end else []
            options += [] if state.rest is None else [self._regular(state.rest)]
            self.lines.append(f"{prefix}{number}: {' | '.join(options)}")
        return f"{prefix}0"


def _has_steps(regex: Regex) -> bool:
    return regex.kind == "step" or (
        not regex.is_plain and any(_has_steps(part) for part in regex.parts if isinstance(part, Regex))
    )


def _times(low: int, high: int | None) -> str:
    if high is None:
        return {0: "*", 1: "+"}.get(low, f"{{{low},}}")
    return "?" if (low, high) == (0, 1) else f"{{{low},{high}}}"


def _written(regex: Regex) -> str:
    kind, parts = regex.kind, regex.parts
    if kind == "empty":
        return "(?:)"
    if kind == "set":
        return _class(parts[0])
    if kind == "text":
        return "".join(_point(ord(character)) for character in parts[0])
    if kind == "or":
        return "(?:" + "|".join(_written(part) for part in parts) + ")"
    if kind == "many":
        return f"(?:{_written(parts[0])}){_times(parts[1], parts[2])}"
    found = []
    while regex.kind == "seq":
        found.append(_written(regex.parts[0]))
        regex = regex.parts[1]
    return "".join([*found, _written(regex)])


def _class(ranges: Ranges) -> str:
    return "[" + "".join(_point(a) if a == b else f"{_point(a)}-{_point(b)}" for a, b in ranges) + "]"


def _point(point: int) -> str:
    return chr(point) if chr(point).isascii() and chr(point).isalnum() else f"\\x{{{point:X}}}"
