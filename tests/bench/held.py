"""Many clients in one process: each asks for a stream on a connection of its own, and keeps it open."""

from __future__ import annotations

import asyncio
import json
import resource
import socket

from . import load

_FILES_KEPT = 200
"""Open files that the router needs beside its streams: log, database, listener, plugins."""


def raise_files() -> int:
    """Let this process and what it starts open as many files as the system allows; returns how many that are."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def most_streams(files: int) -> int:
    """How many streams a server that may open *files* can hold: each has two ends.

    The router keeps an eighth of one in reserve (`http/limits.py`).
    """
    return (files - _FILES_KEPT) * 8 // 17


class Client(asyncio.Protocol):
    """One stream, open while `is_open`; `began` is done with its first token."""

    def __init__(self) -> None:
        self.is_open = False
        self.began: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._read = b""

    def connection_made(self, transport: asyncio.Transport) -> None:
        self.is_open = True
        self.transport = transport
        transport.write(REQUEST)

    def data_received(self, data: bytes) -> None:
        if self.began.done():
            return
        self._read += data
        if b"tok1" in self._read:
            self._read = b""
            self.began.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_open = False
        if not self.began.done():
            self.began.set_exception(ConnectionError(f"No stream began: {self._read[:200]!r}"))


_BODY = json.dumps(load.BODY | {"stream": True}, separators=(",", ":"))
REQUEST = (
    f"POST /v1/chat/completions HTTP/1.1\r\nhost: bench\r\nauthorization: Bearer {load.KEY}\r\n"
    f"content-type: application/json\r\ncontent-length: {len(_BODY)}\r\n\r\n{_BODY}"
).encode()


async def open_streams(port: int, count: int, *, at_once: int = 50) -> list[Client]:
    """Open *count* streams, *at_once* at a time, and wait until each has begun."""
    loop = asyncio.get_running_loop()
    clients: list[Client] = []
    while len(clients) < count:
        group = [Client() for _ in range(min(at_once, count - len(clients)))]
        for client in group:
            await loop.create_connection(lambda client=client: client, "127.0.0.1", port)
        await asyncio.wait_for(asyncio.gather(*(client.began for client in group)), 60)
        clients += group
    return clients


async def open_unread(port: int, count: int) -> list[socket.socket]:
    """Ask for *count* streams on sockets that nobody reads."""
    loop = asyncio.get_running_loop()
    sockets = []
    for _ in range(count):
        unread = socket.socket()
        unread.setblocking(False)
        # Full at once, not after megabytes: the server's own buffer is sized after the segments.
        unread.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        unread.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 536)
        await loop.sock_connect(unread, ("127.0.0.1", port))
        await loop.sock_sendall(unread, REQUEST)
        sockets.append(unread)
    return sockets
