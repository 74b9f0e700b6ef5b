"""How long a request may take, and who looks at the clock for all of them."""

from __future__ import annotations

import asyncio
from typing import Final, Protocol

import msgspec

from enginehouse.config import ServerConfig


class Deadlines(msgspec.Struct, frozen=True, kw_only=True):
    """The time until a request has begun, between two of its events, and in all; and the shortest. In seconds.

    `try_s` is how long one instance may take to begin while another could be tried.
    """

    first_token_s: float
    idle_s: float
    total_s: float
    try_s: float
    soonest_s: float

    @classmethod
    def of(cls, server: ServerConfig) -> Deadlines:
        """Those that *server* sets."""
        first_token_s, idle_s, total_s = server.first_token_timeout_s, server.idle_timeout_s, server.total_timeout_s
        try_s = server.try_timeout_s or first_token_s / 2
        return cls(
            first_token_s=first_token_s,
            idle_s=idle_s,
            total_s=total_s,
            try_s=try_s,
            soonest_s=min(first_token_s, idle_s, total_s, try_s),
        )


class Watched(Protocol):
    """Who has deadlines."""

    def look(self, now: float) -> float | None:
        """Hear that it is *now* by the loop's clock; returns when to look again, None: no more, it is removed."""
        ...


class Watch:
    """Looks after many who have deadlines with one timer: one each would cost more than most requests take.

    Whoever is added is looked at in time, and late by `TICK_S` at most where there are many.
    """

    TICK_S: Final = 0.05

    def __init__(self) -> None:
        self._due: dict[Watched, float] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._fires_at = 0.0

    def add(self, watched: Watched, at: float) -> None:
        """Look at *watched* when the loop's clock shows *at*, unless it is removed before."""
        self._due[watched] = at
        if self._timer is None or at < self._fires_at:
            self._arm(at)

    def remove(self, watched: Watched) -> None:
        """Look at *watched* no more."""
        self._due.pop(watched, None)

    def _arm(self, at: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._fires_at = at
        self._timer = asyncio.get_running_loop().call_at(at, self._look)

    def _look(self) -> None:
        self._timer = None
        now = asyncio.get_running_loop().time()
        try:
            for watched in [watched for watched, at in self._due.items() if at <= now]:
                if watched in self._due:  # another, that was looked at before, may have removed it
                    again_at = watched.look(now)
                    if again_at is not None:
                        self._due[watched] = again_at
        finally:
            if self._due:
                self._arm(max(min(self._due.values()), now + self.TICK_S))
