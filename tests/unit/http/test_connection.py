from __future__ import annotations

import asyncio
import json

import pytest

from enginehouse.http import connection
from enginehouse.http.direct import DirectExchange
from enginehouse.http.exchange import Exchange

from .lanes import Echo, listening

REQUEST = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"


async def error_in(reader: asyncio.StreamReader) -> tuple[int, dict[str, object]]:
    """Status and error of the answer that ends the connection."""
    head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    assert b"connection: close" in head
    assert b"content-type: application/json" in head
    return int(head.split()[1]), json.loads(body)["error"]


@pytest.mark.parametrize("sent", [b"", b"GET / HT", b"GET / HTTP/1.1\r\nhost: x\r\n"])
async def test_a_head_that_does_not_come_whole_in_time_gets_408(monkeypatch: pytest.MonkeyPatch, sent: bytes) -> None:
    monkeypatch.setattr(connection, "HEAD_TIMEOUT_S", 0.05)
    async with listening() as connect:
        reader, writer = await connect()
        writer.write(sent)
        status, error = await error_in(reader)
        assert (status, error["code"]) == (408, "request_timeout")


async def test_the_deadline_holds_for_a_second_request_on_a_connection_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "HEAD_TIMEOUT_S", 0.05)
    async with listening() as connect:
        reader, writer = await connect()
        writer.write(REQUEST)
        assert (await reader.readuntil(b"hello")).startswith(b"HTTP/1.1 200")
        writer.write(REQUEST[:9])
        assert (await error_in(reader))[0] == 408


async def test_a_connection_above_the_limit_gets_503_and_room_comes_back() -> None:
    async with listening(max_connections=1) as connect:
        first, writer = await connect()
        writer.write(REQUEST)
        await first.readuntil(b"hello")
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


@pytest.mark.parametrize(
    "framing", [b"content-length: 4\r\n\r\nbody", b"transfer-encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n"]
)
@pytest.mark.parametrize("is_split", [False, True])
async def test_a_request_that_offers_another_protocol_is_answered_in_this_one(framing: bytes, is_split: bool) -> None:
    offer = b"connection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABk\r\n"
    async with listening(Echo) as connect:
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
        writer.write(start.ljust(connection.MAX_HEAD_BYTES + 1, b"a"))
        status, error = await error_in(reader)
        assert (status, error["code"]) == (431, "request_head_too_large")


async def test_trailers_without_end_get_431() -> None:
    is_begun = asyncio.Event()

    def handle(exchange: Exchange) -> None:
        Echo(exchange)
        is_begun.set()

    async with listening(handle) as connect:
        reader, writer = await connect()
        writer.write(b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n0\r\nx: ")
        await is_begun.wait()
        writer.write(b"a" * (connection.MAX_HEAD_BYTES + 1))
        assert (await error_in(reader))[0] == 431


@pytest.mark.parametrize(
    ("behind", "status"), [(b"nonsense\r\n\r\n", 400), (b"GET / HT", 408), (b"GET /" + b"a" * 100_000, 431)]
)
async def test_what_is_wrong_behind_a_request_is_told_after_its_answer(
    monkeypatch: pytest.MonkeyPatch, behind: bytes, status: int
) -> None:
    monkeypatch.setattr(connection, "HEAD_TIMEOUT_S", 0.05)
    begun: list[DirectExchange] = []

    def slow(exchange: DirectExchange) -> None:
        begun.append(exchange)
        exchange.begin(200, ())
        exchange.write(b"one")

    async with listening(slow) as connect:
        reader, writer = await connect()
        writer.write(REQUEST)
        await reader.readuntil(b"one\r\n")
        writer.write(behind)
        await asyncio.sleep(0.2)  # the deadline for a head has passed
        begun[0].write(b"two")
        begun[0].finish()
        assert await reader.readuntil(b"0\r\n\r\n") == b"3\r\ntwo\r\n0\r\n\r\n"
        assert (await error_in(reader))[0] == status
