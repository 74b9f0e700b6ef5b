"""Turns: what many connections have sent at once is worked on a little at a time.

The loop serves every connection that has something to read before it looks for others. So its round is as long as all
of them together make it, whatever each of them is held to. Of what they read in a round so many requests are begun at
once, and behind the first request of a read none is: the rest takes turns instead, of which a few milliseconds of each
round are for, however many wait. Crowds that leave are taken leave of in the same way.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable

ROUND_S = 0.004
"""Processor time of each of the loop's rounds that turns may take, and what is begun behind the first `LOOK_FROM` as it
is read. The last of them may be over it by one step."""
AT_ONCE = 64
"""Requests that are begun in a round as they are read, and by turns: what follows of each takes its time, too."""
LOOK_FROM = AT_ONCE // 2
"""Events of a round from which on it is looked whether they are too many."""


class Turns:
    """Steps that wait for their turn, in the order of their coming.

    `events` counts what is read and who leaves, and each that is counted must ask `is_full` from `LOOK_FROM` on. Only
    then is it looked where a round begins: with few connections that costs next to nothing.
    """

    def __init__(self) -> None:
        self.events = 0
        self._waiting: deque[Callable[[], None]] = deque()
        self._is_due = False
        self._is_round_noted = False
        self._until_s = 0.0

    def add(self, step: Callable[[], None]) -> None:
        """Call *step* in its turn, not before others have been heard."""
        self._waiting.append(step)
        if not self._is_due:
            self._is_due = True
            asyncio.get_running_loop().call_soon(self._go)

    def is_full(self) -> bool:
        """Whether what happens now must wait for its turn: this round has had enough."""
        if not self._is_round_noted:
            self._is_round_noted = True
            self._until_s = time.thread_time() + ROUND_S
            asyncio.get_running_loop().call_soon(self._begin_round)
        return self.events > AT_ONCE or time.thread_time() >= self._until_s

    def take(self, step: Callable[[], None]) -> None:
        """Count an event and call *step*: now, or in its turn if this round has had enough."""
        self.events += 1
        if self.events > LOOK_FROM and self.is_full():
            self.add(step)
        else:
            step()

    def _begin_round(self) -> None:
        self.events = 0
        self._is_round_noted = False

    def _go(self) -> None:
        until_s = time.thread_time() + ROUND_S
        try:
            for _ in range(min(len(self._waiting), AT_ONCE)):
                self._waiting.popleft()()
                if time.thread_time() >= until_s:
                    break
        finally:
            self._is_due = bool(self._waiting)
            if self._is_due:
                asyncio.get_running_loop().call_soon(self._go)
