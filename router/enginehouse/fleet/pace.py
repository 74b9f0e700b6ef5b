"""How fast instances answer, measured on their requests, and what a request would take on each."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Protocol

WEIGHT: Final = 0.2
"""Of the last request in an exponential mean."""
FRESH_S: Final = 60.0
"""What was measured longer ago counts as not known: the instance is tried, which measures it again."""
_FEWEST_CHARS: Final = 256
"""A prompt of fewer tells nothing of the time that a character takes."""
_FEWEST_TOKENS: Final = 8
"""An answer of fewer tells nothing of the time that a token takes."""
_CHAR_S: Final = 2e-4
"""Seconds for a character of a prompt that is not cached, until measured: 1,250 tokens a second."""
_TOKENS_S: Final = 20.0
_MOST_FAILING: Final = 0.95


class Pace:
    """How fast one instance has answered of late; 0 is not known.

    `failing` is the share of requests that failed, `turn` the number of the last one that went there, and `retried`
    counts those that were tried again after it.
    """

    __slots__ = ("char_s", "failing", "measured_at", "retried", "tokens_s", "turn")

    def __init__(self) -> None:
        self.tokens_s = 0.0
        self.char_s = 0.0
        self.failing = 0.0
        self.measured_at = 0.0
        self.turn = 0
        self.retried = 0

    def answered(self, tokens: int, took_s: float, now: float) -> None:
        """Note that *tokens* were made in *took_s* seconds, the prompt included."""
        self.failing -= WEIGHT * self.failing
        self.measured_at = now
        if tokens >= _FEWEST_TOKENS and took_s > 0.0:
            speed = tokens / took_s
            self.tokens_s += WEIGHT * (speed - self.tokens_s) if self.tokens_s else speed

    def began(self, chars: int, took_s: float) -> None:
        """Note that the first part of an answer came after *took_s* seconds; *chars* of its prompt were not cached."""
        if chars >= _FEWEST_CHARS:
            measured = took_s / chars
            self.char_s += WEIGHT * (measured - self.char_s) if self.char_s else measured

    def tokens_now(self, now: float) -> float:
        """Its tokens a second, 0 if these were measured too long before *now*."""
        return self.tokens_s if now - self.measured_at < FRESH_S else 0.0

    def failed(self) -> None:
        """Note that a request failed."""
        self.failing += WEIGHT * (_MOST_FAILING - self.failing)


class Paced(Protocol):
    """What has a pace."""

    pace: Pace


def best_of(instances: Iterable[Paced], now: float) -> tuple[float, float]:
    """Tokens a second and seconds a character of the best of *instances*, for which those not known are taken."""
    tokens_s, char_s = 0.0, 0.0
    for instance in instances:
        pace = instance.pace
        tokens_s = max(tokens_s, pace.tokens_now(now))
        if pace.char_s and not 0.0 < char_s <= pace.char_s:
            char_s = pace.char_s
    return tokens_s or _TOKENS_S, char_s or _CHAR_S


def cost_s(pace: Pace, load: float, tokens: float, chars: int, best: tuple[float, float], now: float) -> float:
    """Seconds that a request of *tokens*, with *chars* of prompt that are not cached, is thought to take.

    *load* is the outstanding work per slot: while it is below 1 others share the engine, above it they go first.
    """
    took_s = tokens / (pace.tokens_now(now) or best[0]) + chars * (pace.char_s or best[1])
    return took_s * (1.0 + load) / (1.0 - pace.failing)
