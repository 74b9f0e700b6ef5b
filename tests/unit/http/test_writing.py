"""What is written in one turn of the loop is sent at its end."""

from __future__ import annotations

import asyncio
from typing import cast

from enginehouse.http.connection import Connection
from enginehouse.http.exchange import Exchange
from enginehouse.http.shared import Shared

from .lanes import LIMITS

REQUEST = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"


class Transport(asyncio.Transport):
    """A transport that keeps what is done with it; *buffered_bytes* wait in it."""

    def __init__(self, said: list[bytes | str], buffered_bytes: int = 0) -> None:
        super().__init__()
        self._said = said
        self._buffered_bytes = buffered_bytes
        self._is_closing = False

    def write(self, data: object) -> None:
        self._said.append(cast("bytes", data)[-5:])

    def close(self) -> None:
        self._said.append("close")
        self._is_closing = True

    def abort(self) -> None:
        self.close()

    def write_eof(self) -> None:
        self._said.append("eof")

    def can_write_eof(self) -> bool:
        return True

    def is_closing(self) -> bool:
        return self._is_closing

    def get_write_buffer_size(self) -> int:
        return self._buffered_bytes

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass


def connected(said: list[bytes | str], *, body: bytes = b"hello", buffered_bytes: int = 0) -> Connection:
    """A connection whose requests, and then its writes, are noted in *said*."""

    def handle(exchange: Exchange) -> None:
        said.append("request")
        exchange.answer(200, (), body)

    shared = Shared(handle, LIMITS)
    place = shared.doors.admit("1.2.3.4")
    assert place is not None
    connection = Connection(shared, place)
    connection.connection_made(Transport(said, buffered_bytes))
    return connection


async def test_answers_are_sent_when_all_that_came_with_their_requests_is_worked_on() -> None:
    said: list[bytes | str] = []
    connection = connected(said)
    connection.data_received(REQUEST)
    connection.data_received(REQUEST)
    assert said == ["request", "request"]
    await asyncio.sleep(0)
    assert said[2:] == [b"hello"]  # both of them: what is written together is sent together


async def test_what_was_written_is_sent_before_the_connection_is_closed() -> None:
    said: list[bytes | str] = []
    connection = connected(said)
    connection.data_received(REQUEST)
    connection.end()
    assert said == ["request", b"hello", "close"]


async def test_what_was_written_is_sent_before_an_end_behind_which_more_is_read() -> None:
    said: list[bytes | str] = []
    connected(said).data_received(REQUEST.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n"))
    assert said == ["request", b"hello", "eof"]


async def test_what_was_written_is_sent_before_a_client_that_ended_its_side_is_hung_up_on() -> None:
    said: list[bytes | str] = []
    connection = connected(said)
    connection.data_received(REQUEST)
    connection.eof_received()
    assert said == ["request", b"hello", "close"]


async def test_an_answer_that_a_client_may_not_take_whole_is_sent_at_once() -> None:
    said: list[bytes | str] = []
    connected(said, body=b"x" * 100_000).data_received(REQUEST)
    assert said == ["request", b"xxxxx"]
    said.clear()
    connected(said, buffered_bytes=1).data_received(REQUEST)
    assert said == ["request", b"hello"]


async def test_nothing_is_sent_to_a_client_that_has_left_meanwhile() -> None:
    said: list[bytes | str] = []
    connection = connected(said)
    connection.data_received(REQUEST)
    connection.connection_lost(None)
    await asyncio.sleep(0)
    assert said == ["request"]
