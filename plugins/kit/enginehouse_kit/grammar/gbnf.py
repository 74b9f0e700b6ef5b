"""Small pieces of GBNF, llama.cpp's grammar language, for JSON text."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

Ranges = list[tuple[int, int]]
"""Code points, as sorted ranges that do not touch; both ends belong to them."""

MAX_CODE_POINT = 0x10FFFF
_SURROGATES = (0xD800, 0xDFFF)
_SHORT_ESCAPES = {0x22: '\\"', 0x5C: "\\\\", 0x08: "\\b", 0x0C: "\\f", 0x0A: "\\n", 0x0D: "\\r", 0x09: "\\t"}

# Rules that every grammar may use. A character has exactly one spelling (control characters alone are
# escaped), so that text can be told from other text; no blank may repeat, so that none repeats for ever.
PRIMITIVES = {
    "char": '[^"\\\\\\x00-\\x1F] | "\\\\" ["\\\\bfnrt]',
    "string": '"\\"" char* "\\""',
    "integer": '"-"? ("0" | [1-9] [0-9]{0,15})',
    "number": '"-"? ("0" | [1-9] [0-9]{0,15}) ("." [0-9]{1,16})? ([eE] [-+]? [0-9] [0-9]?)?',
    "boolean": '"true" | "false"',
    "null": '"null"',
    "colon": '":" " "?',
    "comma": '"," " "?',
    "object": '"{" (string colon value (comma string colon value)*)? "}"',
    "array": '"[" (value (comma value)*)? "]"',
    "value": "object | array | string | number | boolean | null",
}
PRIMITIVE_NEEDS = {
    "string": ("char",),
    "object": ("string", "colon", "comma", "value"),
    "array": ("comma", "value"),
    "value": ("object", "array", "string", "number", "boolean", "null"),
}


def literal(text: str) -> str:
    """A GBNF literal that matches *text*."""
    out = []
    for character in text:
        point = ord(character)
        if character in '"\\':
            out.append("\\" + character)
        elif point < 0x20 or 0x7F <= point < 0xA0:
            out.append(f"\\x{point:02X}")
        else:
            out.append(character)
    return '"' + "".join(out) + '"'


def json_literal(value: object) -> str:
    """A GBNF literal that matches *value* as JSON without blanks."""
    return literal(msgspec.json.encode(value).decode())


def one_of(texts: Iterable[str]) -> str:
    """An expression for exactly *texts*, with what they begin with in common written once.

    The engine follows each alternative that still fits: of thousands side by side it would take seconds a token.
    """
    groups: dict[str, list[str]] = {}
    for text in dict.fromkeys(texts):
        groups.setdefault(text[:1], []).append(text)
    parts = []
    for group in groups.values():
        shared = _shared_beginning(min(group), max(group))
        rest = [text[len(shared) :] for text in group]
        parts.append(literal(shared) if len(rest) == 1 else f"{literal(shared)} ({one_of(rest)})")
    return " | ".join(parts)


def _shared_beginning(one: str, other: str) -> str:
    """What both texts begin with."""
    for at, (a, b) in enumerate(zip(one, other, strict=False)):
        if a != b:
            return one[:at]
    return min(one, other, key=len)


def normal(ranges: Iterable[tuple[int, int]]) -> Ranges:
    """Sort and join *ranges*; surrogates, which are no characters, drop out."""
    out: Ranges = []
    for low, high in sorted(_without_surrogates(ranges)):
        if out and low <= out[-1][1] + 1:
            out[-1] = (out[-1][0], max(high, out[-1][1]))
        else:
            out.append((low, high))
    return out


def complement(ranges: Ranges) -> Ranges:
    """All characters that are not in *ranges*."""
    out, at = [], 0
    for low, high in normal(ranges):
        if low > at:
            out.append((at, low - 1))
        at = high + 1
    if at <= MAX_CODE_POINT:
        out.append((at, MAX_CODE_POINT))
    return normal(out)


def character_class(ranges: Ranges) -> str:
    """One character of *ranges*, as it is spelled inside a JSON string."""
    plain: Ranges = []
    escaped: list[str] = []
    for low, high in ranges:
        for point, spelling in _SHORT_ESCAPES.items():
            if low <= point <= high:
                escaped.append(literal(spelling))
        plain += _direct(low, high)
    parts = ["[" + "".join(_range(low, high) for low, high in plain) + "]"] if plain else []
    return "(" + " | ".join(parts + escaped) + ")" if len(parts) + len(escaped) != 1 else (parts + escaped)[0]


def _without_surrogates(ranges: Iterable[tuple[int, int]]) -> Iterable[tuple[int, int]]:
    first, last = _SURROGATES
    for low, high in ranges:
        if low < first:
            yield low, min(high, first - 1)
        if high > last:
            yield max(low, last + 1), high


def _direct(low: int, high: int) -> Ranges:
    """What of a range is spelled as itself; control characters without a short escape are left out."""
    out, at = [], max(low, 0x20)
    for point in (0x22, 0x5C):
        if at <= point <= high:
            if point > at:
                out.append((at, point - 1))
            at = point + 1
    if at <= high:
        out.append((at, high))
    return out


def _range(low: int, high: int) -> str:
    return _point(low) if low == high else f"{_point(low)}-{_point(high)}"


def _point(point: int) -> str:
    if chr(point).isascii() and chr(point).isalnum():
        return chr(point)
    return f"\\x{point:02X}" if point < 0x80 else f"\\U{point:08X}"
