"""Who is let in when it gets tight, and who gives way."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from enginehouse.http import connection, doors
from enginehouse.http.doors import Doors, Place
from enginehouse.http.exchange import Exchange
from enginehouse.http.limits import Limits
from enginehouse.http.proxies import TrustedProxies
from enginehouse.http.shared import Shared

from .lanes import Echo, listening

REQUEST = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"
HEALTH = b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\n\r\n"


def working(exchange: Exchange) -> None:
    """Answers `/health`, and a body with itself; anything else is never answered."""
    if exchange.path == "/health":
        exchange.answer(200, (), b"fine")
    elif exchange.method == "POST":
        Echo(exchange)


async def asked(connect: Any, request: bytes) -> bytes:
    """The head of the answer to *request* on a new connection; empty where it was closed."""
    reader, writer = await connect()
    writer.write(request)
    try:
        return await reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, ConnectionError):
        return b""


async def is_closed(reader: asyncio.StreamReader) -> bool:
    try:
        return await reader.read() == b""
    except ConnectionError:
        return True


async def known(connect: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection on which a request was admitted and answered."""
    reader, writer = await connect()
    writer.write(POST + b"body")
    await reader.readuntil(b"body")
    return reader, writer


async def test_at_the_limit_the_connection_that_is_silent_for_longest_gives_way() -> None:
    async with listening(working, Limits(max_connections=3)) as connect:
        silent = [(await connect())[0] for _ in range(3)]
        assert b" 200 " in await asked(connect, HEALTH)
        assert await is_closed(silent[0])
        assert not silent[1].at_eof()


async def test_silent_ones_give_way_before_those_that_were_used() -> None:
    async with listening(working, Limits(max_connections=2)) as connect:
        reader, writer = await known(connect)
        silent, _ = await connect()
        assert b" 200 " in await asked(connect, HEALTH)
        assert await is_closed(silent)
        writer.write(HEALTH)
        assert b" 200 " in await reader.readuntil(b"\r\n\r\n")


async def test_used_ones_give_way_from_the_longest_idle_on() -> None:
    async with listening(working, Limits(max_connections=2)) as connect:
        first, second = await known(connect), await known(connect)
        await asyncio.sleep(0.02)
        first[1].write(POST + b"body")
        await first[0].readuntil(b"body")
        assert b" 200 " in await asked(connect, POST + b"body")
        assert await is_closed(second[0])
        assert not first[0].at_eof()


@pytest.mark.parametrize("part", [POST + b"bo", b"POST / HT"])
async def test_a_request_that_is_slow_in_coming_gives_way_and_is_told_so(part: bytes) -> None:
    async with listening(working, Limits(max_connections=1)) as connect:
        slow, writer = await connect()
        writer.write(part)
        await asyncio.sleep(0.02)
        assert b" 200 " in await asked(connect, HEALTH)
        expected = b"HTTP/1.1 413" if part.startswith(POST) else b"HTTP/1.1 503"  # what `Echo` says of any failure
        assert (await slow.read()).startswith(expected)


async def test_what_is_under_way_never_gives_way_and_the_rest_is_told_so_while_health_is_answered() -> None:
    async with listening(working, Limits(max_connections=2)) as connect:
        busy = [await known(connect) for _ in range(2)]
        for _, writer in busy:
            writer.write(REQUEST)
        await asyncio.sleep(0.02)
        for _ in range(3):
            head = await asked(connect, POST + b"body")
            assert b" 503 " in head
            assert b"retry-after: 1" in head
            assert b" 200 " in await asked(connect, HEALTH)
        assert not any(reader.at_eof() for reader, _ in busy)
        busy[0][1].close()
        while b" 200 " not in await asked(connect, POST + b"body"):  # until the server has seen it
            pass


async def test_an_answer_that_nobody_takes_gives_way_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:

    def large(exchange: Exchange) -> None:
        if exchange.method == "POST":
            Echo(exchange)
        else:
            exchange.answer(200, (), b"a" * (20_000_000 if exchange.path == "/" else 1))

    async with listening(large, Limits(max_connections=1)) as connect:
        _, writer = await connect()
        writer.write(POST.replace(b"POST /", b"POST /known"))
        writer.transport.pause_reading()
        writer.write(b"body" + REQUEST)
        await asyncio.sleep(0.05)
        assert b" 503 " in await asked(connect, POST + b"body")
        monkeypatch.setattr(connection, "STALL_GRACE_S", -1)
        assert b" 200 " in await asked(connect, HEALTH)


async def test_an_answer_that_a_stranger_does_not_take_gives_way_at_once() -> None:
    async with listening(
        lambda exchange: exchange.answer(200, (), b"a" * 20_000_000), Limits(max_connections=1)
    ) as connect:
        _, writer = await connect()
        writer.transport.pause_reading()
        writer.write(REQUEST)
        await asyncio.sleep(0.05)
        assert b" 200 " in await asked(connect, HEALTH)


async def test_silent_connections_do_not_fill_what_is_reserved() -> None:
    async with listening(working, Limits(max_connections=1, max_reserved=2)) as connect:
        (await known(connect))[1].write(REQUEST)
        await asyncio.sleep(0.02)
        for _ in range(10):
            await connect()
        assert b" 200 " in await asked(connect, HEALTH)


async def test_strangers_never_cost_others_their_connections() -> None:
    seen: list[Shared] = []
    async with listening(working, Limits(max_connections=10, max_strangers=2), seen=seen) as connect:
        reader, writer = await known(connect)
        for _ in range(30):
            await connect()
        await asyncio.sleep(0.02)
        assert len(seen[0].doors.strangers) == 2
        writer.write(HEALTH)
        assert b" 200 " in await reader.readuntil(b"\r\n\r\n")


async def test_what_was_given_up_is_told_now_and_then(monkeypatch: pytest.MonkeyPatch, logs: Any) -> None:
    monkeypatch.setattr(doors, "_SWEEP_S", 0.05)
    monkeypatch.setattr(doors, "_TELL_EVERY_S", 0.05)
    async with listening(working, Limits(max_connections=1)) as connect:
        for _ in range(3):
            await connect()
        while not logs or sum(line["given_up"] for line in logs) < 2:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    assert {(line["event"], line["limit"]) for line in logs} == {("connections given up", 1)}


# ---- shares of addresses ----


def admitted(book: Doors, *hosts: str) -> list[bool]:
    """Whether each gets an ordinary place."""
    places = [book.admit(host) for host in hosts]
    return [place is not None and not place.is_reserved for place in places]


@pytest.mark.parametrize("hosts", [["9.9.9.9"] * 3, ["2001:db8::1", "2001:db8::2", "2001:db8::3"]])
def test_one_address_has_its_share_and_no_more(hosts: list[str]) -> None:
    book = Doors(Limits(max_per_address=2))
    assert admitted(book, *hosts) == [True, True, False]
    assert admitted(book, "8.8.8.8", "2001:db8:1::1") == [True, True]


def test_the_same_client_by_either_protocol_is_one() -> None:
    assert admitted(Doors(Limits(max_per_address=1)), "9.9.9.9", "::ffff:9.9.9.9") == [True, False]


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "10.1.2.3", ""])
def test_this_machine_and_trusted_proxies_have_no_share(host: str) -> None:
    book = Doors(Limits(max_per_address=1), TrustedProxies(["10.0.0.0/8"]))
    assert admitted(book, host, host) == [True, True]


def test_a_place_that_is_left_counts_no_more() -> None:
    book = Doors(Limits(max_per_address=1))
    place = book.admit("9.9.9.9")
    assert isinstance(place, Place)
    place.leave()
    assert admitted(book, "9.9.9.9") == [True]
    assert len(book.inside) == 1


def test_beyond_the_reserve_nobody_is_let_in() -> None:
    book = Doors(Limits(max_per_address=1, max_reserved=1))
    assert [book.admit("9.9.9.9") is None for _ in range(3)] == [False, False, True]
    assert book.turned_away == 2
