"""Exchanges that are closed or cancelled, whole answers and parts of them."""

import asyncio
import errno
import os
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enginehouse_kit.http.client import LocalClient
from enginehouse_kit.http.connection import Connection
from enginehouse_kit.http.exchange import Exchange
from enginehouse_plugin.errors import EngineOverloaded, EngineUnavailable

from .conftest import STALL, serving

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nX-Thing: one\r\n\r\nok"
CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"


@pytest.fixture
async def client(server):
    made = LocalClient(server.address)
    yield made
    await made.close()
    assert "0 open, 0 idle" in repr(made)


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS])
async def test_what_this_host_lacks_is_not_held_against_the_engine(client, monkeypatch, number):
    def exhausted(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(socket, "socket", exhausted)
    with pytest.raises(EngineOverloaded, match=os.strerror(number)):
        await client.request("GET", "/health")


def open_descriptors():
    return len(os.listdir("/dev/fd"))


async def until_closed(before):
    """Wait until no more descriptors are open than *before*: a loop closes them a few turns later."""
    async with asyncio.timeout(30):
        while open_descriptors() > before:  # noqa: ASYNC110  # nothing tells
            await asyncio.sleep(0.001)


async def test_closing_in_mid_stream_closes_the_connection_at_once(server, client):
    server.scripts = [[[CHUNKED, b"2\r\nab\r\n", STALL]]]
    exchange = await client.send("GET", "/")
    assert await exchange.read() == b"ab"
    exchange.close()
    exchange.close()
    await server.gone.wait()
    with pytest.raises(EngineUnavailable):
        await exchange.read()


async def test_a_complete_answer_that_is_not_read_keeps_its_connection(server, client):
    server.scripts = [[[OK], [OK]]]
    exchange = await client.send("GET", "/")
    exchange.close()
    assert await exchange.body() == b"ok"
    await client.request("GET", "/")
    assert server.connections == 1


async def test_a_request_that_is_answered_before_it_was_sent_is_read_and_its_connection_dropped(server, client):
    answer = b"HTTP/1.1 413 Too Large\r\ncontent-length: 2\r\n\r\nno"
    server.scripts = [[[answer, STALL]], [[OK]]]
    reply = await client.request("POST", "/early", b"x" * 8_000_000)
    assert (reply.status, reply.body) == (413, b"no")
    assert (await client.request("GET", "/")).body == b"ok"
    assert server.connections == 2


async def test_an_answer_that_is_not_read_stops_being_received(tmp_path):
    sent = 0

    async def flood(reader, writer):
        nonlocal sent
        await reader.readuntil(b"\r\n\r\n")
        writer.write(CHUNKED)
        for _ in range(400):
            writer.write(b"10000\r\n" + b"x" * 65536 + b"\r\n")
            await writer.drain()
            sent += 65536
        writer.write(b"0\r\n\r\n")
        await reader.read()

    path = str(tmp_path / "s")
    async with serving(flood, path=path):
        client = LocalClient(path)
        exchange = await client.send("GET", "/")
        before = -1
        while sent != before:  # until the sender is stuck
            before = sent
            await asyncio.sleep(0.05)
        assert sent < 5_000_000
        size = 0
        while data := await exchange.read():
            size += len(data)
        assert size == 400 * 65536
        await client.close()


@pytest.mark.parametrize("answer", [[STALL], [b"HTTP/1.1 200", STALL], [CHUNKED, STALL], [CHUNKED + b"2\r\na", STALL]])
@pytest.mark.parametrize("is_reused", [False, True])
async def test_cancelling_in_any_await_closes_the_connection(server, client, answer, is_reused):
    server.scripts = [[[OK], answer] if is_reused else [answer]]
    if is_reused:
        await client.request("GET", "/")
        server.asked.clear()
    pending = asyncio.ensure_future(client.request("GET", "/"))
    await server.asked.wait()
    await asyncio.sleep(0.005)
    pending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await pending
    await server.gone.wait()
    assert server.connections == 1


async def test_cancelling_at_any_step_leaks_nothing(server, client):
    server.scripts = [[[CHUNKED, b"2\r\nab\r\n", STALL]]]
    before = open_descriptors()
    for steps in range(12):
        pending = asyncio.ensure_future(client.request("GET", "/"))
        for _ in range(steps):
            await asyncio.sleep(0)
        pending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await pending
    await until_closed(before)
    assert "0 open" in repr(client)


async def test_a_cancelled_wait_for_a_backlog_leaks_nothing(tmp_path):
    path = str(tmp_path / "x.sock")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(path)
        listening.listen(0)
        before = 0
        for is_warm in (False, True):  # uvloop opens a spare descriptor with the first connection and keeps it
            client = LocalClient(path)
            pending = [asyncio.ensure_future(client.request("GET", "/")) for _ in range(6)]
            await asyncio.sleep(0.01)
            for request in pending:
                request.cancel()
            assert {type(error) for error in await asyncio.gather(*pending, return_exceptions=True)} == {
                asyncio.CancelledError
            }
            await client.close()
            if is_warm:
                await until_closed(before)
            before = open_descriptors()


@given(st.data())
def test_an_answer_is_read_the_same_however_it_is_split(data):
    """Feeds a connection without a socket."""
    body = data.draw(st.binary(max_size=200))
    wire = CHUNKED
    rest = body
    while rest:
        size = data.draw(st.integers(1, len(rest)))
        wire += b"%x\r\n" % size + rest[:size] + b"\r\n"
        rest = rest[size:]
    wire += b"0\r\n\r\n"
    cuts = sorted(data.draw(st.lists(st.integers(0, len(wire)), max_size=10)))

    async def run():
        ours, theirs = socket.socketpair()
        loop = asyncio.get_running_loop()
        client = LocalClient("unused")
        _, connection = await loop.create_unix_connection(lambda: Connection(client, loop), sock=ours)
        exchange = Exchange(1000)
        connection.begin(b"GET / HTTP/1.1\r\n\r\n", exchange)
        await asyncio.sleep(0)  # it is sent at the end of the turn
        for start, end in zip([0, *cuts], [*cuts, len(wire)], strict=True):
            if start < end:
                connection.data_received(wire[start:end])
        assert exchange.status == 200
        assert await exchange.body() == body
        assert "1 idle" in repr(client)
        await client.close()
        theirs.close()

    asyncio.run(run())
