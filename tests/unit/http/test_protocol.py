from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import uvicorn
from uvicorn.server import ServerState

from enginehouse.http import protocol

from .asgi import hello

Connect = Callable[[], Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]]]
REQUEST = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"


@asynccontextmanager
async def listening(max_connections: int = 0, app: Any = hello) -> AsyncIterator[Connect]:
    """A listener of *app* with our protocol; all connections made to it are closed after the block."""
    kind: Any = protocol.protocol_class(max_connections)  # Any: uvicorn makes it by keywords, its base takes no such
    config = uvicorn.Config(app, http=kind, log_config=None, lifespan="off")
    config.load()
    state = ServerState()
    server = await asyncio.get_running_loop().create_server(
        lambda: kind(config=config, server_state=state, app_state={}), "127.0.0.1", 0
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


async def echo(_: Any, receive: Any, send: Any) -> None:
    body = b""
    while (message := await receive())["type"] == "http.request":
        body += message["body"]
        if not message["more_body"]:
            break
    head = [(b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": head})
    await send({"type": "http.response.body", "body": body})


@pytest.mark.parametrize(
    "framing", [b"content-length: 4\r\n\r\nbody", b"transfer-encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n"]
)
@pytest.mark.parametrize("is_split", [False, True])
async def test_a_request_that_offers_another_protocol_is_answered_in_this_one(framing: bytes, is_split: bool) -> None:
    offer = b"connection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABk\r\n"
    async with listening(app=echo) as connect:
        reader, writer = await connect()
        for _ in range(2):  # the connection stays usable
            request = b"POST / HTTP/1.1\r\nhost: x\r\n" + offer + framing
            for part in [request[:-6], request[-6:]] if is_split else [request]:
                writer.write(part)
                await asyncio.sleep(0.01)
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200")
            assert await reader.readexactly(4) == b"body"


async def test_a_request_to_be_a_proxy_gets_400() -> None:
    async with listening() as connect:
        reader, writer = await connect()
        writer.write(b"CONNECT other:80 HTTP/1.1\r\nhost: x\r\n\r\n")
        assert (await error_in(reader))[0] == 400


@pytest.mark.parametrize("start", [REQUEST[:-2] + b"x: ", b"GET /"])
async def test_a_head_without_end_gets_431(start: bytes) -> None:
    async with listening() as connect:
        reader, writer = await connect()
        writer.write(start.ljust(protocol.MAX_HEAD_BYTES + 1, b"a"))
        status, error = await error_in(reader)
        assert (status, error["code"]) == (431, "request_head_too_large")


async def test_trailers_without_end_get_431() -> None:
    is_begun = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        is_begun.set()
        await echo(scope, receive, send)

    async with listening(app=app) as connect:
        reader, writer = await connect()
        writer.write(b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n0\r\nx: ")
        await is_begun.wait()
        writer.write(b"a" * (protocol.MAX_HEAD_BYTES + 1))
        assert (await error_in(reader))[0] == 431


@pytest.mark.parametrize(
    ("behind", "status"), [(b"nonsense\r\n\r\n", 400), (b"GET / HT", 408), (b"GET /" + b"a" * 100_000, 431)]
)
async def test_what_is_wrong_behind_a_request_is_told_after_its_answer(
    monkeypatch: pytest.MonkeyPatch, behind: bytes, status: int
) -> None:
    monkeypatch.setattr(protocol, "HEAD_TIMEOUT_S", 0.05)
    go_on = asyncio.Event()

    async def slow(_: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"one", "more_body": True})
        await go_on.wait()
        await send({"type": "http.response.body", "body": b"two"})

    async with listening(app=slow) as connect:
        reader, writer = await connect()
        writer.write(REQUEST)
        await reader.readuntil(b"one\r\n")
        writer.write(behind)
        await asyncio.sleep(0.2)  # the deadline for a head has passed
        go_on.set()
        assert await reader.readuntil(b"0\r\n\r\n") == b"3\r\ntwo\r\n0\r\n\r\n"
        assert (await error_in(reader))[0] == status
