"""When an instance that ended is started again."""

from __future__ import annotations

import msgspec


class RestartPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """Exponential backoff in seconds, from `first_s` to `cap_s`; `healthy_s` of readiness forgets past failures.

    After `max_failures` in a row it gives up; a request that comes `cap_s` later starts one more try.
    """

    first_s: float = 0.5
    factor: float = 2.0
    cap_s: float = 60.0
    healthy_s: float = 60.0
    max_failures: int = 6

    def delay_s(self, failures: int) -> float:
        """How long to wait after the *failures*-th failure in a row (from 1)."""
        # The exponent is bounded because a float's is.
        return min(self.cap_s, self.first_s * self.factor ** min(failures - 1, 64))
