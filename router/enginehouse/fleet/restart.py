"""When an instance that ended is started again, and when it is given up."""

from __future__ import annotations

import asyncio
import contextlib
import time

import msgspec


class RestartPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """Exponential backoff in seconds, from `first_s` to `cap_s`; `healthy_s` of readiness forgets past failures.

    After `max_failures` loads in a row that failed, and after `max_crashes` ends in a row without a healthy time
    between, it gives up; a request that comes `cap_s` later starts one more try.
    """

    first_s: float = 0.5
    factor: float = 2.0
    cap_s: float = 60.0
    healthy_s: float = 60.0
    max_failures: int = 6
    max_crashes: int = 8

    def delay_s(self, failures: int) -> float:
        """How long to wait after the *failures*-th failure in a row (from 1)."""
        # The exponent is bounded because a float's is.
        return min(self.cap_s, self.first_s * self.factor ** min(failures - 1, 64))


class Failures:
    """What has gone wrong with one instance in a row, and what follows from it by *policy*.

    *is_endless*: it is tried for as long as the router runs, because trying takes nothing of this host.
    """

    def __init__(self, policy: RestartPolicy, *, is_endless: bool = False) -> None:
        self.policy = policy
        self._is_endless = is_endless
        self._in_row = 0  # without a healthy time between: they lengthen the backoff
        self._loads = 0  # without a load that succeeded between
        self._gave_up_at: float | None = None
        self._forgiven = asyncio.Event()

    @property
    def delay_s(self) -> float:
        """How long to wait before the next try."""
        return self.policy.delay_s(self._in_row)

    @property
    def has_failed(self) -> bool:
        """Whether something has failed, and no healthy time has passed since."""
        return self._in_row > 0

    @property
    def to_next_try_s(self) -> float:
        """How long no try is made any more, since it was given up; 0 where it was not."""
        if self._gave_up_at is None:
            return 0.0
        return max(0.0, self._gave_up_at + self.policy.cap_s - time.monotonic())

    def load_failed(self, *, retryable: bool) -> bool:
        """Count a load that failed; returns whether to give up."""
        self._in_row += 1
        self._loads += 1
        return not retryable or (self._loads >= self.policy.max_failures and not self._is_endless)

    def loaded(self) -> None:
        """Forget loads that failed."""
        self._loads = 0
        self._gave_up_at = None

    def ended(self) -> bool:
        """Count an end that nobody asked for; returns whether to give up."""
        self._in_row += 1
        return self._in_row >= self.policy.max_crashes and not self._is_endless

    def served(self, for_s: float) -> None:
        """Forget all failures if it was ready for a healthy time."""
        if for_s >= self.policy.healthy_s:
            self._in_row = 0

    def give_up(self) -> None:
        """Make no more tries for a while."""
        self._gave_up_at = time.monotonic()

    def forgive(self) -> None:
        """Forget all, and let the next try begin at once."""
        self._in_row = self._loads = 0
        self._gave_up_at = None
        self._forgiven.set()

    async def sit_out(self) -> None:
        """Wait as long as the backoff says, or until all is forgiven."""
        self._forgiven.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self.delay_s):
                await self._forgiven.wait()
