"""A collection of real schemas judged: `python -m tests.schemas.collection FOLDER [EVERY]`.

FOLDER holds files as MaskBench has them: `{"schema": …, "tests": [{"valid": …, "data": …}]}`. A schema is exact if its
valid instances are taken as they stand and the invalid ones are not; ordered: if the keys of its objects come in the
grammar's order; else narrower, refused or unsound. EVERY takes one file in so many. Exits 1 if one is unsound.
"""

from __future__ import annotations

import json
import re
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import llguidance

from enginehouse_plugin.errors import InvalidRequest

from .beside import matcher, tokens
from .suite import reason

_MOST_TRIED = 20_000


class _TooMany(Exception):
    """More orders have been tried than is sensible."""


class Orders:
    """Follows a value through a grammar, an object's keys in any order: first in that of *names*."""

    def __init__(self, names: dict[str, int]) -> None:
        self._left = _MOST_TRIED
        self._names = names

    def takes(self, at: llguidance.LLMatcher, value: Any) -> bool:  # Any: JSON
        """Whether the grammar takes *value*, or may: orders beyond a number are not tried."""
        try:
            return any(end.is_accepting() for end in self._behind(at, value))
        except _TooMany:
            return False

    def _behind(self, at: llguidance.LLMatcher, value: Any) -> Iterator[llguidance.LLMatcher]:  # Any: JSON
        self._left -= 1
        if self._left < 0:
            raise _TooMany
        if isinstance(value, dict):
            yield from self._members(_read(at, "{"), value, "")
        elif isinstance(value, list):
            yield from self._items(_read(at, "["), value, "")
        elif (after := _read(at, json.dumps(value, ensure_ascii=False))) is not None:
            yield after

    def _items(self, at: llguidance.LLMatcher | None, left: list[Any], comma: str) -> Iterator[llguidance.LLMatcher]:
        onward = None if at is None else _read(at, comma if left else "]")
        if onward is None:
            return
        if not left:
            yield onward
            return
        for after in self._behind(onward, left[0]):
            yield from self._items(after, left[1:], ",")

    def _members(
        self, at: llguidance.LLMatcher | None, left: dict[str, Any], comma: str
    ) -> Iterator[llguidance.LLMatcher]:
        if at is None:
            return
        if not left and (end := _read(at, "}")) is not None:
            yield end
        for key in sorted(left, key=lambda key: self._names.get(key, len(self._names))):
            begun = _read(at, f"{comma}{json.dumps(key, ensure_ascii=False)}:")
            for after in self._behind(begun, left[key]) if begun is not None else ():
                yield from self._members(after, {name: left[name] for name in left if name != key}, ",")


def _read(at: llguidance.LLMatcher, text: str) -> llguidance.LLMatcher | None:
    """What stands behind *text*; None if it cannot stand there."""
    after = at.deep_copy()
    ids = tokens(text)
    return after if after.try_consume_tokens(ids) == len(ids) else None


def named(schema: Any, found: dict[str, int] | None = None) -> dict[str, int]:  # Any: JSON
    """The properties that *schema* names, wherever that is, and in which order."""
    found = {} if found is None else found
    for name in schema.get("properties", ()) if isinstance(schema, dict) else ():
        found.setdefault(name, len(found))
    for part in schema.values() if isinstance(schema, dict) else schema if isinstance(schema, list) else ():
        named(part, found)
    return found


def outcome(schema: Any, tests: list[dict[str, Any]]) -> str:  # Any: JSON
    """What becomes of *schema*."""
    try:
        grammar = matcher(schema)
    except InvalidRequest:
        return "refused"
    found = "exact"
    names = named(schema)
    for test in tests:
        end = _read(grammar, json.dumps(test["data"], ensure_ascii=False))
        is_taken = end is not None and end.is_accepting()
        if is_taken and not test["valid"]:
            return "unsound"
        if test["valid"] and not is_taken and found != "narrower":
            found = "ordered" if Orders(names).takes(grammar, test["data"]) else "narrower"
    return found


def main() -> int:
    """Judge all; the exit status."""
    files = sorted(Path(sys.argv[1]).glob("*.json"))[:: int(sys.argv[2]) if len(sys.argv) > 2 else 1]
    counts: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    slowest = 0.0
    for file in files:
        content = json.loads(file.read_text())
        began = time.process_time()
        found = outcome(content["schema"], content.get("tests", []))
        slowest = max(slowest, time.process_time() - began)
        counts[found] += 1
        if found == "refused":
            reasons[re.sub(r"at '.*?' |'.*?' takes.*", "", reason(content["schema"]))[:90]] += 1
        if found == "unsound":
            print(f"UNSOUND {file.name}", flush=True)
    print(*(f"{count:5} {why}" for why, count in reasons.most_common(20)), sep="\n")
    shares = ", ".join(f"{name} {count} ({count / len(files):.1%})" for name, count in counts.most_common())
    print(f"{len(files)} schemas: {shares}; slowest with its instances {slowest:.2f} s")
    return int(counts["unsound"] > 0)


if __name__ == "__main__":
    sys.exit(main())
