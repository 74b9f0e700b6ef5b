# ruff: noqa: D102 -- most methods here are callbacks that asyncio and httptools define
"""One HTTP/1.1 connection to an engine and the exchanges that it carries; `http.LocalClient` keeps them."""

from __future__ import annotations

import asyncio
from typing import Protocol

import httptools

from enginehouse_plugin.errors import EngineDied, EngineError, EngineProtocolError, EngineUnavailable

MAX_HEAD_BYTES = 64 * 1024
_PAUSE_AT_BYTES = 256 * 1024  # unread body bytes at which the socket is no longer read


class Owner(Protocol):
    """What a connection tells its client."""

    max_body_bytes: int

    def opened(self, connection: Connection) -> None:
        """Count *connection* as open."""

    def idle(self, connection: Connection) -> None:
        """Keep *connection* for a later request, or close it."""

    def closed(self, connection: Connection) -> None:
        """Forget *connection*."""


class Exchange:
    """One request and its answer. Its head is there; the body is read with `read` or `body`.

    Call `close` when done: it drops the connection unless the whole answer has arrived, which tells the
    engine at once that nobody waits any more.
    """

    __slots__ = (
        "_buffered_bytes",
        "_chunks",
        "_connection",
        "_error",
        "_has_answer",
        "_is_complete",
        "_max_body_bytes",
        "_raw_headers",
        "_waiter",
        "status",
    )

    def __init__(self, connection: Connection, max_body_bytes: int) -> None:
        self.status = 0
        self._raw_headers: list[tuple[bytes, bytes]] = []
        self._chunks: list[bytes] = []
        self._buffered_bytes = 0
        self._is_complete = False
        self._has_answer = False
        self._error: EngineError | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._connection: Connection | None = connection  # None once the answer is complete or dropped
        self._max_body_bytes = max_body_bytes

    @property
    def headers(self) -> dict[str, str]:
        """Headers of the answer, names in lower case; of repeated ones the last stands."""
        return {name.lower().decode("latin-1"): value.decode("latin-1") for name, value in self._raw_headers}

    @property
    def is_complete(self) -> bool:
        """The whole answer has arrived (some of it may still be unread)."""
        return self._is_complete

    async def read(self) -> bytes:
        """Return the body bytes that have arrived, waiting for some; `b""` at the end.

        Raises:
            EngineDied, EngineProtocolError: the answer ended early or is not HTTP.
        """
        while not self._chunks:
            if self._error is not None:
                raise self._error
            if self._is_complete:
                return b""
            await self._wait()
        chunks = self._chunks
        data = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        self._chunks = []
        self._buffered_bytes = 0
        if self._connection is not None:
            self._connection.resume_reading()
        return data

    async def body(self) -> bytes:
        """Return the rest of the body, whole.

        Raises:
            EngineProtocolError: it is longer than the client's `max_body_bytes`.
            EngineDied: it ended early.
        """
        data = await self.read()
        if self._is_complete and not self._chunks:  # the common case: it came with the head
            return self._limited(data)
        parts = [data]
        size = len(data)
        while data:
            data = await self.read()
            parts.append(data)
            size += len(data)
            if size > self._max_body_bytes:
                break
        return self._limited(b"".join(parts))

    def close(self) -> None:
        """Be done with this exchange; a connection with an unfinished answer is closed at once. Idempotent."""
        connection = self._connection
        if connection is not None:
            self.fail(EngineUnavailable("This exchange has been closed."))
            connection.abort()

    def fail(self, error: EngineError) -> None:
        """End the exchange with *error* (for the connection)."""
        self._connection = None
        if self._error is None:
            self._error = error
        self.wake()

    def complete(self) -> None:
        """End the exchange well (for the connection)."""
        self._connection = None
        self._is_complete = True
        self.wake()

    def wake(self) -> None:
        """Let the waiting reader look again (for the connection)."""
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    async def head(self) -> None:
        """Wait for the head of the answer (for the client)."""
        while not self.status:
            if self._error is not None:
                raise self._error
            await self._wait()

    @property
    def was_answered(self) -> bool:
        """At least one byte of an answer has come."""
        return self._has_answer

    async def _wait(self) -> None:
        connection = self._connection
        if connection is None:
            raise self._error or EngineProtocolError("The engine's answer ended before its head.")
        self._waiter = connection.loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _limited(self, data: bytes) -> bytes:
        if len(data) > self._max_body_bytes:
            self.close()
            raise EngineProtocolError(f"The engine's answer is longer than {self._max_body_bytes} bytes.")
        return data


class Connection(asyncio.Protocol):
    """One connection; it carries one exchange at a time."""

    __slots__ = (
        "_exchange",
        "_head_bytes",
        "_is_alive",
        "_is_framed",
        "_is_interim",
        "_is_message_complete",
        "_is_paused",
        "_owner",
        "_parser",
        "_transport",
        "loop",
        "lost",
    )

    _transport: asyncio.Transport

    def __init__(self, owner: Owner, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.lost: asyncio.Future[None] = loop.create_future()
        self._owner = owner
        self._parser = httptools.HttpResponseParser(self)
        self._exchange: Exchange | None = None
        self._is_alive = False
        self._is_paused = False
        self._is_interim = False
        self._is_framed = False
        self._is_message_complete = False
        self._head_bytes = 0

    # ---- for the client ----

    def begin(self, request: bytes) -> Exchange:
        """Send *request*; the exchange waits for its answer."""
        exchange = self._exchange = Exchange(self, self._owner.max_body_bytes)
        self._is_framed = self._is_interim = self._is_message_complete = False
        self._head_bytes = 0
        self._transport.write(request)
        return exchange

    def resume_reading(self) -> None:
        """Read on, if reading was paused."""
        if self._is_paused:
            self._is_paused = False
            self._transport.resume_reading()

    def abort(self) -> None:
        """Close at once, unsent bytes dropped. The exchange is not told."""
        self._is_alive = False
        self._exchange = None
        self._transport.abort()

    def give_up(self) -> None:
        """Count as lost, after making it was broken off: uvloop then closes it without `connection_lost`."""
        self._is_alive = False
        self._owner.closed(self)
        if not self.lost.done():
            self.lost.set_result(None)

    @property
    def is_alive(self) -> bool:
        """Fit for another exchange."""
        return self._is_alive and not self._transport.is_closing()

    # ---- asyncio.Protocol ----

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]  # a stream transport, by construction
        self._is_alive = True
        self._owner.opened(self)

    def data_received(self, data: bytes) -> None:
        exchange = self._exchange
        if exchange is None:  # bytes that nobody asked for: the connection cannot be trusted
            self.abort()
            return
        exchange._has_answer = True
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._break("The engine switched to another protocol.")
            return
        except httptools.HttpParserError as problem:
            if not self._is_message_complete:
                self._break(f"The engine's answer is not HTTP: {problem}")
                return
            self._is_alive = False  # an answer, then rubbish: the answer stands, the connection does not
        if self._is_message_complete:
            self._finish(exchange)
        elif not exchange.status:
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD_BYTES:
                self._break(f"The head of the engine's answer is longer than {MAX_HEAD_BYTES} bytes.")
        elif exchange._buffered_bytes > _PAUSE_AT_BYTES and not self._is_paused:
            self._is_paused = True
            self._transport.pause_reading()

    def eof_received(self) -> None:
        self._is_alive = False
        exchange = self._exchange
        if exchange is not None and exchange.status and not self._is_framed:
            self._exchange = None
            exchange.complete()  # a body without a length ends with the connection

    def connection_lost(self, exc: Exception | None) -> None:
        self._is_alive = False
        self._owner.closed(self)
        exchange = self._exchange
        if exchange is not None:
            self._exchange = None
            where = "in the middle of its answer" if exchange.status else "without an answer"
            error = EngineDied(f"The engine closed the connection {where}.")
            error.__cause__ = exc
            exchange.fail(error)
        if not self.lost.done():
            self.lost.set_result(None)

    # ---- httptools callbacks; they must not raise ----

    def on_message_begin(self) -> None:
        if self._is_message_complete:
            self._is_alive = False  # a second answer to one request

    def on_header(self, name: bytes, value: bytes) -> None:
        exchange = self._exchange
        if exchange is None or exchange.status or self._is_message_complete:
            return  # a trailer, or of an answer that nobody asked for
        exchange._raw_headers.append((name, value))
        lowered = name.lower()
        if lowered == b"content-length" or (lowered == b"transfer-encoding" and b"chunked" in value.lower()):
            self._is_framed = True

    def on_headers_complete(self) -> None:
        exchange = self._exchange
        if exchange is None or self._is_message_complete:
            return
        status = self._parser.get_status_code()
        if 100 <= status < 200:  # 100 Continue: the real answer follows
            self._is_interim = True
            exchange._raw_headers.clear()
            return
        exchange.status = status
        exchange.wake()

    def on_body(self, body: bytes) -> None:
        exchange = self._exchange
        if exchange is None or self._is_message_complete:
            return
        exchange._chunks.append(body)
        exchange._buffered_bytes += len(body)
        waiter = exchange._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def on_message_complete(self) -> None:
        if self._is_interim:
            self._is_interim = False
        else:
            if not self._parser.should_keep_alive():
                self._is_alive = False
            self._is_message_complete = True

    # ---- ends ----

    def _finish(self, exchange: Exchange) -> None:
        self._exchange = None
        # The engine may answer before it has read the whole request; the rest must not precede the next one.
        if not self._is_alive or self._transport.get_write_buffer_size():
            self.abort()
        else:
            self.resume_reading()
            self._owner.idle(self)
        exchange.complete()

    def _break(self, message: str) -> None:
        exchange = self._exchange
        self.abort()
        if exchange is not None:
            exchange.fail(EngineProtocolError(message))
