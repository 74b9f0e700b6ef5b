"""How long a request may take."""

from __future__ import annotations

import msgspec

from enginehouse.config import ServerConfig


class Deadlines(msgspec.Struct, frozen=True, kw_only=True):
    """The time until a request has begun, between two of its events, and in all; and the shortest. In seconds."""

    first_token_s: float
    idle_s: float
    total_s: float
    soonest_s: float

    @classmethod
    def of(cls, server: ServerConfig) -> Deadlines:
        """Those that *server* sets."""
        first_token_s, idle_s, total_s = server.first_token_timeout_s, server.idle_timeout_s, server.total_timeout_s
        return cls(
            first_token_s=first_token_s,
            idle_s=idle_s,
            total_s=total_s,
            soonest_s=min(first_token_s, idle_s, total_s),
        )
