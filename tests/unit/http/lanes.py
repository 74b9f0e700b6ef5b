"""Handlers on real connections of ours, and exchanges without any connection."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

from enginehouse.dialects.endpoint import Header
from enginehouse.http.direct import DirectExchange
from enginehouse.http.exchange import Exchange
from enginehouse.http.head import Head
from enginehouse.http.limits import Limits
from enginehouse.http.listening import Listening
from enginehouse.http.shared import Shared

Connect = Callable[[], Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]]]
Handle = Callable[[DirectExchange], None]
LIMITS = Limits(max_body_bytes=1_000_000)


class Recorded(Exchange):
    """An exchange whose answer is kept."""

    def __init__(self, *headers: tuple[str, str], method: str = "GET", path: str = "/") -> None:
        named = [(name.encode(), value.encode("latin-1")) for name, value in headers]
        super().__init__(Head(method, path, named), "1.2.3.4")
        self.status = 0
        self.sent: list[Header] = []
        self.body = b""
        self.is_ended = False
        self.asked_bytes: int | None = None

    def all(self, name: str) -> list[str]:
        """All values of the header *name* that are sent, or would be."""
        own = self.sent if self.is_begun else self.response_headers
        return [value.decode() for key, value in own if key == name.encode()]

    def read_body(self, limit_bytes: int) -> None:
        self.asked_bytes = limit_bytes

    def answer(self, status: int, headers: Sequence[Header], body: bytes) -> None:
        self.begin(status, headers)
        self.finish(body)

    def begin(self, status: int, headers: Sequence[Header]) -> None:
        if not self.is_begun:
            self.is_begun = True
            self.status = status
            self.sent = [*headers, *self.response_headers]

    def write(self, data: bytes) -> None:
        assert self.is_begun
        assert not self.is_ended
        self.body += data

    def finish(self, data: bytes = b"") -> None:
        self.write(data)
        self.is_ended = True

    def abort(self) -> None:
        self.is_ended = True
        if self.listener is not None:
            self.listener.client_left()


class Echo:
    """Answers with the body; `said` is what it heard."""

    def __init__(self, exchange: Exchange, limit_bytes: int = 1000) -> None:
        self.exchange = exchange
        self.said: list[str] = []
        exchange.listener = self
        exchange.read_body(limit_bytes)

    def body(self, data: bytes) -> None:
        self.said.append("body")
        self.exchange.answer(200, [(b"x-own", b"1")], data)

    def body_failed(self, error: Exception) -> None:
        self.said.append(type(error).__name__)
        self.exchange.answer(413, (), b"no")

    def client_left(self) -> None:
        self.said.append("left")

    def pause(self) -> None:
        self.said.append("pause")

    def resume(self) -> None:
        self.said.append("resume")


def hello(exchange: Exchange) -> None:
    exchange.answer(200, [(b"x-own", b"1")], b"hello")


@asynccontextmanager
async def listening(
    handle: Handle = hello,
    limits: Limits = LIMITS,
    *,
    tls: ssl.SSLContext | None = None,
    seen: list[Shared] | None = None,
) -> AsyncIterator[Connect]:
    """A listener of *handle*; all connections made to it are closed after the block, and the server's with them."""
    shared = Shared(handle, limits)
    if seen is not None:
        seen.append(shared)
    listener = socket.create_server(("127.0.0.1", 0), backlog=512)
    address = listener.getsockname()
    server = Listening(listener, shared, tls=tls)
    writers = []

    async def connect() -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection(*address)
        writers.append(writer)
        return reader, writer

    async with asyncio.timeout(30):
        try:
            yield connect
        finally:
            for writer in writers:
                writer.close()
                await asyncio.wait([asyncio.ensure_future(writer.wait_closed())])
            while shared.connections:  # noqa: ASYNC110 - the server tells nobody
                await asyncio.sleep(0)
            server.close()


async def answers(reader: asyncio.StreamReader, number: int) -> list[bytes]:
    """The bodies of that many answers."""
    found = []
    for _ in range(number):
        head = await reader.readuntil(b"\r\n\r\n")
        length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
        found.append(await reader.readexactly(int(length)))
    return found
