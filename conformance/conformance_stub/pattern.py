"""Regular expressions of the simple kind: literals and classes of ASCII, each with a count, from `^` to `$`."""

from __future__ import annotations

import re

import msgspec

from .grammar import Alt, Lit, Node, Rep, Seq

_PRINTABLE = [chr(code) for code in range(0x20, 0x7F)]
_SPECIAL = frozenset(".*+?()[]{}|^$\\")
_CHARACTER = re.compile(r"\\x([0-9A-Fa-f]{2})|\\u([0-9A-Fa-f]{4})|\\([^0-9A-Za-z])|([^\\])")
_COUNT = re.compile(r"\{(\d+)(?:(,)(\d*))?\}")
_LONGEST = 1000


def strings_of(pattern: str) -> Node | None:
    """The JSON strings, quotes included, that *pattern* matches; None where it is of another kind."""
    if not (pattern.startswith("^") and pattern.endswith("$")) or len(pattern) > _LONGEST:
        return None
    rest, nodes = pattern[1:-1], list[Node]()
    while rest:
        found = _class(rest) if rest.startswith("[") else _literal(rest)
        if found is None:
            return None
        characters, rest = found
        count = _COUNT.match(rest)
        node: Node = Alt(tuple(Lit(msgspec.json.encode(character)[1:-1]) for character in characters))
        if count is not None:
            least = int(count[1])
            node = Rep(node, least, least if not count[2] else int(count[3]) if count[3] else None)
            rest = rest[count.end() :]
        nodes.append(node)
    return Seq((Lit(b'"'), *nodes, Lit(b'"')))


def _literal(rest: str) -> tuple[list[str], str] | None:
    found = _CHARACTER.match(rest)
    if found is None or rest[0] in _SPECIAL - {"\\"}:
        return None
    return [_character(found)], rest[found.end() :]


def _class(rest: str) -> tuple[list[str], str] | None:
    """The printable characters of the class that *rest* begins with, and what follows it."""
    at = 2 if rest.startswith("[^") else 1
    chosen: set[str] = set()
    while not rest.startswith("]", at):
        first = _CHARACTER.match(rest, at)
        if first is None:
            return None
        at, last = first.end(), _character(first)
        if rest.startswith("-", at) and not rest.startswith("-]", at):
            end = _CHARACTER.match(rest, at + 1)
            if end is None:
                return None
            at, last = end.end(), _character(end)
        chosen |= {chr(code) for code in range(ord(_character(first)), ord(last) + 1)}
    is_negative = rest.startswith("[^")
    return [character for character in _PRINTABLE if (character in chosen) is not is_negative], rest[at + 1 :]


def _character(found: re.Match[str]) -> str:
    code = found[1] or found[2]
    return chr(int(code, 16)) if code else found[3] or found[4]
