"""What a client has sent beyond the request that is worked on, in bounds."""

from __future__ import annotations

from collections import deque

from .direct import DirectExchange
from .memory import COUNTED_BYTES, Holding, Memory

MAX_AHEAD_BYTES = 1024 * 1024
"""What is kept while a request runs. With more the connection ends after it."""

PIECE_BYTES = 4096
"""So much is parsed in a turn where it cannot be seen what belongs to one request."""

HEAD_END = b"\r\n\r\n"


class Ahead:
    """What waits of one connection: `requests` that were read, then bytes; what they take is counted in *memory*.

    It is read as late as can be: a request takes much more memory than its bytes, and time when it is dropped. So only
    what one piece has held beyond its first request is here as `requests`.
    """

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self.requests: deque[DirectExchange] = deque()
        self._bytes = bytearray()
        self._at = 0
        self._holding: Holding | None = None
        self._held_bytes = 0

    def __bool__(self) -> bool:
        return bool(self.requests or self._bytes)

    def keep(self, data: bytes | memoryview) -> bool:
        """Keep *data* for its turn; False: there is no room for it."""
        if self._at:
            del self._bytes[: self._at]
            self._at = 0
        self._bytes += data
        size = len(self._bytes)
        return size <= MAX_AHEAD_BYTES and self._hold(size)

    def part(self, receiving: DirectExchange | None) -> bytes | None:
        """Take what is of one request, as far as that can be seen, with the body of *receiving* first."""
        size = len(self._bytes) - self._at
        if not size:
            return None
        end = self._at + part_size(self._bytes, self._at, receiving)
        data = bytes(self._bytes[self._at : end])
        self._at = end
        if end == len(self._bytes):
            self.drop_bytes()
        return data

    def clear(self) -> None:
        """Forget it all."""
        self.requests.clear()
        self.drop_bytes()

    def drop_bytes(self) -> None:
        """Forget what was not read."""
        self._bytes.clear()
        self._at = self._held_bytes = 0
        self._holding = None

    def _hold(self, size: int) -> bool:
        if size <= max(COUNTED_BYTES, self._held_bytes):
            return True
        if self._holding is None:
            self._holding = Holding(self._memory)
        more, self._held_bytes = size - self._held_bytes, size
        return self._holding.grow(more)


def part_size(data: bytes | bytearray, start: int, receiving: DirectExchange | None) -> int:
    """How much of *data* from *start* on is of one request: a head, or the body of *receiving*; or else a piece."""
    size = len(data) - start
    if receiving is not None and receiving.length is not None and receiving.length > receiving.size:
        return min(size, receiving.length - receiving.size)
    if receiving is None and (end := data.find(HEAD_END, start, start + PIECE_BYTES)) >= 0:
        return end + len(HEAD_END) - start
    return min(size, PIECE_BYTES)
