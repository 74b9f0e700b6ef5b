"""Turns: what many connections have sent at once is worked on a little at a time.

The loop serves every connection that has something to read before it looks for others. So its round is as long as all
of them together make it, whatever each of them is held to. Behind the first request of a read the rest takes turns
instead: a few milliseconds of each round are for it, however many wait.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable

ROUND_S = 0.004
"""Processor time of each of the loop's rounds that turns may take. The last of them may be over it by one step."""


class Turns:
    """Steps that wait for their turn, in the order of their coming."""

    def __init__(self) -> None:
        self._waiting: deque[Callable[[], None]] = deque()
        self._is_due = False

    def add(self, step: Callable[[], None]) -> None:
        """Call *step* in its turn, not before others have been heard."""
        self._waiting.append(step)
        if not self._is_due:
            self._is_due = True
            asyncio.get_running_loop().call_soon(self._go)

    def _go(self) -> None:
        until_s = time.thread_time() + ROUND_S
        try:
            while self._waiting:
                self._waiting.popleft()()
                if time.thread_time() >= until_s:
                    break
        finally:
            self._is_due = bool(self._waiting)
            if self._is_due:
                asyncio.get_running_loop().call_soon(self._go)
