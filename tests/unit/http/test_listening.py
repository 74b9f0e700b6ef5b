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
from enginehouse.http.listening import Listening
from enginehouse.http.shared import Shared

from .lanes import hello

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
async def listener_of(kind=socket.socket, **options) -> AsyncIterator[tuple[socket.socket, Shared]]:
    made = kind()
    made.bind(("127.0.0.1", 0))
    made.listen(100)
    shared = Shared(hello, write_timeout_s=60, max_body_bytes=1000)
    server = Listening(made, shared, **{"max_connections": 0, **options})
    async with asyncio.timeout(20):
        try:
            yield made, shared
        finally:
            server.close()
            for connection in [*shared.connections, *shared.refused]:
                connection.abort()
            while shared.connections or shared.refused:  # noqa: ASYNC110  # the server tells nobody
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


async def test_more_clients_above_the_limit_than_can_be_told_so_are_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listening, "_REFUSED_AT_ONCE", 2)
    async with listener_of(max_connections=1) as (made, shared):
        held = [await asyncio.open_connection(*made.getsockname()) for _ in range(3)]
        for reader, _ in held[1:]:
            assert b" 503 " in await reader.readline()
        assert len(shared.refused) == 2
        reader, writer = await asyncio.open_connection(*made.getsockname())
        assert await reader.read() == b""
        for each in [writer, *(writer for _, writer in held)]:
            each.close()
            with contextlib.suppress(OSError):
                await each.wait_closed()


def contexts() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(TLS / "cert.pem", TLS / "key.pem")
    return server, ssl.create_default_context(cafile=str(TLS / "cert.pem"))


async def test_a_handshake_that_is_not_done_counts_as_a_connection() -> None:
    server, client = contexts()
    async with listener_of(max_connections=1, tls=server) as (made, _):
        _, silent = await asyncio.open_connection(*made.getsockname())
        await asyncio.sleep(0.05)
        assert b"HTTP/1.1 503" in await answer(made.getsockname(), client)
        silent.close()
        await silent.wait_closed()
        while not (await answer(made.getsockname(), client)).startswith(b"HTTP/1.1 200"):
            pass


async def test_who_speaks_no_tls_is_cut_off_and_costs_nobody_else() -> None:
    server, client = contexts()
    async with listener_of(tls=server) as (made, _):
        assert not (await answer(made.getsockname())).startswith(b"HTTP")
        assert (await answer(made.getsockname(), client)).startswith(b"HTTP/1.1 200")
