from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
import uvicorn
from uvicorn.server import ServerState

from enginehouse.http import protocol

from .asgi import hello

Connect = Callable[[], Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]]]
REQUEST = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"


@asynccontextmanager
async def listening(max_connections: int = 0) -> AsyncIterator[Connect]:
    """A listener of `hello` with our protocol; all connections made to it are closed after the block."""
    config = uvicorn.Config(hello, http=protocol.protocol_class(max_connections), log_config=None, lifespan="off")
    config.load()
    state = ServerState()
    server = await asyncio.get_running_loop().create_server(
        lambda: config.http_protocol_class(config=config, server_state=state, app_state={}), "127.0.0.1", 0
    )
    port = server.sockets[0].getsockname()[1]
    writers = []

    async def connect() -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writers.append(writer)
        return reader, writer

    async with asyncio.timeout(30), server:
        try:
            yield connect
        finally:
            for writer in writers:
                writer.close()
                await asyncio.wait([asyncio.ensure_future(writer.wait_closed())])
            while state.connections:  # noqa: ASYNC110 - the server tells nobody
                await asyncio.sleep(0)


async def error_in(reader: asyncio.StreamReader) -> tuple[int, dict[str, object]]:
    """Status and error of the answer that ends the connection."""
    head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    assert b"connection: close" in head
    assert b"content-type: application/json" in head
    return int(head.split()[1]), json.loads(body)["error"]


@pytest.mark.parametrize("sent", [b"", b"GET / HT", b"GET / HTTP/1.1\r\nhost: x\r\n"])
async def test_a_head_that_does_not_come_whole_in_time_gets_408(monkeypatch: pytest.MonkeyPatch, sent: bytes) -> None:
    monkeypatch.setattr(protocol, "HEAD_TIMEOUT_S", 0.05)
    async with listening() as connect:
        reader, writer = await connect()
        writer.write(sent)
        status, error = await error_in(reader)
        assert (status, error["code"]) == (408, "request_timeout")


async def test_the_deadline_holds_for_a_second_request_on_a_connection_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "HEAD_TIMEOUT_S", 0.05)
    async with listening() as connect:
        reader, writer = await connect()
        writer.write(REQUEST)
        assert (await reader.readuntil(b"0\r\n\r\n")).startswith(b"HTTP/1.1 200")
        writer.write(REQUEST[:9])
        assert (await error_in(reader))[0] == 408


async def test_a_connection_above_the_limit_gets_503_and_room_comes_back() -> None:
    async with listening(max_connections=1) as connect:
        first, writer = await connect()
        writer.write(REQUEST)
        await first.readuntil(b"0\r\n\r\n")
        second, _ = await connect()
        status, error = await error_in(second)
        assert (status, error["code"]) == (503, "too_many_connections")
        writer.close()
        status = 503
        while status == 503:  # until the server has seen that the first is gone
            reader, writer = await connect()
            writer.write(REQUEST)
            status = int((await reader.readuntil(b"\r\n\r\n")).split()[1])
        assert status == 200


@pytest.mark.parametrize("sent", [b"nonsense\r\n\r\n", b"GET /\xff HTTP/1.1\r\nhost: x\r\n\r\n", b"\x00" * 10])
async def test_what_is_no_http_gets_400_in_the_form_of_the_api(sent: bytes) -> None:
    async with listening() as connect:
        reader, writer = await connect()
        writer.write(sent)
        status, error = await error_in(reader)
        assert status == 400
        assert set(error) == {"message", "type", "param", "code"}
