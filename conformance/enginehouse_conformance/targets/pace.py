"""How fast a target is, by what it has answered: a slow one, or one on a busy machine, gets its own measure of time."""

from __future__ import annotations

from collections import deque

import msgspec

from .base import Body

_KEPT = 16
_PATIENCE = 4.0
"""A request may take so many times as long as the slowest of the last ones makes expect."""
_MOST = 5.0
"""And no longer than so many times what a request gets anyway."""
_PROMPT_BYTES = 40
"""So many bytes of a prompt count like a token that is made."""
_UNKNOWN_CONTEXT = 4096


class Pace:
    """The pace of one target with *context_tokens*, None where unknown; *least_s* is what every request gets."""

    def __init__(self, least_s: float, context_tokens: int | None) -> None:
        self._least_s = least_s
        self.context_tokens = context_tokens
        self._seen: deque[float] = deque(maxlen=_KEPT)

    def note(self, data: bytes, completion_tokens: int, seconds: float) -> None:
        """The request *data* was answered with so many tokens after *seconds*."""
        self._seen.append(seconds / _work(data, completion_tokens))

    def time_for(self, data: bytes | None) -> float:
        """Seconds to wait for the answer to the request *data*."""
        if not self._seen or not data:
            return self._least_s
        expected_s = max(self._seen) * _work(data, self._most_tokens(data))
        return min(max(self._least_s, _PATIENCE * expected_s), _MOST * self._least_s)

    def _most_tokens(self, data: bytes) -> int:
        try:
            body = msgspec.json.decode(data, type=Body)
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            return 1
        limits = [body.get(name) for name in ("max_tokens", "max_completion_tokens")]
        return min(
            [limit for limit in limits if isinstance(limit, int) and limit > 0]
            + [self.context_tokens or _UNKNOWN_CONTEXT]
        )


def _work(data: bytes, tokens: int) -> float:
    return 1 + tokens + len(data) / _PROMPT_BYTES
