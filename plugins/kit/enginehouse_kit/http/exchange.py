"""Answers as they arrive: `Incoming` is what a connection fills, `Exchange` an answer that is read with awaits."""

from __future__ import annotations

import asyncio
import sys
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING

from enginehouse_plugin.errors import EngineError, EngineProtocolError, EngineUnavailable

if TYPE_CHECKING:
    from .connection import Connection

_PAUSE_AT_BYTES = 256 * 1024


class Incoming(ABC):
    """An answer that arrives on a connection, which fills it and calls `advance`, `complete` and `fail`."""

    __slots__ = ("buffered_bytes", "chunks", "connection", "has_answer", "is_complete", "raw_headers", "status")

    pause_at_bytes = sys.maxsize
    """Unread bytes of body at which the socket is no longer read."""

    def __init__(self) -> None:
        self.status = 0
        """0 until the head of the answer is there."""
        self.has_answer = False
        """At least one byte of an answer has come."""
        self.is_complete = False
        """The whole answer has arrived (some of it may still be unread)."""
        self.raw_headers: list[tuple[bytes, bytes]] = []
        self.chunks: list[bytes] = []
        self.buffered_bytes = 0
        self.connection: Connection | None = None  # None before the request is sent, and once it is answered or dropped

    @property
    def headers(self) -> dict[str, str]:
        """Headers of the answer, as `by_name` has them."""
        return by_name(self.raw_headers)

    def take_chunks(self) -> bytes:
        """Take the bytes of the body that have arrived and are unread."""
        chunks = self.chunks
        self.chunks = []
        self.buffered_bytes = 0
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    @abstractmethod
    def advance(self) -> None:
        """Hear that a read has brought more, the head or parts of the body."""

    @abstractmethod
    def complete(self) -> None:
        """Hear that the answer is whole, which the connection does not belong to any more."""

    @abstractmethod
    def fail(self, error: EngineError) -> None:
        """Hear that the answer has ended early with *error*, and its connection with it."""


class Exchange(Incoming):
    """One request and its answer. Its head is there; the body is read with `read` or `body`.

    Call `close` when done: it drops the connection unless the whole answer has arrived, which tells the
    engine at once that nobody waits any more.
    """

    __slots__ = ("_error", "_max_body_bytes", "_waiter")

    pause_at_bytes = _PAUSE_AT_BYTES

    def __init__(self, max_body_bytes: int) -> None:
        super().__init__()
        self._error: EngineError | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._max_body_bytes = max_body_bytes

    async def head(self) -> None:
        """Wait for the head of the answer (for the client)."""
        while not self.status:
            if self._error is not None:
                raise self._error
            await self._wait()

    async def read(self) -> bytes:
        """Return the body bytes that have arrived, waiting for some; `b""` at the end.

        Raises:
            EngineDied, EngineProtocolError: the answer ended early or is not HTTP.
        """
        while not self.chunks:
            if self._error is not None:
                raise self._error
            if self.is_complete:
                return b""
            await self._wait()
        data = self.take_chunks()
        if self.connection is not None:
            self.connection.resume_reading()
        return data

    async def body(self) -> bytes:
        """Return the rest of the body, whole.

        Raises:
            EngineProtocolError: it is longer than the client's `max_body_bytes`.
            EngineDied: it ended early.
        """
        parts = []
        size = 0
        while data := self.take_chunks() if self.is_complete else await self.read():
            parts.append(data)
            size += len(data)
            if size > self._max_body_bytes:
                self.close()
                raise too_long(self._max_body_bytes)
        return b"".join(parts)

    def close(self) -> None:
        """Be done with this exchange; a connection with an unfinished answer is closed at once. Idempotent."""
        connection = self.connection
        if connection is not None:
            self.fail(EngineUnavailable("This exchange has been closed."))
            connection.abort()

    def fail(self, error: EngineError) -> None:
        """See `Incoming.fail`."""
        self.connection = None
        if self._error is None:
            self._error = error
        self.advance()

    def complete(self) -> None:
        """See `Incoming.complete`."""
        self.connection = None
        self.is_complete = True
        self.advance()

    def advance(self) -> None:
        """Let the waiting reader look again."""
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    async def _wait(self) -> None:
        connection = self.connection
        if connection is None:
            raise self._error or EngineProtocolError("The engine's answer ended before its head.")
        self._waiter = connection.loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None


def by_name(raw_headers: Sequence[tuple[bytes, bytes]]) -> dict[str, str]:
    """*raw_headers* by their names in lower case; of repeated ones the last stands."""
    return {name.lower().decode("latin-1"): value.decode("latin-1") for name, value in raw_headers}


def too_long(limit_bytes: int) -> EngineProtocolError:
    """The error for an answer that is longer than *limit_bytes*."""
    return EngineProtocolError(f"The engine's answer is longer than {limit_bytes} bytes.")
