"""What a client sends beyond the request that is worked on: its turn, its order, its bounds."""

from __future__ import annotations

import asyncio

import pytest

from enginehouse.http import ahead, connection, turns
from enginehouse.http.direct import DirectExchange

from .lanes import Echo, answers, listening

REQUEST = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nhost: x\r\n"


async def test_more_requests_ahead_than_are_kept_end_the_connection_after_the_one_that_runs() -> None:
    begun: list[DirectExchange] = []
    async with listening(begun.append) as connect:
        reader, writer = await connect()
        writer.write(REQUEST)
        sent = POST + b"content-length: 1000\r\n\r\n" + b"a" * 1000
        for _ in range(ahead.MAX_AHEAD_BYTES // len(sent) + 300):
            writer.write(sent)
            await writer.drain()
        while not begun or not begun[0].connection._is_deaf:  # noqa: ASYNC110  # until it has read too much
            await asyncio.sleep(0)
        begun[0].answer(200, (), b"first")
        assert b"connection: close" in await reader.readuntil(b"\r\n\r\n")
        assert await reader.read() == b"first"
        assert len(begun) == 1


async def test_many_requests_at_once_give_others_their_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """One is begun before the loop goes on, however many connections send many, and none twice or out of order."""
    monkeypatch.setattr(turns, "ROUND_S", 0.0)
    begun_in: list[int] = []
    now = 0

    def noting(exchange: DirectExchange) -> None:
        begun_in.append(now)
        exchange.answer(200, (), exchange.path.encode())

    async with listening(noting) as connect:
        clients = [await connect() for _ in range(5)]
        for _, writer in clients:
            writer.write(b"".join(b"GET /%d HTTP/1.1\r\nhost: h\r\n\r\n" % number for number in range(200)))
        while len(begun_in) < 1000:
            now += 1
            await asyncio.sleep(0)
        for reader, _ in clients:
            assert await answers(reader, 200) == [b"/%d" % number for number in range(200)]
    # The first ones come with the reads; of all the others one is begun in a round.
    assert max(begun_in.count(each) for each in set(begun_in)) <= len(clients) + 1


async def test_many_connections_at_once_share_the_rounds_of_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of requests that are all there in one round only some are begun in it; all are answered, each by its own."""
    monkeypatch.setattr(turns, "AT_ONCE", 8)
    monkeypatch.setattr(turns, "LOOK_FROM", 4)
    monkeypatch.setattr(connection, "LOOK_FROM", 4)
    begun_in: list[int] = []
    now = 0

    def noting(exchange: DirectExchange) -> None:
        begun_in.append(now)
        if exchange.method == "POST":
            Echo(exchange)
        else:
            exchange.answer(200, (), exchange.path.encode())

    async with listening(noting) as connect:
        clients = [await connect() for _ in range(200)]
        for number, (_, writer) in enumerate(clients):
            head = b"GET /%d HTTP/1.1\r\nhost: h\r\n\r\n" % number
            posted = b"content-length: 3\r\n\r\n%03d" % number if number % 4 else b"transfer-encoding: chunked\r\n\r\n"
            posted += b"" if number % 4 else b"3\r\n%03d\r\n0\r\n\r\n" % number
            writer.write(head if number % 2 else POST + posted)
        while len(begun_in) < len(clients):
            now += 1
            await asyncio.sleep(0)
        found = [await answers(reader, 1) for reader, _ in clients]
        assert found == [[b"/%d" % number if number % 2 else b"%03d" % number] for number in range(len(clients))]
        for number, (_, writer) in enumerate(clients):  # and so are those behind them
            writer.write(b"GET /%d HTTP/1.1\r\nhost: h\r\n\r\n" % number)
        assert [await answers(reader, 1) for reader, _ in clients] == [[b"/%d" % at] for at in range(len(clients))]
    # As they are read, and in turns; this task and the loop's rounds need not begin together.
    assert max(begun_in[: len(clients)].count(each) for each in set(begun_in[: len(clients)])) <= 3 * 8


async def test_requests_of_no_visible_end_are_answered_in_order() -> None:
    """Of chunked bodies a piece may hold several."""
    sent = b"POST / HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n3\r\n%03d\r\n0\r\n\r\n"
    async with listening(Echo) as connect:
        reader, writer = await connect()
        writer.write(b"".join(sent % number for number in range(500)))
        assert await answers(reader, 500) == [b"%03d" % number for number in range(500)]


async def test_a_long_body_behind_many_requests_is_read_whole() -> None:
    body = b"a\r\n\r\n" * 400_000
    async with listening(lambda exchange: Echo(exchange, len(body))) as connect:
        reader, writer = await connect()
        writer.write(REQUEST * 300 + b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
        assert await answers(reader, 301) == [b""] * 300 + [body]


async def test_the_rest_of_a_head_that_is_kept_behind_a_request_is_no_missing_head(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connection, "HEAD_TIMEOUT_S", 0.05)
    begun: list[DirectExchange] = []
    async with listening(begun.append) as connect:
        reader, writer = await connect()
        writer.write(REQUEST + REQUEST[:9])
        while not begun:  # noqa: ASYNC110
            await asyncio.sleep(0)
        writer.write(REQUEST[9:])
        while not begun[0].connection._ahead:  # noqa: ASYNC110
            await asyncio.sleep(0)
        await asyncio.sleep(0.1)
        for at in range(2):
            while len(begun) <= at:  # noqa: ASYNC110
                await asyncio.sleep(0)
            begun[at].answer(200, (), b"%d" % at)
        assert await answers(reader, 2) == [b"0", b"1"]


@pytest.mark.interpreted
async def test_what_waits_of_a_connection_beyond_all_memory_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ahead.Holding, "grow", lambda *_: False)
    begun: list[DirectExchange] = []
    async with listening(begun.append) as connect:
        reader, writer = await connect()
        writer.write(REQUEST * 5000)
        while not begun or not begun[0].connection._is_deaf:  # noqa: ASYNC110
            await asyncio.sleep(0)
        begun[0].answer(200, (), b"first")
        assert b"connection: close" in await reader.readuntil(b"\r\n\r\n")
        assert await reader.read() == b"first"
        assert len(begun) == 1


async def test_what_waits_of_a_connection_is_counted_and_given_back() -> None:
    begun: list[DirectExchange] = []
    sent = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\n" + b"a" * 1000
    async with listening(begun.append) as connect:
        reader, writer = await connect()
        writer.write(sent * 101)
        while not begun:  # noqa: ASYNC110
            await asyncio.sleep(0)
        memory = begun[0].connection.shared.doors.memory
        while memory.bodies_bytes < 95 * len(sent):  # noqa: ASYNC110
            await asyncio.sleep(0)
        for at in range(101):
            while len(begun) <= at:  # noqa: ASYNC110
                await asyncio.sleep(0)
            begun[at].answer(200, (), b"")
        await answers(reader, 101)
        assert memory.bodies_bytes == 0
