"""A lean keep-alive HTTP/1.1 client for an engine on this host (Unix socket or loopback).

It exists for speed: one `asyncio.Protocol`, one write per request, no task and no timer per read. It
speaks plain HTTP only; a remote upstream needs a full client. Needs the extra `http` (httptools).

`send` and `request` are awaited; `start` pushes the events of an answer into a sink (`run.HttpRun`).

A connection that closes in the middle of an answer raises `EngineDied`, an answer that is not HTTP
raises `EngineProtocolError`, and an engine that cannot be reached raises `EngineUnavailable`; where this host has no
descriptor or memory left to reach it, that is `EngineOverloaded`.
"""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Callable, Sequence

import msgspec

from enginehouse_plugin.errors import EngineDied, EngineOverloaded, EngineUnavailable
from enginehouse_plugin.run import Run, Sink
from enginehouse_plugin.tracing import trace_headers

from .connection import Connection
from .exchange import Exchange, by_name
from .run import HttpRun, Reader

_MOST_HEADS = 64
_EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)

__all__ = ["Exchange", "LocalClient", "Reply"]


class Reply(msgspec.Struct, frozen=True):
    """A whole answer."""

    status: int
    raw_headers: Sequence[tuple[bytes, bytes]]
    body: bytes

    @property
    def headers(self) -> dict[str, str]:
        """Names in lower case; of repeated ones the last stands."""
        return by_name(self.raw_headers)


class LocalClient:
    """Keeps connections to one engine. *address* is the path of a Unix socket, or (host, port).

    With *keep_alive* False each request says `Connection: close`. At most *max_idle* connections are
    kept; how many are open at once is for the caller's admission to limit. *max_body_bytes* bounds
    `Exchange.body`, not streams. *headers* go with every request, and those of the trace that it belongs to.
    """

    def __init__(
        self,
        address: str | tuple[str, int],
        *,
        keep_alive: bool = True,
        max_idle: int = 64,
        max_body_bytes: int = 64 * 1024 * 1024,
        connect_timeout_s: float = 5.0,
        headers: Sequence[tuple[str, str]] = (),
    ) -> None:
        self.address = address
        self.max_body_bytes = max_body_bytes
        self.on_head: Callable[[Sequence[tuple[bytes, bytes]]], None] | None = None
        """Hears the headers of each answer that is pushed."""
        self._keep_alive = keep_alive
        self._max_idle = max_idle
        self._connect_timeout_s = connect_timeout_s
        self._headers = tuple(headers)
        self._host = "localhost" if isinstance(address, str) else f"{address[0]}:{address[1]}"
        self._idle: list[Connection] = []  # the last used is reused first
        self._open: set[Connection] = set()
        self._heads: dict[tuple[str, str, tuple[tuple[str, str], ...], bool], bytes] = {}  # of requests
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
        request = self._encode(method, path, body, tuple(headers))
        exchange = Exchange(self.max_body_bytes)
        # Three cases: a kept connection that answers, a kept connection that was closed, a new connection.
        connection = self.kept()
        was_dropped = False
        try:
            if connection is not None:
                connection.begin(request, exchange)
                try:
                    await exchange.head()
                except EngineDied:
                    if exchange.has_answer:
                        raise
                    was_dropped = True
                    exchange = Exchange(self.max_body_bytes)
                else:
                    return exchange
            (await self.connect(was_dropped=was_dropped)).begin(request, exchange)
            await exchange.head()
        except BaseException:
            exchange.close()
            raise
        return exchange

    def start(self, path: str, body: bytes, reader: Reader, sink: Sink, *, is_stream: bool) -> Run:
        """Post *body* and push the events that *reader* finds in the answer into *sink*.

        On a kept connection the request is written at once, else a task opens one; sent again as with `send`.
        A stream is read event by event, any other answer whole.

        Raises:
            EngineUnavailable: the client has been closed.
        """
        self._refuse_if_closed()
        return HttpRun(self, self._encode("POST", path, body), reader, sink, is_stream=is_stream)

    async def request(
        self, method: str, path: str, body: bytes = b"", headers: Sequence[tuple[str, str]] = ()
    ) -> Reply:
        """Send one request and return its whole answer. Raises as `send` and `Exchange.body` do."""
        exchange = await self.send(method, path, body, headers)
        try:
            return Reply(exchange.status, exchange.raw_headers, await exchange.body())
        finally:
            exchange.close()

    async def close(self) -> None:
        """Close every connection, those in use included, and take no more requests. Idempotent."""
        self._is_closed = True
        self._idle.clear()
        lost = [connection.lost for connection in self._open]
        for connection in tuple(self._open):
            incoming = connection.incoming
            connection.abort()
            if incoming is not None:
                incoming.fail(EngineUnavailable("The client has been closed."))
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

    # ---- for exchanges and runs ----

    def kept(self) -> Connection | None:
        """Take a kept connection, if there is one."""
        while self._idle:
            connection = self._idle.pop()
            if connection.is_alive:
                return connection
            connection.abort()
        return None

    async def connect(self, *, was_dropped: bool = False) -> Connection:
        """Open a connection; *was_dropped*: a kept one has just been closed by the engine.

        Raises:
            EngineUnavailable, EngineDied: the engine cannot be reached, the latter if *was_dropped*.
            EngineOverloaded: this host has nothing left to reach it with.
        """
        try:
            return await self._connect()
        except EngineUnavailable as error:
            if was_dropped:
                raise EngineDied("The engine closed the connection without an answer and is gone.") from error
            raise

    # ---- inside ----

    def _encode(self, method: str, path: str, body: bytes, headers: tuple[tuple[str, str], ...] = ()) -> bytes:
        """A whole request; heads are the same again and again, but for the length of the body."""
        kind = (method, path, headers, bool(body))
        head = self._heads.get(kind)
        if head is None:
            if len(self._heads) == _MOST_HEADS:
                self._heads.clear()
            head = self._heads[kind] = self._head(method, path, headers, has_body=bool(body))
        if traced := trace_headers.get():
            head += _lines(traced)
        return b"%bcontent-length: %d\r\n\r\n%b" % (head, len(body), body)

    def _head(self, method: str, path: str, headers: Sequence[tuple[str, str]], *, has_body: bool) -> bytes:
        """The head of a request, but for its trace and the length of its body."""
        named = [f"{name}: {value}" for name, value in (*self._headers, *headers)]
        lines = [f"{method} {path} HTTP/1.1", f"host: {self._host}", *named]
        if has_body and "content-type" not in {name.lower() for name, _ in headers}:
            lines.append("content-type: application/json")
        if not self._keep_alive:
            lines.append("connection: close")
        if any("\n" in line or "\r" in line for line in lines):
            raise ValueError("A method, path or header holds a line break.")
        return "\r\n".join((*lines, "")).encode("latin-1")

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
            if isinstance(error, OSError) and error.errno in _EXHAUSTED:  # which says nothing of the engine
                raise EngineOverloaded(f"This host cannot open a connection to the engine now: {error}.") from error
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


def _lines(headers: Sequence[tuple[str, str]]) -> bytes:
    return "".join(f"{name}: {value}\r\n" for name, value in headers).encode("latin-1")
