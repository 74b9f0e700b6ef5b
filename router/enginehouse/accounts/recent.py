"""What requests have taken since this router began, and the last of them: for who looks, in memory and bounded.

Nothing here holds a prompt or an answer: a row is a view of a request's facts, as its log line is.
"""

from __future__ import annotations

import time
from collections import deque
from itertools import islice
from typing import Any, Final

import msgspec

from enginehouse_plugin import RequestFacts

MOST: Final = 500
"""Requests that are kept."""
_MOST_TOTALS: Final = 1000
"""Keys with their models, instances, and codes of errors that are told apart; those beyond are counted together."""
_OTHERS: Final = "(others)"
_LONGEST: Final = 200
"""Characters of a client's own words: the name of a model that there is not, or of a field that nobody knows."""
_MOST_IGNORED: Final = 20
"""Fields that are named as left out."""


class Noted(msgspec.Struct, frozen=True):
    """A request that has ended: the `number` of it, when (Unix time), its facts, and what its key paid in units."""

    number: int
    at: float
    facts: RequestFacts
    charged: int | None


class Sum(msgspec.Struct):
    """What some requests took together."""

    requests: int = 0
    failed: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    reasoning_tokens: int = 0
    charged: int = 0

    def add(self, facts: RequestFacts, charged: int | None) -> None:
        """Count one more."""
        self.requests += 1
        self.failed += facts.error_code is not None
        self.prompt_tokens += facts.prompt_tokens
        self.cached_tokens += facts.cached_tokens
        self.completion_tokens += facts.completion_tokens
        self.reasoning_tokens += facts.reasoning_tokens
        self.charged += charged or 0


class Recent:
    """The last requests, sums by key and model and by instance, and errors by their codes."""

    def __init__(self, most: int = MOST) -> None:
        self.number = 0
        self.by_use: dict[tuple[str, str], Sum] = {}
        self.by_instance: dict[str, Sum] = {}
        self.errors: dict[tuple[int, str], int] = {}
        self._last: deque[Noted] = deque(maxlen=most)

    def note(self, facts: RequestFacts, model: str, charged: int | None) -> None:
        """Keep what is known of one that has ended, under *model* (empty: none that is configured)."""
        self.number += 1
        self._last.append(Noted(self.number, time.time(), _bounded(facts), charged))
        use = (facts.key or "", model)
        _of(self.by_use, use, (_OTHERS, _OTHERS)).add(facts, charged)
        if facts.instance_id is not None:
            _of(self.by_instance, facts.instance_id, _OTHERS).add(facts, charged)
        if facts.error_code is not None:
            code = (facts.status, facts.error_code)
            if code not in self.errors and len(self.errors) >= _MOST_TOTALS:
                code = (0, _OTHERS)
            self.errors[code] = self.errors.get(code, 0) + 1

    def since(self, number: int) -> list[Noted]:
        """Those kept that came after the one of *number*, the newest first."""
        wanted = min(len(self._last), max(0, self.number - number))
        return list(islice(reversed(self._last), wanted))


def _bounded(facts: RequestFacts) -> RequestFacts:
    """*facts* without what a client could make as long as a body."""
    if len(facts.model) <= _LONGEST and not facts.ignored:
        return facts  # most
    ignored = tuple(name[:_LONGEST] for name in facts.ignored[:_MOST_IGNORED])
    return msgspec.structs.replace(facts, model=facts.model[:_LONGEST], ignored=ignored)


def _of(sums: dict[Any, Sum], name: object, others: object) -> Sum:  # Any: names are texts, or pairs of these
    found = sums.get(name)
    if found is None:
        if len(sums) >= _MOST_TOTALS:
            name = others
        found = sums.setdefault(name, Sum())
    return found
