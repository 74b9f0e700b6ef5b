"""What a client has sent of further requests while one of its connection is answered, in bounds."""

from __future__ import annotations

from collections import deque

from .direct import DirectExchange
from .memory import COUNTED_BYTES, Holding, Memory

MAX_AHEAD_BYTES = 1024 * 1024
MAX_AHEAD_REQUESTS = 2048
"""What of further requests is kept while one runs. With more the connection ends after the one that runs."""

AT_ONCE = 16
"""Requests of a connection that are begun one behind the other before others have their turn."""

PIECE_BYTES = 32 * 1024
"""So much of what is no body is parsed before other connections have their turn: it may be hundreds of requests."""

_REQUEST_BYTES = 2048
"""About what a request takes beside its bytes: short ones take much more than they have."""


class Ahead:
    """The requests of one connection that wait for their turn, in order; what they take is counted in *memory*."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self._requests: deque[DirectExchange] = deque()
        self._sent_bytes = 0
        self._taken_bytes = 0
        self._holding: Holding | None = None

    def __bool__(self) -> bool:
        return bool(self._requests)

    def add(self, exchange: DirectExchange) -> bool:
        """Keep *exchange*; False: there is no room for it."""
        self._requests.append(exchange)
        return len(self._requests) <= MAX_AHEAD_REQUESTS and self._hold(_REQUEST_BYTES)

    def take(self, size: int) -> bool:
        """Count *size* bytes that were sent; False: there is no room for them."""
        self._sent_bytes += size
        return self._sent_bytes <= MAX_AHEAD_BYTES and self._hold(size)

    def next(self) -> DirectExchange:
        """The request whose turn it is. Behind the last one all is forgotten."""
        exchange = self._requests.popleft()
        if not self._requests:
            self.clear()
        return exchange

    def drop_last(self) -> None:
        """Forget the request that came last."""
        self._requests.pop()

    def clear(self) -> None:
        """Forget them all."""
        self._requests.clear()
        self._sent_bytes = self._taken_bytes = 0
        self._holding = None

    def _hold(self, size: int) -> bool:
        self._taken_bytes += size
        if self._taken_bytes <= COUNTED_BYTES:
            return True
        if self._holding is None:
            self._holding = Holding(self._memory)
            size = self._taken_bytes
        return self._holding.grow(size)
