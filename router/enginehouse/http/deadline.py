"""A deadline that moves often and passes rarely."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from .turns import Turns


class Deadline:
    """Calls back at its time unless it was set anew or cleared. Moving it back costs no timer: the old one looks.

    With *turns* it calls in its turn where many pass at once, as all do when a machine has slept.
    """

    __slots__ = ("_at", "_loop", "_then", "_timer", "_timer_at", "_turns")

    def __init__(self, loop: asyncio.AbstractEventLoop, turns: Turns | None = None) -> None:
        self._loop = loop
        self._turns = turns
        self._at = 0.0
        self._then: Callable[[], None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0

    @property
    def at(self) -> float:
        """When the call is to come, or would have."""
        return self._at

    @property
    def is_set(self) -> bool:
        """Whether a call is to come."""
        return self._then is not None

    def set(self, seconds: float, then: Callable[[], None]) -> None:
        """Call *then* in *seconds*, and nothing that was to be called before."""
        self._at = self._loop.time() + seconds
        self._then = then
        if self._timer is None or self._timer_at > self._at:
            self._arm()

    def clear(self) -> None:
        """Call nothing."""
        self._then = None

    def close(self) -> None:
        """Call nothing, and let go of the timer."""
        self._then = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = self._at
        self._timer = self._loop.call_at(self._at, self._look)

    def _look(self) -> None:
        self._timer = None
        if self._then is None:
            return
        if self._at > self._timer_at:  # moved back meanwhile
            self._arm()
        elif self._turns is not None:
            self._turns.take(self._pass)
        else:
            self._pass()

    def _pass(self) -> None:
        then = self._then
        if then is None or self._timer is not None:  # cleared, or set anew, while it waited for its turn
            return
        self._then = None
        then()
