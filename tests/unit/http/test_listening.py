from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from enginehouse.http import listening
from enginehouse.http.limits import Limits
from enginehouse.http.listening import Listening
from enginehouse.http.shared import Shared

from .lanes import LIMITS, hello

REQUEST = b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
TLS = Path(__file__).parents[2] / "integration" / "tls"


class Exhausted(socket.socket):
    """A listener of a process that has no descriptor left for a while."""

    refusals = 0

    def accept(self):
        if self.refusals:
            self.refusals -= 1
            raise OSError(errno.EMFILE, "Too many open files")
        return super().accept()


@contextlib.asynccontextmanager
async def listener_of(
    kind=socket.socket, limits: Limits = LIMITS, tls: ssl.SSLContext | None = None
) -> AsyncIterator[tuple[socket.socket, Shared]]:
    made = kind()
    made.bind(("127.0.0.1", 0))
    made.listen(100)
    shared = Shared(hello, limits)
    server = Listening(made, shared, tls=tls)
    async with asyncio.timeout(20):
        try:
            yield made, shared
        finally:
            server.close()
            for connection in shared.connections:
                with contextlib.suppress(AttributeError):  # of a TLS transport that is closed already, on Python 3.11.2
                    connection.abort()
            while shared.connections:  # noqa: ASYNC110  # the server tells nobody
                await asyncio.sleep(0)


async def answer(address: tuple[str, int], tls: ssl.SSLContext | None = None) -> bytes:
    reader, writer = await asyncio.open_connection(*address, ssl=tls, server_hostname="localhost" if tls else None)
    writer.write(REQUEST)
    try:
        return await reader.read()
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def test_running_out_of_descriptors_is_survived_and_logged_now_and_then(
    monkeypatch: pytest.MonkeyPatch, logs
) -> None:
    monkeypatch.setattr(listening, "_RETRY_S", 0.01)
    async with listener_of(Exhausted) as (made, _):
        made.refusals = 20
        assert (await answer(made.getsockname())).startswith(b"HTTP/1.1 200")
        assert made.refusals == 0
    (line,) = logs
    assert (line["event"], line["log_level"]) == ("connections cannot be accepted", "error")
    assert "Too many open files" in line["error"]


def contexts() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(TLS / "cert.pem", TLS / "key.pem")
    return server, ssl.create_default_context(cafile=str(TLS / "cert.pem"))


async def test_a_handshake_that_is_not_done_counts_as_a_connection_and_gives_way() -> None:
    server, client = contexts()
    async with listener_of(limits=Limits(max_connections=2), tls=server) as (made, shared):
        silent = [await asyncio.open_connection(*made.getsockname()) for _ in range(4)]
        assert await silent[0][0].read() == b""  # the oldest two were given up for the others
        assert await silent[1][0].read() == b""
        assert len(shared.doors.inside) == 2
        assert (await answer(made.getsockname(), client)).startswith(b"HTTP/1.1 200")
        assert await silent[2][0].read() == b""
        for _, writer in silent:
            writer.close()


async def test_a_handshake_has_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listening, "_HANDSHAKE_TIMEOUT_S", 0.05)
    server, _ = contexts()
    async with listener_of(tls=server) as (made, shared):
        reader, writer = await asyncio.open_connection(*made.getsockname())
        assert await reader.read() == b""
        writer.close()
        while shared.doors.inside:  # noqa: ASYNC110  # the server tells nobody
            await asyncio.sleep(0)


async def test_who_speaks_no_tls_is_cut_off_and_costs_nobody_else() -> None:
    server, client = contexts()
    async with listener_of(tls=server) as (made, _):
        assert not (await answer(made.getsockname())).startswith(b"HTTP")
        assert (await answer(made.getsockname(), client)).startswith(b"HTTP/1.1 200")
