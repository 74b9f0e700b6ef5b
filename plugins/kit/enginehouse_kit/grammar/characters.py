"""Sets of characters, as sorted ranges of code points that do not touch; both ends belong to them."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from functools import cache
from itertools import groupby

Ranges = tuple[tuple[int, int], ...]

MAX_CODE_POINT = 0x10FFFF
_SURROGATES = (0xD800, 0xDFFF)


def normal(ranges: Iterable[tuple[int, int]]) -> Ranges:
    """Sort and join *ranges*; surrogates, which are no characters, drop out."""
    out: list[tuple[int, int]] = []
    for low, high in sorted(_without_surrogates(ranges)):
        if out and low <= out[-1][1] + 1:
            out[-1] = (out[-1][0], max(high, out[-1][1]))
        else:
            out.append((low, high))
    return tuple(out)


def complement(ranges: Iterable[tuple[int, int]]) -> Ranges:
    """All characters that are not in *ranges*."""
    out, at = [], 0
    for low, high in normal(ranges):
        if low > at:
            out.append((at, low - 1))
        at = high + 1
    if at <= MAX_CODE_POINT:
        out.append((at, MAX_CODE_POINT))
    return normal(out)


def shared(one: Ranges, other: Ranges) -> Ranges:
    """Characters in both."""
    out = []
    at = to = 0
    while at < len(one) and to < len(other):
        low, high = max(one[at][0], other[to][0]), min(one[at][1], other[to][1])
        if low <= high:
            out.append((low, high))
        if one[at][1] < other[to][1]:
            at += 1
        else:
            to += 1
    return tuple(out)


def has(ranges: Ranges, point: int) -> bool:
    """Whether *point* is in *ranges*."""
    return any(low <= point <= high for low, high in ranges)


@cache
def of_category(prefix: str) -> Ranges:
    """Characters whose general category begins with *prefix* (`L`, `Lu`); none if there is no such category.

    Source: the Unicode character database of this Python.
    """
    return normal(part for name, ranges in _categories().items() if name.startswith(prefix) for part in ranges)


@cache
def _categories() -> dict[str, list[tuple[int, int]]]:
    """Characters by category."""
    found: dict[str, list[tuple[int, int]]] = {}
    low = 0
    for name, run in groupby(map(unicodedata.category, map(chr, range(MAX_CODE_POINT + 1)))):
        behind = low + sum(1 for _ in run)
        found.setdefault(name, []).append((low, behind - 1))
        low = behind
    return found


def _without_surrogates(ranges: Iterable[tuple[int, int]]) -> Iterable[tuple[int, int]]:
    first, last = _SURROGATES
    for low, high in ranges:
        if low < first:
            yield low, min(high, first - 1)
        if high > last:
            yield max(low, last + 1), high
