"""Slow requests, clients that do not read, memory in flight, and descriptors."""

from __future__ import annotations

import asyncio
import json
import resource
from typing import Any

import pytest

from enginehouse.config import ConfigError, ServerConfig
from enginehouse.dialects.openai import errors
from enginehouse.http import connection, doors, limits, writing
from enginehouse.http.exchange import Exchange
from enginehouse.http.limits import Limits, raise_descriptors, room_for_connections
from enginehouse.http.shared import Shared
from enginehouse_plugin.errors import EnginehouseError

from .lanes import Echo, listening

POST = b"POST / HTTP/1.1\r\nhost: x\r\n"
GET = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"


class Told(Echo):
    """Answers as endpoints do."""

    def body_failed(self, error: Exception) -> None:
        assert isinstance(error, EnginehouseError)
        self.exchange.refuse(errors.describe(error))


def echo(exchange: Exchange) -> None:
    Told(exchange, 10_000_000)


async def code_of(reader: asyncio.StreamReader) -> tuple[int, str]:
    """Status and code of an error, which ends the connection."""
    head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body)["error"]["code"]


# ---- requests that are slow in coming ----

FRAMINGS = [
    (b"content-length: 1000\r\n\r\n", b"a"),
    (b"transfer-encoding: chunked\r\n\r\n", b"1\r\na\r\n"),
    (b"transfer-encoding: chunked\r\n\r\n", b"0"),  # a chunk's size that never ends
    (b"expect: 100-continue\r\ncontent-length: 1000\r\n\r\n", b"a"),
]


@pytest.mark.parametrize("is_silent", [True, False])
@pytest.mark.parametrize(("framing", "drop"), FRAMINGS)
async def test_a_body_that_does_not_come_or_drips_ends_in_time(framing: bytes, drop: bytes, is_silent: bool) -> None:
    async with listening(echo, Limits(request_timeout_s=0.2)) as connect:
        reader, writer = await connect()
        writer.write(POST + framing)

        async def drip() -> None:
            while not is_silent:
                writer.write(drop)
                await asyncio.sleep(0.02)

        dripping = asyncio.create_task(drip())
        async with asyncio.timeout(5):
            if b"100-continue" in framing:
                assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
            assert await code_of(reader) == (408, "request_timeout")
        dripping.cancel()


async def test_head_and_body_have_one_time_together() -> None:
    async with listening(echo, Limits(request_timeout_s=1)) as connect:
        reader, writer = await connect()
        began = asyncio.get_running_loop().time()
        writer.write(POST)
        await asyncio.sleep(0.7)
        writer.write(b"content-length: 4\r\n\r\nbo")
        assert await code_of(reader) == (408, "request_timeout")
        assert asyncio.get_running_loop().time() - began < 1.7


async def test_a_body_that_comes_fast_enough_has_the_time_it_needs() -> None:
    async with listening(echo, Limits(request_timeout_s=0.3, min_upload_bytes_s=1000)) as connect:
        reader, writer = await connect()
        writer.write(POST + b"content-length: 5000\r\n\r\n")
        for _ in range(5):
            writer.write(b"a" * 1000)
            await asyncio.sleep(0.1)
        assert b" 200 " in await reader.readline()


async def test_a_body_that_the_answer_does_not_need_is_not_waited_for() -> None:
    def answered(exchange: Exchange) -> None:
        exchange.answer(200, (), b"fine")

    async with listening(answered) as connect:
        reader, writer = await connect()
        writer.write(GET[:-2] + b"content-length: 1000000\r\n\r\n")
        answer = await reader.read()  # to the end: the connection is over
        assert answer.startswith(b"HTTP/1.1 200")
        assert answer.endswith(b"fine")


# ---- clients that do not read ----

LARGE = 20_000_000


def large(exchange: Exchange) -> None:
    exchange.answer(200, (), b"a" * LARGE)


async def unread(connect: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A client that has asked and reads nothing."""
    reader, writer = await connect()
    writer.transport.pause_reading()
    writer.write(GET)
    return reader, writer


async def test_who_never_takes_a_whole_answer_is_ended_and_its_memory_is_given_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[Shared] = []
    async with listening(large, Limits(send_timeout_s=0.4), seen=seen) as connect:
        book = (await unread(connect), seen[0].doors)[1]
        while not book.memory.answers_bytes:  # noqa: ASYNC110  # nobody is told
            await asyncio.sleep(0.01)
        assert LARGE * 0.5 < book.memory.answers_bytes <= LARGE * 1.1
        while book.inside:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.2)
        assert book.memory.answers_bytes == 0


async def test_who_takes_it_slowly_gets_it_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "KEEP_ALIVE_TIMEOUT_S", 0.05)
    monkeypatch.setattr(writing, "LINGER_S", 0.05)
    async with listening(large, Limits(send_timeout_s=5)) as connect:
        reader, writer = await connect()
        writer.write(GET)
        await reader.readuntil(b"\r\n\r\n")
        size = 0
        while data := await reader.read(LARGE // 50):
            size += len(data)
            await asyncio.sleep(0.02)
        assert size == LARGE


async def test_who_takes_no_answer_gets_no_further_one_however_many_are_asked_for() -> None:
    begun: list[str] = []

    def counted(exchange: Exchange) -> None:
        begun.append(exchange.path)
        large(exchange)

    async with listening(counted) as connect:
        for more in (GET, GET[:-2] + b"content-length: 1\r\n\r\na", POST + b"content-length: 1\r\n\r\na"):
            begun.clear()
            reader, writer = await connect()
            writer.transport.pause_reading()
            for _ in range(5):
                writer.write(more * 20)
                await asyncio.sleep(0.02)
            assert len(begun) == 1
            writer.transport.resume_reading()
            for _ in range(3):  # each when the one before is taken
                await reader.readuntil(b"\r\n\r\n")
                await reader.readexactly(LARGE)


async def test_of_answers_beyond_the_memory_the_one_longest_untaken_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doors, "_SWEEP_S", 0.05)
    seen: list[Shared] = []
    async with listening(large, Limits(max_in_flight_bytes=LARGE * 3 // 2), seen=seen) as connect:
        await unread(connect)
        await asyncio.sleep(0.2)
        (first,) = seen[0].connections
        await unread(connect)
        while first in seen[0].connections:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.2)
        assert len(seen[0].connections) == 1


# ---- memory of bodies ----


async def test_bodies_beyond_the_memory_get_503_small_ones_pass_and_all_is_given_back() -> None:
    seen: list[Shared] = []
    async with listening(echo, Limits(max_in_flight_bytes=1_000_000), seen=seen) as connect:
        memory = seen[0].doors.memory
        _, holder = await connect()
        holder.write(POST + b"content-length: 900001\r\n\r\n" + b"a" * 900_000)
        while memory.bodies_bytes < 900_000:  # noqa: ASYNC110
            await asyncio.sleep(0)
        reader, writer = await connect()
        writer.write(POST + b"content-length: 200000\r\n\r\n" + b"a" * 200_000)
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 503")
        assert b"retry-after: 1" in head
        assert b'"memory_full"' in await reader.read()
        small, writer = await connect()
        writer.write(POST + b"content-length: 4\r\n\r\nbody")
        assert await small.readuntil(b"body")
        holder.close()
        while memory.bodies_bytes:  # noqa: ASYNC110
            await asyncio.sleep(0)
        reader, writer = await connect()
        writer.write(POST + b"content-length: 200000\r\n\r\n" + b"a" * 200_000)
        assert b" 200 " in await reader.readline()


# ---- descriptors ----


def test_connections_leave_descriptors_for_engines_and_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits.os, "listdir", lambda _: ["0"] * 30)
    for descriptors, models in ((256, 1), (1024, 3), (65_536, 10)):
        room = room_for_connections(descriptors, models)
        kept = 30 + 40 + 12 * models
        assert descriptors * 0.9 - kept < 2 * room + limits.reserved_beside(room) <= descriptors - kept
    with pytest.raises(ConfigError, match="ulimit -n"):
        room_for_connections(90, 1)


@pytest.mark.parametrize(
    ("before", "after"),
    [((256, 4096), 4096), ((4096, 4096), 4096), ((1024, resource.RLIM_INFINITY), 1 << 20), ((1024, 1 << 30), 1 << 20)],
)
def test_the_process_takes_the_descriptors_that_it_may_have(
    monkeypatch: pytest.MonkeyPatch, before: tuple[int, int], after: int
) -> None:
    asked: list[tuple[int, int]] = []
    monkeypatch.setattr(limits.sys, "platform", "linux")
    monkeypatch.setattr(limits.resource, "getrlimit", lambda _: before)
    monkeypatch.setattr(limits.resource, "setrlimit", lambda _, wanted: asked.append(wanted))
    assert raise_descriptors() == after
    assert asked == ([] if before[0] == after else [(after, before[1])])


def test_the_configuration_becomes_limits_within_the_room() -> None:
    made = Limits.of(ServerConfig(max_connections=1000, max_connections_per_address=7), 100)
    assert (made.max_connections, made.max_strangers, made.max_per_address, made.max_reserved) == (100, 50, 7, 6)
    assert Limits.of(ServerConfig(), 10**9).max_per_address == 2048
    assert Limits.of(ServerConfig(trusted_proxies=("10.0.0.1",)), 10**9).max_per_address == 0
