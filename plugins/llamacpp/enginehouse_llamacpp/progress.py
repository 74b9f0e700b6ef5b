"""A GBNF grammar that has read a part of its text, and the grammar of what may follow.

Reads the GBNF that the hosting kit writes: rules of one line, literals, character classes, groups, alternatives
and repetitions.
"""

from __future__ import annotations

import re

import msgspec

from enginehouse_kit.grammar.gbnf import literal

_TOKEN = re.compile(
    r'\s*(?:(?P<text>"(?:[^"\\]|\\.)*")|(?P<set>\[(?:[^\]\\]|\\.)*\])|(?P<name>[a-z][a-z0-9]*)'
    r"|(?P<times>\{[0-9]+(?:,[0-9]*)?\}|[*+?])|(?P<mark>[()|]))"
)
_ESCAPE = re.compile(r"\\(?:x([0-9A-F]{2})|U([0-9A-F]{8})|(.))")
_MOST_STATES = 5000


class _Node(msgspec.Struct, frozen=True):
    pass


class _Text(_Node, frozen=True):
    text: str


class _Set(_Node, frozen=True):
    source: str
    ranges: tuple[tuple[str, str], ...]
    is_negated: bool

    def has(self, character: str) -> bool:
        return any(low <= character <= high for low, high in self.ranges) is not self.is_negated


class _Rule(_Node, frozen=True):
    name: str


class _Sequence(_Node, frozen=True):
    items: tuple[_Node, ...]


class _Either(_Node, frozen=True):
    options: tuple[_Node, ...]


class _Repeat(_Node, frozen=True):
    item: _Node
    least: int
    most: int | None


_Stack = tuple[_Node, ...]
"""What is still to be read, the next node last."""


class GrammarProgress:
    """Follows a text through a grammar."""

    def __init__(self, grammar: str) -> None:
        lines = [line.partition(" ::= ") for line in grammar.splitlines()]
        self._source = "".join(f"{line}\n" for line in grammar.splitlines() if not line.startswith("root ::= "))
        self._rules = {name: _Parser(body).whole() for name, _, body in lines}
        self._stacks: set[_Stack] = {(self._rules["root"],)}

    def read(self, text: str) -> bool:
        """Read more text; False if the grammar does not allow it."""
        for character in text:
            self._stacks = {
                after for stack in self._expanded() if stack and (after := _step(stack, character)) is not None
            }
        return bool(self._stacks)

    @property
    def may_end(self) -> bool:
        """The text so far is whole."""
        return () in self._expanded()

    def rest(self) -> str:
        """The grammar of what may follow."""
        options = sorted({" ".join(_write(node) for node in reversed(stack)) or '""' for stack in self._stacks})
        return f"root ::= {' | '.join(options)}\n{self._source}"

    def _expanded(self) -> set[_Stack]:
        """The stacks whose next node is a text or a set; the empty one, if the text may end here."""
        seen: set[_Stack] = set()
        found: set[_Stack] = set()
        todo = list(self._stacks)
        while todo and len(seen) < _MOST_STATES:
            stack = todo.pop()
            if stack in seen:
                continue
            seen.add(stack)
            if not stack or isinstance(stack[-1], _Set) or (isinstance(stack[-1], _Text) and stack[-1].text):
                found.add(stack)
            else:
                todo += self._opened(stack)
        return found

    def _opened(self, stack: _Stack) -> list[_Stack]:
        """Replace the next node by what it is made of."""
        below, node = stack[:-1], stack[-1]
        if isinstance(node, _Rule):
            return [(*below, self._rules[node.name])]
        if isinstance(node, _Sequence):
            return [(*below, *reversed(node.items))]
        if isinstance(node, _Either):
            return [(*below, option) for option in node.options]
        if isinstance(node, _Repeat):
            most = None if node.most is None else node.most - 1
            if node.least:
                return [(*below, _Repeat(node.item, node.least - 1, most), node.item)]
            return [below] if most == -1 else [below, (*below, _Repeat(node.item, 0, most), node.item)]
        return [below]  # an empty text


def _step(stack: _Stack, character: str) -> _Stack | None:
    """What is left behind *character*, if the next node allows it."""
    below, node = stack[:-1], stack[-1]
    if isinstance(node, _Set):
        return below if node.has(character) else None
    if isinstance(node, _Text) and node.text[0] == character:
        return (*below, _Text(node.text[1:])) if len(node.text) > 1 else below
    return None


def _write(node: _Node) -> str:
    if isinstance(node, _Text):
        return literal(node.text)
    if isinstance(node, _Set):
        return node.source
    if isinstance(node, _Rule):
        return node.name
    if isinstance(node, _Sequence):
        return f"({' '.join(map(_write, node.items))})" if node.items else '""'
    if isinstance(node, _Either):
        return f"({' | '.join(map(_write, node.options))})"
    if isinstance(node, _Repeat):
        if node.most == 0:
            return '""'
        times = (
            "*"
            if (node.least, node.most) == (0, None)
            else f"{{{node.least},{'' if node.most is None else node.most}}}"
        )
        return f"({_write(node.item)}){times}"
    raise TypeError(node)


class _Parser:
    """Reads the body of a rule."""

    def __init__(self, body: str) -> None:
        self._tokens = [(found.lastgroup, found[found.lastgroup]) for found in _TOKEN.finditer(body) if found.lastgroup]
        self._at = 0

    def whole(self) -> _Node:
        node = self._either()
        if self._at != len(self._tokens):
            raise ValueError(f"not a rule body, at {self._tokens[self._at]}")
        return node

    def _either(self) -> _Node:
        options = [self._sequence()]
        while self._peek() == ("mark", "|"):
            self._at += 1
            options.append(self._sequence())
        return options[0] if len(options) == 1 else _Either(tuple(options))

    def _sequence(self) -> _Node:
        items: list[_Node] = []
        while (token := self._peek()) is not None and token not in (("mark", "|"), ("mark", ")")):
            self._at += 1
            items.append(self._item(*token) if token[0] != "times" else _repeat(items.pop(), token[1]))
        return items[0] if len(items) == 1 else _Sequence(tuple(items))

    def _item(self, kind: str, source: str) -> _Node:
        if kind == "text":
            return _Text("".join(_characters(source[1:-1])))
        if kind == "set":
            return _set(source)
        if kind == "name":
            return _Rule(source)
        inner = self._either()
        self._at += 1  # the closing parenthesis
        return inner

    def _peek(self) -> tuple[str, str] | None:
        return self._tokens[self._at] if self._at < len(self._tokens) else None


def _repeat(item: _Node, times: str) -> _Node:
    if times in "*+?":
        return _Repeat(item, int(times == "+"), 1 if times == "?" else None)
    low, comma, high = times[1:-1].partition(",")
    return _Repeat(item, int(low), int(high) if high else None if comma else int(low))


def _set(source: str) -> _Set:
    body = source[1:-1]
    is_negated = body.startswith("^")
    members = _characters(body[is_negated:])
    ranges = []
    while members:
        low = members.pop(0)
        if len(members) > 1 and members[0] == "-":
            members.pop(0)
            ranges.append((low, members.pop(0)))
        else:
            ranges.append((low, low))
    return _Set(source, tuple(ranges), is_negated)


def _characters(source: str) -> list[str]:
    """The characters of a literal or a class, escapes resolved."""
    found, at = [], 0
    while at < len(source):
        escape = _ESCAPE.match(source, at)
        if escape is None:
            found.append(source[at])
            at += 1
            continue
        code = escape[1] or escape[2]
        found.append(chr(int(code, 16)) if code else {"n": "\n", "r": "\r", "t": "\t"}.get(escape[3], escape[3]))
        at = escape.end()
    return found
