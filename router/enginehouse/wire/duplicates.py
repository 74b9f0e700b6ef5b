"""Keys that an object gives twice: decoders take the last of them in silence."""

from __future__ import annotations

import json
from typing import Any

import msgspec

from enginehouse.violation import Step

_encode = msgspec.json.Encoder().encode
_ESCAPED_COLON = b"\\u003"


def duplicate_key(body: bytes, tree: Any) -> tuple[Step, ...] | None:
    """Return the path of a key that an object of *body* gives twice, at any depth; *tree* is what it decodes to.

    A tree has each key once, so its encoding has as many colons as the body, unless some were dropped with a key.
    Each key has a colon of its own; those inside of strings are the same in both, as no encoder escapes a colon.
    So the same number of them proves that nothing was dropped. Where a client escapes colons, keys are counted.
    """
    if _ESCAPED_COLON not in body and body.count(b":") == _encode(tree).count(b":"):
        return None
    try:
        json.loads(body, object_pairs_hook=_refuse_pairs)
    except _Duplicate:
        return _path_of_duplicate(json.loads(body, object_pairs_hook=_Pairs))
    return None


class _Duplicate(Exception):
    """An object gives a key twice."""


class _Pairs(list[tuple[str, Any]]):
    """An object as its pairs, told apart from an array."""


def _refuse_pairs(pairs: list[tuple[str, Any]]) -> None:
    if len(pairs) > 1 and len(dict(pairs)) != len(pairs):
        raise _Duplicate


def _path_of_duplicate(value: Any) -> tuple[Step, ...]:
    """Find the first key that an object of *value* gives twice."""
    waiting: list[tuple[Any, tuple[Step, ...]]] = [(value, ())]
    while waiting:
        node, path = waiting.pop()
        seen: set[Step] = set()
        for step, below in node if isinstance(node, _Pairs) else enumerate(node):
            if step in seen:
                return (*path, step)
            seen.add(step)
            if isinstance(below, list):
                waiting.append((below, (*path, step)))
    return ()
