"""When an instance that fails is left alone for a while, and how it comes back.

    closed ─▶ open ─▶ half_open ─▶ closed      open: `failures` in a row; half_open: one request tries it
                ▲         │
                └─────────┘ that one failed: open for twice as long, up to `MOST_OPEN_S`

An open breaker steers and never refuses: where no other instance takes a request, it is asked all the same.
"""

from __future__ import annotations

from typing import Final, Literal

BreakerState = Literal["closed", "open", "half_open"]

MOST_OPEN_S: Final = 60.0
PROBE_S: Final = 60.0
"""A probe that has told nothing for so long is forgotten, so that another may try."""


class Breaker:
    """The breaker of one instance: opens for *open_s* seconds after *failures* in a row. Times are the loop's clock's.

    `opened` counts how often it has opened, half-open ones that failed included. While `is_closed`, it `lets` any come.
    """

    __slots__ = ("_failed", "_failures", "_for_s", "_open_s", "_open_until", "_probed_at", "is_closed", "opened")

    def __init__(self, failures: int = 5, open_s: float = 5.0) -> None:
        self._failures = failures
        self._open_s = self._for_s = open_s
        self._failed = 0  # in a row
        self._open_until: float | None = None  # None: closed
        self.is_closed = True
        self._probed_at: float | None = None  # the one that tries it began then
        self.opened = 0

    def follow(self, failures: int, open_s: float) -> None:
        """Open after *failures* in a row, for *open_s* seconds, from now on."""
        self._failures = failures
        self._open_s = open_s

    def state(self, now: float) -> BreakerState:
        """Its state at the time *now*."""
        if self._open_until is None:
            return "closed"
        return "open" if now < self._open_until else "half_open"

    def lets(self, now: float) -> bool:
        """Whether a request may come: always while closed, one at a time while half open."""
        if self._open_until is None:
            return True
        if now < self._open_until:
            return False
        return self._probed_at is None or now >= self._probed_at + PROBE_S

    def begin(self, now: float) -> None:
        """Hear that a request begins there."""
        if self._open_until is not None and now >= self._open_until:
            self._probed_at = now

    def succeeded(self) -> None:
        """Hear that a request was answered: it is closed."""
        self._failed = 0
        if self._open_until is not None:
            self.reset()

    def failed(self, now: float) -> bool:
        """Hear that a request failed, or was not begun in time; returns whether it opens because of that."""
        self._failed += 1
        if self._open_until is None:
            if self._failed < self._failures:
                return False
            self._for_s = self._open_s
        elif now < self._open_until or self._probed_at is None:
            return False  # it had begun before
        else:
            self._for_s = min(2 * self._for_s, MOST_OPEN_S)
        self._open_until = now + self._for_s
        self.is_closed = False
        self._probed_at = None
        self.opened += 1
        return True

    def left(self) -> None:
        """Hear that a request ended without telling anything: its client has left."""
        self._probed_at = None

    def reset(self) -> None:
        """Close it: the instance is another, or its owner says so."""
        self._failed = 0
        self._open_until = self._probed_at = None
        self.is_closed = True
