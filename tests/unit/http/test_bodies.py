"""Bodies of requests on a connection, and clients that leave or do not read."""

from __future__ import annotations

import asyncio

import pytest

from enginehouse.http.exchange import Exchange
from enginehouse.http.limits import Limits

from .lanes import Echo, answers, listening

REQUEST = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nhost: x\r\n"


def refuses(exchange: Exchange) -> None:
    exchange.answer(401, (), b"no")


@pytest.mark.parametrize("is_split", [False, True])
async def test_a_refusal_at_the_head_drops_a_small_body_and_keeps_the_connection(is_split: bool) -> None:
    async with listening(refuses) as connect:
        reader, writer = await connect()
        for _ in range(2):
            writer.write(POST + b"content-length: 1000\r\n\r\n")
            if is_split:
                assert await answers(reader, 1) == [b"no"]
            writer.write(b"a" * 1000)
            if not is_split:
                assert await answers(reader, 1) == [b"no"]


@pytest.mark.parametrize(
    "framing",
    [b"content-length: 100000000\r\n\r\n", b"transfer-encoding: chunked\r\n\r\n", b"expect: 100-continue\r\n"],
)
async def test_a_refusal_at_the_head_of_another_body_ends_the_connection_and_is_read_whole(framing: bytes) -> None:
    """What the client still sends is dropped for a while: a reset could cost it the answer."""
    async with listening(refuses) as connect:
        reader, writer = await connect()
        more = b"content-length: 9\r\n\r\n" if framing.startswith(b"expect") else b""
        writer.write(POST + framing + more)
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 401")
        assert b"connection: close" in head
        assert body == b"no"
        for _ in range(20):
            writer.write(b"a" * 10_000)
            await writer.drain()


async def test_100_continue_is_sent_when_the_body_is_asked_for() -> None:
    async with listening(Echo) as connect:
        reader, writer = await connect()
        writer.write(POST + b"expect: 100-continue\r\ncontent-length: 4\r\n\r\n")
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(b"body")
        assert await answers(reader, 1) == [b"body"]


@pytest.mark.parametrize("framing", [b"content-length: 1001\r\n\r\n", b"transfer-encoding: chunked\r\n\r\n3e9\r\n"])
async def test_a_body_above_the_limit_is_told_of_at_once(framing: bytes) -> None:
    heard: list[Echo] = []
    async with listening(lambda exchange: heard.append(Echo(exchange))) as connect:
        reader, writer = await connect()
        writer.write(POST + framing + (b"a" * 1001 if framing.startswith(b"transfer") else b""))
        assert (await reader.readline()).startswith(b"HTTP/1.1 413")
        assert heard[0].said == ["BodyTooLarge"]


async def test_a_body_that_is_not_whole_in_time_is_told_of() -> None:
    heard: list[Echo] = []
    async with listening(lambda exchange: heard.append(Echo(exchange)), Limits(request_timeout_s=0.05)) as connect:
        reader, writer = await connect()
        writer.write(POST + b"content-length: 4\r\n\r\nbo")
        await reader.readline()
        assert heard[0].said == ["TooSlow"]


# ---- leaving, and not reading ----


class Endless(Echo):
    """Writes whenever it may."""

    def __init__(self, exchange: Exchange) -> None:
        self.written_bytes = 0
        super().__init__(exchange)
        exchange.begin(200, ())
        self.fill()

    def body(self, data: bytes) -> None:
        self.said.append("body")

    def fill(self) -> None:
        for _ in range(10_000):
            if self.exchange.is_paused or "left" in self.said:
                return
            self.written_bytes += 10_000
            self.exchange.write(b"a" * 10_000)

    def resume(self) -> None:
        super().resume()
        self.fill()


@pytest.mark.parametrize("how", ["close", "half", "reset"])
@pytest.mark.parametrize("handle", [Echo, Endless])
async def test_leaving_is_heard_while_a_request_runs_also_when_the_client_does_not_read(how: str, handle) -> None:
    heard: list[Echo] = []
    async with listening(lambda exchange: heard.append(handle(exchange))) as connect:
        _, writer = await connect()
        waits_for_body = b"content-length: 4\r\n\r\n" if handle is Echo else b"\r\n"
        writer.write(POST + waits_for_body)
        while not heard or (handle is Endless and "pause" not in heard[0].said):  # noqa: ASYNC110
            await asyncio.sleep(0)
        if how == "close":
            writer.close()
        elif how == "half":
            writer.write_eof()
        else:
            writer.transport.abort()
        while "left" not in heard[0].said:  # noqa: ASYNC110
            await asyncio.sleep(0)
        assert heard[0].said.count("left") == 1


async def test_a_client_that_takes_nothing_is_cut_off_and_a_slow_one_is_not() -> None:
    heard: list[Endless] = []
    async with listening(lambda exchange: heard.append(Endless(exchange)), Limits(send_timeout_s=0.2)) as connect:
        (await connect())[1].write(REQUEST)
        slow, slow_writer = await connect()
        slow_writer.write(REQUEST)
        while len(heard) < 2 or "left" not in heard[0].said:
            await asyncio.sleep(0.01)
            with_data = await slow.read(100_000)
            assert with_data
        assert "left" not in heard[1].said


async def test_two_hundred_clients_that_read_nothing_cost_bounded_memory() -> None:
    heard: list[Endless] = []
    async with listening(lambda exchange: heard.append(Endless(exchange))) as connect:
        for _ in range(200):
            (await connect())[1].write(REQUEST)
        while len(heard) < 200 or not all("pause" in each.said for each in heard):  # noqa: ASYNC110
            await asyncio.sleep(0)
        await asyncio.sleep(0.1)
        assert all(each.exchange.is_paused for each in heard)
        kept = [each.exchange.connection.transport.get_write_buffer_size() for each in heard]
        assert max(kept) <= 128 * 1024
