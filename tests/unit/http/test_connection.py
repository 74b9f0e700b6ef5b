from __future__ import annotations

import asyncio
import json

import pytest

from enginehouse.http import connection
from enginehouse.http.direct import DirectExchange
from enginehouse.http.exchange import Exchange

from .lanes import Echo, answers, hello, listening

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
    begun: list[DirectExchange] = []

    def slow(exchange: DirectExchange) -> None:
        begun.append(exchange)
        exchange.begin(200, ())
        exchange.write(b"one")

    async with listening(slow) as connect:
        reader, writer = await connect()
        writer.write(REQUEST)
        await reader.readuntil(b"one\r\n")
        monkeypatch.setattr(connection, "HEAD_TIMEOUT_S", 0.05)  # now that the first head has come, however late
        writer.write(behind)
        await asyncio.sleep(0.2)  # the deadline for a head has passed
        begun[0].write(b"two")
        begun[0].finish()
        assert await reader.readuntil(b"0\r\n\r\n") == b"3\r\ntwo\r\n0\r\n\r\n"
        assert (await error_in(reader))[0] == status


# ---- heads with no meaning, or more than one ----

POST = b"POST / HTTP/1.1\r\nhost: x\r\n"


@pytest.mark.parametrize(
    "sent",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: x\r\nhost: y\r\n\r\n",
        POST + b"authorization: Bearer a\r\nauthorization: Bearer b\r\n\r\n",
        POST + b"content-type: application/json\r\ncontent-type: text/plain\r\n\r\n",
        POST + b"content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        POST + b"content-length: 4\r\ncontent-length: 4\r\n\r\nbody",
        POST + b"content-length: 4, 4\r\n\r\nbody",
        POST + b"content-length: +4\r\n\r\nbody",
        POST + b"transfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        POST + b"transfer-encoding: chunked, gzip\r\n\r\n0\r\n\r\n",
        POST + b"transfer-encoding: xchunked\r\n\r\n0\r\n\r\n",
        POST + b"transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        POST + b"transfer-encoding : chunked\r\n\r\n0\r\n\r\n",
        POST + b"x: a\r\n b\r\n\r\n",
        POST + b"x: a\rb\r\n\r\n",
        POST + b"x: a\x00b\r\n\r\n",
        b"POST / HTTP/1.1\nhost: x\n\n",
        b"POST / HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        b"GET / HTTP/2.0\r\nhost: x\r\n\r\n",
        b"GET /\r\n\r\n",
    ],
    ids=lambda sent: repr(sent[-60:]),
)
async def test_a_head_that_two_readers_could_take_differently_gets_400(sent: bytes) -> None:
    async with listening() as connect:
        reader, writer = await connect()
        writer.write(sent + REQUEST)
        status, error = await error_in(reader)
        assert (status, error["code"]) == (400, "malformed_http")


@pytest.mark.parametrize("piece_bytes", [1000, 40_000, 100_000])
async def test_a_whole_head_above_the_limit_gets_431_and_one_below_is_read(piece_bytes: int) -> None:
    for filling, status in ((connection.MAX_HEAD_BYTES - 100, 200), (connection.MAX_HEAD_BYTES, 431)):
        async with listening() as connect:
            reader, writer = await connect()
            sent = REQUEST[:-2] + b"x: " + b"a" * filling + b"\r\n\r\n"
            for start in range(0, len(sent), piece_bytes):
                writer.write(sent[start : start + piece_bytes])
                await writer.drain()
                await asyncio.sleep(0)
            assert int((await reader.readline()).split()[1]) == status


# ---- requests in their order ----


async def test_answers_come_in_the_order_of_the_requests_whichever_is_ready_first() -> None:
    begun: list[DirectExchange] = []
    async with listening(begun.append) as connect:
        reader, writer = await connect()
        writer.write(REQUEST * 2)
        while not begun:  # noqa: ASYNC110
            await asyncio.sleep(0)
        begun[0].answer(200, (), b"first")
        assert await answers(reader, 1) == [b"first"]
        assert len(begun) == 2
        begun[1].answer(200, (), b"second")
        assert await answers(reader, 1) == [b"second"]


@pytest.mark.parametrize("is_quick", [True, False])
@pytest.mark.parametrize("framing", [b"\r\n", b"content-length: 4\r\n\r\nbody"])
async def test_thousands_of_requests_at_once_that_offer_another_protocol_are_answered(
    is_quick: bool, framing: bytes
) -> None:
    def later(exchange: DirectExchange) -> None:
        asyncio.get_running_loop().call_soon(exchange.answer, 200, (), b"ok")

    async with listening(Echo if is_quick else later) as connect:
        reader, writer = await connect()
        writer.write((POST + b"connection: upgrade\r\nupgrade: h2c\r\n" + framing) * 2000)
        body = (b"body" if len(framing) > 2 else b"") if is_quick else b"ok"
        assert await answers(reader, 2000) == [body] * 2000


async def test_a_connection_without_a_request_is_closed_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "KEEP_ALIVE_TIMEOUT_S", 0.05)
    async with listening() as connect:
        reader, writer = await connect()
        writer.write(REQUEST * 2)
        assert await answers(reader, 2) == [b"hello"] * 2
        assert await reader.read() == b""


# ---- answers, by what the client speaks ----


def streamed(exchange: Exchange) -> None:
    exchange.begin(200, [(b"x-own", b"1")])
    exchange.write(b"one")
    exchange.finish(b"two")


async def whole(handle, sent: bytes) -> bytes:
    """All that a connection brings for *sent*."""
    async with listening(handle) as connect:
        reader, writer = await connect()
        writer.write(sent)
        return await reader.read()


async def test_a_client_of_http_1_0_gets_no_chunks_and_the_end() -> None:
    for extra in (b"", b"connection: keep-alive\r\n"):
        head, _, body = (await whole(streamed, b"GET / HTTP/1.0\r\n" + extra + b"\r\n")).partition(b"\r\n\r\n")
        assert body == b"onetwo"
        assert b"transfer-encoding" not in head
        assert b"connection: close" in head


async def test_a_stream_goes_out_in_chunks() -> None:
    head, _, body = (await whole(streamed, REQUEST[:-2] + b"connection: close\r\n\r\n")).partition(b"\r\n\r\n")
    assert body == b"3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n"
    assert b"transfer-encoding: chunked" in head


@pytest.mark.parametrize("handle", [hello, streamed])
async def test_head_gets_the_head_alone(handle) -> None:
    sent = b"HEAD / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
    head, _, body = (await whole(handle, sent)).partition(b"\r\n\r\n")
    assert b"x-own: 1" in head
    assert body == b""


async def test_an_answer_without_content_has_no_length() -> None:
    data = await whole(lambda exchange: exchange.answer(204, (), b""), REQUEST[:-2] + b"connection: close\r\n\r\n")
    assert data.startswith(b"HTTP/1.1 204 No Content\r\n")
    assert b"content-length" not in data
    assert data.endswith(b"\r\n\r\n")


async def test_every_answer_has_the_date_and_the_headers_of_layers() -> None:
    def handle(exchange: Exchange) -> None:
        exchange.response_headers.append((b"x-layer", b"1"))
        hello(exchange)

    head = await whole(handle, REQUEST[:-2] + b"connection: close\r\n\r\n")
    assert b"\r\ndate: " in head
    assert b"\r\nx-layer: 1\r\n" in head


async def test_a_target_may_be_a_whole_url_and_have_a_query() -> None:
    seen: list[str] = []

    def handle(exchange: DirectExchange) -> None:
        seen.append(exchange.path)
        hello(exchange)

    async with listening(handle) as connect:
        reader, writer = await connect()
        for target in (b"/a%20b?c=/d", b"http://x/a%20b", b"/a%20b#f"):
            writer.write(b"GET " + target + b" HTTP/1.1\r\nhost: x\r\n\r\n")
        await answers(reader, 3)
    assert seen == ["/a b"] * 3


async def test_a_handler_that_breaks_costs_its_request_alone(logs) -> None:
    def handle(exchange: DirectExchange) -> None:
        if exchange.path == "/bad":
            raise RuntimeError("secret")
        hello(exchange)

    async with listening(handle) as connect:
        reader, writer = await connect()
        writer.write(b"GET /bad HTTP/1.1\r\nhost: x\r\n\r\n" + REQUEST)
        broken, fine = await answers(reader, 2)
        assert json.loads(broken)["error"]["code"] == "internal_error"
        assert b"secret" not in broken
        assert fine == b"hello"
    assert [line["event"] for line in logs] == ["request failed"]
