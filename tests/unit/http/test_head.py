from __future__ import annotations

import asyncio

import pytest

from enginehouse.http import connection
from enginehouse.http.exchange import Exchange
from enginehouse.http.head import ParsedHead, repeated

from .lanes import Connect, Echo, listening

HEAD = b"POST /v1/x HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\nX-Of: client\r\n\r\n"


def request(body: bytes) -> bytes:
    return HEAD % len(body) + body


def echo(exchange: Exchange) -> None:
    exchange.response_headers.append((b"x-path", exchange.path.encode()))
    Echo(exchange, 10_000)


async def answers_to(connect: Connect, *reads: bytes) -> bytes:
    """All that comes back on one connection to *reads*, which end with one that closes it."""
    reader, writer = await connect()
    for read in reads:
        writer.write(read)
        await asyncio.sleep(0.002)  # a read of its own
    writer.write(b"GET /last HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
    answer = await reader.read()
    writer.close()
    return b"".join(line for line in answer.splitlines(keepends=True) if not line.startswith(b"date:"))


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The targets of the heads that were parsed."""
    targets: list[bytes] = []

    class Noted(ParsedHead):
        def __init__(self, parser: object, target: bytes, headers: object) -> None:
            targets.append(target)
            super().__init__(parser, target, headers)  # type: ignore[arg-type]  # passed on

    monkeypatch.setattr(connection, "ParsedHead", Noted)
    return targets


@pytest.mark.interpreted
async def test_a_repeated_head_is_not_parsed_again_and_each_body_is_its_own(parsed: list[bytes]) -> None:
    async with listening(echo) as connect:
        answer = await answers_to(connect, request(b"one"), request(b"another"), request(b"x" * 5000), request(b"1"))
    bodies = [part.partition(b"HTTP/1.1")[0] for part in answer.split(b"\r\n\r\n")[1:]]
    assert bodies == [b"one", b"another", b"x" * 5000, b"1", b""]
    assert parsed == [b"/v1/x", b"/last"]


NEXT = {
    "another path": request(b"two").replace(b"/v1/x", b"/v1/y"),
    "another header": request(b"two").replace(b"client", b"others"),
    "a header more": request(b"two").replace(b"X-Of", b"X: 1\r\nX-Of"),
    "two lengths": request(b"two").replace(b"X-Of", b"Content-Length: 2\r\nX-Of"),
    "no number": (HEAD % 3).replace(b": 3", b": +3") + b"two",
    "no length": (HEAD % 3).replace(b": 3", b": ") + b"two",
    "a longer number": (HEAD % 3).replace(b": 3", b": 0000000000000000000003") + b"two",
    "spaces": (HEAD % 3).replace(b": 3", b":   3  ") + b"two",
    "two at once": request(b"two") + request(b"three"),
    "one and a half": request(b"two") + request(b"three")[:30],
    "none": b"\r\n",
    "rubbish": b"\x00\x01",
    "chunked": b"POST /v1/x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\ntwo\r\n0\r\n\r\n",
    "a body of none": request(b""),
}


@pytest.mark.parametrize("following", NEXT.values(), ids=NEXT)
async def test_what_comes_behind_a_head_like_it_means_the_same_as_behind_another(following: bytes) -> None:
    another = request(b"one").replace(b"X-Of: client", b"X-Of: nobody")
    async with listening(echo) as connect:
        answer = await answers_to(connect, another, following, another)
        assert await answers_to(connect, request(b"one"), following, request(b"one")) == answer


@pytest.mark.parametrize("at", [1, 20, len(HEAD), len(HEAD) + 2])
async def test_a_repeated_head_may_come_in_pieces(at: int) -> None:
    async with listening(echo) as connect:
        second = request(b"second")
        whole = await answers_to(connect, request(b"one"), second, request(b"third"))
        assert await answers_to(connect, request(b"one"), second[:at], second[at:], request(b"third")) == whole


class _Parser:
    """What a parser says of a plain head."""

    def get_method(self) -> bytes:
        return b"POST"

    def get_http_version(self) -> str:
        return "1.1"

    def should_keep_alive(self) -> bool:
        return True


@pytest.mark.parametrize("more", [b"expect: 100-continue\r\n", b"upgrade: h2c\r\n"])
def test_a_head_that_asks_for_more_than_an_answer_is_not_remembered(more: bytes) -> None:
    raw = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\n%b\r\n"
    for added, is_remembered in ((b"", True), (more, False)):
        lines = [line.partition(b": ")[::2] for line in (raw % added).split(b"\r\n")[1:-2]]
        head = ParsedHead(_Parser(), b"/", lines)  # type: ignore[arg-type]  # plain enough
        assert (repeated(head, raw % added + b"abc") is not None) is is_remembered
