"""Memory that bodies and answers in flight take, counted against one limit.

Small ones are not counted: there are no more of them than connections, and they pass also when all is taken.
"""

from __future__ import annotations

COUNTED_BYTES = 64 * 1024
"""A body is counted from here on, and an answer when so much of it waits for its client."""


class Memory:
    """What is taken, of *limit_bytes* (0: no limit). `answers_bytes` is measured now and then."""

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self.bodies_bytes = 0
        self.answers_bytes = 0

    @property
    def missing_bytes(self) -> int:
        """How much is taken beyond the limit."""
        return self.bodies_bytes + self.answers_bytes - self.limit_bytes if self.limit_bytes else 0


class Holding:
    """A body's part of *memory*, given back when the last reference to it is gone: with its request."""

    __slots__ = ("_memory", "_size")

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self._size = 0

    def __del__(self) -> None:
        self._memory.bodies_bytes -= self._size

    def grow(self, size: int) -> bool:
        """Take *size* bytes more; False: there is no room for them."""
        self._size += size
        self._memory.bodies_bytes += size
        return self._memory.missing_bytes <= 0
