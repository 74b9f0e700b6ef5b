"""A lean keep-alive HTTP/1.1 client for an engine on this host (Unix socket or loopback).

It exists for speed: one `asyncio.Protocol`, one write per request, no task and no timer per read. It
speaks plain HTTP only; a remote upstream needs a full client. Needs the extra `http` (httptools).

A connection that closes in the middle of an answer raises `EngineDied`, an answer that is not HTTP
raises `EngineProtocolError`, and an engine that cannot be reached raises `EngineUnavailable`.
"""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Sequence

import msgspec

from enginehouse_plugin.errors import EngineDied, EngineUnavailable

from .connection import Connection, Exchange

__all__ = ["Exchange", "LocalClient", "Reply"]


class Reply(msgspec.Struct, frozen=True):
    """A whole answer. Names of headers are in lower case; of repeated ones the last stands."""

    status: int
    headers: dict[str, str]
    body: bytes


class LocalClient:
    """Keeps connections to one engine. *address* is the path of a Unix socket, or (host, port).

    With *keep_alive* False each request says `Connection: close`. At most *max_idle* connections are
    kept; how many are open at once is for the caller's admission to limit. *max_body_bytes* bounds
    `Exchange.body`, not streams.
    """

    def __init__(
        self,
        address: str | tuple[str, int],
        *,
        keep_alive: bool = True,
        max_idle: int = 64,
        max_body_bytes: int = 64 * 1024 * 1024,
        connect_timeout_s: float = 5.0,
    ) -> None:
        self.address = address
        self.max_body_bytes = max_body_bytes
        self._keep_alive = keep_alive
        self._max_idle = max_idle
        self._connect_timeout_s = connect_timeout_s
        self._host = "localhost" if isinstance(address, str) else f"{address[0]}:{address[1]}"
        self._idle: list[Connection] = []  # the last used is reused first
        self._open: set[Connection] = set()
        self._is_closed = False

    def __repr__(self) -> str:
        return f"<LocalClient {self.address!r}: {len(self._open)} open, {len(self._idle)} idle>"

    async def send(
        self, method: str, path: str, body: bytes = b"", headers: Sequence[tuple[str, str]] = ()
    ) -> Exchange:
        """Send one request and return when the head of its answer is there.

        The body is announced as JSON unless *headers* say otherwise. The request is sent a second time
        only when a kept connection closed before one byte of answer came: the engine closed it while it
        was idle. Close the exchange when done with it.

        Raises:
            EngineUnavailable: the engine cannot be reached.
            EngineDied, EngineProtocolError: it closed the connection, or answered what is not HTTP.
        """
        request = self._encode(method, path, body, headers)
        # Three cases: a kept connection that answers, a kept connection that was closed, a new connection.
        connection = self._take()
        was_dropped = False
        if connection is not None:
            exchange = connection.begin(request)
            try:
                await exchange.head()
            except EngineDied:
                if exchange.was_answered:
                    raise
                was_dropped = True
            except BaseException:
                exchange.close()
                raise
            else:
                return exchange
        try:
            connection = await self._connect()
        except EngineUnavailable as error:
            if was_dropped:
                raise EngineDied("The engine closed the connection without an answer and is gone.") from error
            raise
        exchange = connection.begin(request)
        try:
            await exchange.head()
        except BaseException:
            exchange.close()
            raise
        return exchange

    async def request(
        self, method: str, path: str, body: bytes = b"", headers: Sequence[tuple[str, str]] = ()
    ) -> Reply:
        """Send one request and return its whole answer. Raises as `send` and `Exchange.body` do."""
        exchange = await self.send(method, path, body, headers)
        try:
            return Reply(exchange.status, exchange.headers, await exchange.body())
        finally:
            exchange.close()

    async def close(self) -> None:
        """Close every connection, those in use included, and take no more requests. Idempotent."""
        self._is_closed = True
        self._idle.clear()
        lost = [connection.lost for connection in self._open]
        for connection in tuple(self._open):
            exchange = connection._exchange
            connection.abort()
            if exchange is not None:
                exchange.fail(EngineUnavailable("The client has been closed."))
        if lost:
            await asyncio.wait(lost)

    # ---- for connections ----

    def opened(self, connection: Connection) -> None:
        """Count *connection* as open."""
        self._open.add(connection)

    def idle(self, connection: Connection) -> None:
        """Keep *connection* for a later request, or close it."""
        if self._keep_alive and not self._is_closed and len(self._idle) < self._max_idle:
            self._idle.append(connection)
        else:
            connection.abort()

    def closed(self, connection: Connection) -> None:
        """Forget *connection*."""
        self._open.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)

    # ---- inside ----

    def _take(self) -> Connection | None:
        while self._idle:
            connection = self._idle.pop()
            if connection.is_alive:
                return connection
            connection.abort()
        return None

    def _encode(self, method: str, path: str, body: bytes, headers: Sequence[tuple[str, str]]) -> bytes:
        head = f"{method} {path} HTTP/1.1\r\nhost: {self._host}\r\ncontent-length: {len(body)}\r\n"
        lines = 3
        for name, value in headers:
            head += f"{name}: {value}\r\n"
            lines += 1
        if body and "content-type" not in {name.lower() for name, _ in headers}:
            head += "content-type: application/json\r\n"
            lines += 1
        if not self._keep_alive:
            head += "connection: close\r\n"
            lines += 1
        if head.count("\n") != lines or head.count("\r") != lines:
            raise ValueError("A method, path or header holds a line break.")
        return head.encode("latin-1") + b"\r\n" + body

    async def _connect(self) -> Connection:
        self._refuse_if_closed()
        loop = asyncio.get_running_loop()
        opened = Connection(self, loop)
        try:
            async with asyncio.timeout(self._connect_timeout_s):
                if isinstance(self.address, str):
                    await self._connect_unix(loop, self.address, opened)
                else:
                    await loop.create_connection(lambda: opened, *self.address)
        except (OSError, TimeoutError) as error:
            opened.give_up()
            raise EngineUnavailable(f"The engine does not answer at {self.address!r}: {error}") from error
        except BaseException:
            opened.give_up()
            raise
        try:
            self._refuse_if_closed()
        except EngineUnavailable:
            opened.abort()
            raise
        return opened

    def _refuse_if_closed(self) -> None:
        if self._is_closed:
            raise EngineUnavailable("The client has been closed.")

    async def _connect_unix(self, loop: asyncio.AbstractEventLoop, path: str, opened: Connection) -> None:
        # Connecting here, not in the loop: a full backlog answers EAGAIN, which asyncio takes for success
        # and uvloop for a failure. Engines listen with short backlogs, so it happens in any burst.
        while True:
            connecting = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                connecting.setblocking(False)
                connecting.connect(path)
                await loop.create_unix_connection(lambda: opened, sock=connecting)
            except OSError as error:
                connecting.close()
                if error.errno != errno.EAGAIN:
                    raise
            except BaseException:
                connecting.close()
                raise
            else:
                return
            await asyncio.sleep(0.002)
