"""How many requests may be tried again: a share of all, so that retries never become the load that they answer to."""

from __future__ import annotations

from typing import Final

RESERVE: Final = 10.0
"""Retries that are there at the start, and come back within `REFILL_S` where there are few requests."""
REFILL_S: Final = 10.0
MOST: Final = 100.0
"""Retries that can be saved up."""


class RetryBudget:
    """The retries of one model: each request adds *share* of one. Times are the loop's clock's."""

    __slots__ = ("_left", "_looked_at", "refused", "share", "taken")

    def __init__(self, share: float) -> None:
        self.share = share
        self._left = RESERVE if share else 0.0
        self._looked_at: float | None = None
        self.taken = 0
        self.refused = 0

    def add(self) -> None:
        """Count a request."""
        left = self._left + self.share
        self._left = left if left < MOST else MOST

    def take(self, now: float) -> bool:
        """Take one retry, if there is one."""
        if self.share and self._left < RESERVE and self._looked_at is not None:
            self._left = min(RESERVE, self._left + (now - self._looked_at) * RESERVE / REFILL_S)
        self._looked_at = now
        if self._left < 1.0:
            self.refused += 1
            return False
        self._left -= 1.0
        self.taken += 1
        return True
