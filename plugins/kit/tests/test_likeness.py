from __future__ import annotations

import asyncio
import random
from typing import cast

import pytest

from enginehouse_kit.http import connection as module
from enginehouse_kit.http.connection import Connection
from enginehouse_kit.http.exchange import Incoming
from enginehouse_plugin.errors import EngineError

pytestmark = pytest.mark.interpreted  # who hears its answers, and a parser, are doubles

HEAD = b"HTTP/1.1 200 OK\r\nDate: now\r\nContent-Length: %d\r\nx-of: engine\r\n\r\n"


def answer(body: bytes) -> bytes:
    return HEAD % len(body) + body


class Owner:
    """A client that keeps what it is told."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def opened(self, connection: Connection) -> None:
        self.said.append("opened")

    def idle(self, connection: Connection) -> None:
        self.said.append("idle")

    def closed(self, connection: Connection) -> None:
        self.said.append("closed")


class Transport(asyncio.Transport):
    """A transport that takes everything."""

    def write(self, data: object) -> None:
        pass

    def abort(self) -> None:
        pass

    def is_closing(self) -> bool:
        return False

    def get_write_buffer_size(self) -> int:
        return 0


class Heard(Incoming):
    """An answer as it is heard."""

    def __init__(self) -> None:
        super().__init__()
        self.said: list[object] = []

    def advance(self) -> None:
        self.said.append("advance")

    def complete(self) -> None:
        self.said.append("complete")

    def fail(self, error: EngineError) -> None:
        self.said.append(type(error))


def heard(*reads: bytes) -> list[object]:
    """What is heard of two answers on one connection: the first in the first read, the other in all that follow."""
    owner = Owner()
    connection = Connection(owner, asyncio.get_running_loop())
    connection.connection_made(Transport())
    found: list[object] = []
    for parts in (reads[:1], reads[1:]):
        incoming = Heard()
        connection.begin(b"", incoming)
        for part in parts:
            connection.data_received(part)
        found.append((incoming.said, incoming.status, incoming.headers, b"".join(incoming.chunks)))
    return [*found, owner.said, connection.is_alive]


FOLLOWING = {
    "another body": [answer(b"second")],
    "the same": [answer(b"first")],
    "a long body": [answer(b"x" * 100_000)],
    "no body": [answer(b"")],
    "another status": [answer(b"second").replace(b"200 OK", b"500 No")],
    "another header": [answer(b"second").replace(b"engine", b"others")],
    "in pieces": [answer(b"second")[:20], answer(b"second")[20:-2], answer(b"second")[-2:]],
    "the body later": [HEAD % 6, b"second"],
    "too short": [HEAD % 7 + b"second"],
    "too long": [HEAD % 5 + b"second"],
    "no number": [(HEAD % 6).replace(b": 6", b": 6x") + b"second"],
    "no length": [(HEAD % 6).replace(b": 6", b": ") + b"second"],
    "a long number": [(HEAD % 6).replace(b": 6", b": 00000000000000000000000006") + b"second"],
    "two lengths": [answer(b"second").replace(b"x-of", b"content-length: 5\r\nx-of")],
    "it closes": [answer(b"second").replace(b"x-of: engine", b"connection: close")],
    "an interim answer": [b"HTTP/1.1 100 Continue\r\n\r\n" + answer(b"second")],
    "rubbish": [b"\x00"],
}


@pytest.mark.parametrize("first", [answer(b"first"), answer(b"")], ids=["a body", "none"])
@pytest.mark.parametrize("following", FOLLOWING.values(), ids=FOLLOWING)
async def test_an_answer_like_the_last_means_what_the_parser_makes_of_it(
    first: bytes, following: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    with_likeness = heard(first, *following)
    monkeypatch.setattr(module, "likeness_of", lambda *_: None)
    assert heard(first, *following) == with_likeness


async def test_an_answer_like_the_last_takes_no_parser(monkeypatch: pytest.MonkeyPatch) -> None:
    connection = Connection(Owner(), asyncio.get_running_loop())
    connection.connection_made(Transport())
    for body in (b"one", b"another"):
        incoming = Heard()
        connection.begin(b"", incoming)
        connection.data_received(answer(body))
        assert (incoming.said, incoming.chunks) == (["complete"], [body])
        monkeypatch.setattr(connection, "_parser", cast("None", None))


CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
CHUNKS = [
    b"3\r\none\r\n",
    b"14\r\n" + b"x" * 20 + b"\r\n",
    b"2\r\n\r\n\r\n",
    b"6\r\n1\r\nx\r\n\r\n",
    b"A\r\nuppercase.\r\n",
    b"003\r\nold\r\n",
    b"3;name=value\r\nnew\r\n",
    b"2000\r\n" + b"y" * 0x2000 + b"\r\n",
]
ENDS = [
    b"0\r\n\r\n",
    b"0\r\ntrailer: x\r\n\r\n",
    b"0\r\n\r\nrubbish",
    b"3\r\nfour\r\n",
    b"+3\r\none\r\n",
    b"0x3\r\none\r\n",
    b"3\none\r\n",
    b"\r\n",
    b"",
]


@pytest.mark.parametrize("end", ENDS)
async def test_a_read_that_is_one_chunk_means_what_the_parser_makes_of_it(
    end: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    chance = random.Random(len(end))
    # What looks like a chunk is in the midst of one here.
    told = [(answer(b"first"), CHUNKED + CHUNKS[0] + b"6\r\n", b"1\r\nx\r\n", b"\r\n" + CHUNKS[0] + end)]
    for _ in range(100):
        chunks = [chance.choice(CHUNKS) for _ in range(8)]
        whole = b"".join(chunks)
        cuts = sorted(chance.sample(range(len(whole)), chance.randint(0, 4)))
        pieces = [whole[at:until] for at, until in zip([0, *cuts], [*cuts, None], strict=True)]
        told += [(answer(b"first"), CHUNKED + chunks[0], *chunks[1:], end), (answer(b""), CHUNKED, *pieces, end)]
    with_likeness = [heard(*reads) for reads in told]
    monkeypatch.setattr(module, "body_of_chunk", lambda _: None)
    assert [heard(*reads) for reads in told] == with_likeness


async def test_a_read_that_is_one_chunk_takes_no_parser(monkeypatch: pytest.MonkeyPatch) -> None:
    connection = Connection(Owner(), asyncio.get_running_loop())
    connection.connection_made(Transport())
    incoming = Heard()
    connection.begin(b"", incoming)
    connection.data_received(CHUNKED + CHUNKS[0])
    monkeypatch.setattr(connection, "_parser", cast("None", None))
    connection.data_received(CHUNKS[1])
    connection.data_received(CHUNKS[2])
    assert (incoming.chunks, incoming.said) == ([b"one", b"x" * 20, b"\r\n"], ["advance"] * 3)
