"""A pattern held to a length by sharing it among the pattern's parts, where each length at each place is too much."""

from __future__ import annotations

from .regex import Algebra, Regex

_PIECES = 4
"""Repetitions that share a length, if each may be long;"""
_MORE = 2
"""if each is shorter, so many times as many."""


def shortened(algebra: Algebra, item: Regex, high: int) -> Regex:
    """Some of the texts of *item*, which is plain, of no more than *high* characters: its parts share them."""
    if item.longest is not None and item.longest <= high:
        return item
    if item.shortest > high:
        return algebra.none
    if item.kind == "or":
        return algebra.either([shortened(algebra, part, high) for part in item.parts])
    if item.kind == "many":
        one, low, most = item.parts
        most = high // max(one.shortest, 1) if most is None else min(most, high // max(one.shortest, 1))
        if most == 0:
            return algebra.empty
        times = max(low, min(most, _PIECES), 1)
        options = []  # few long ones, or more and more of shorter ones
        while times <= most:
            part = one
            if one.longest is None or one.longest * times > high:
                part = shortened(algebra, one, high // times)
            options.append(algebra.many(part, low, min(most, high // max(part.longest or 1, 1))))
            times *= _MORE
        return algebra.either(options)
    parts = item.in_order()
    waiting = [at for at, part in enumerate(parts) if part.shortest != part.longest]
    options = [_shared_out(algebra, parts, waiting, high - item.shortest)]
    if len(waiting) == 2:  # words and what stands between them: one of both takes what there is
        options += [_shared_out(algebra, parts, [at], high - item.shortest) for at in waiting]
    return algebra.either(options)


def _shared_out(algebra: Algebra, parts: list[Regex], waiting: list[int], spare: int) -> Regex:
    """*parts* in order; the shortest of each, and *spare* characters more for those that are *waiting*."""
    found = [shortened(algebra, part, part.shortest) for part in parts]
    waiting.sort(key=lambda at: spare if (longest := parts[at].longest) is None else longest - parts[at].shortest)
    for left, at in enumerate(waiting):  # those that need little first: what they leave is for the others
        shortest = parts[at].shortest
        found[at] = shortened(algebra, parts[at], shortest + spare // (len(waiting) - left))
        spare -= (found[at].longest or 0) - shortest
    return algebra.seq(*found)


def places(language: Regex) -> int:
    """Characters of *language*, which is plain, counting repetitions: about the states that it takes."""
    if language.kind == "many":
        one, low, high = language.parts
        return places(one) * int(max(high or low, 1))
    if language.kind == "text":
        return language.shortest
    return max(sum(places(part) for part in language.parts if isinstance(part, Regex)), 1)
