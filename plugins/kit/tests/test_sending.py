"""Requests that begin in one turn of the loop are sent at its end."""

from __future__ import annotations

import asyncio
from typing import cast

from enginehouse_kit.http.client import LocalClient
from enginehouse_kit.http.connection import Connection
from enginehouse_kit.http.exchange import Exchange


class Transport(asyncio.Transport):
    """A transport that keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[bytes] = []
        self.is_aborted = False

    def write(self, data: object) -> None:
        self.sent.append(cast("bytes", data))

    def abort(self) -> None:
        self.is_aborted = True

    def is_closing(self) -> bool:
        return self.is_aborted

    def get_write_buffer_size(self) -> int:
        return 0


def connected() -> tuple[Connection, Transport]:
    connection, transport = Connection(LocalClient("/nowhere"), asyncio.get_running_loop()), Transport()
    connection.connection_made(transport)
    return connection, transport


async def test_a_request_is_sent_at_the_end_of_the_turn() -> None:
    connection, transport = connected()
    connection.begin(b"request", Exchange(100))
    assert transport.sent == []
    await asyncio.sleep(0)
    assert transport.sent == [b"request"]


async def test_a_request_that_is_dropped_before_is_not_sent() -> None:
    connection, transport = connected()
    exchange = Exchange(100)
    connection.begin(b"request", exchange)
    exchange.close()
    await asyncio.sleep(0)
    assert transport.sent == []
    assert transport.is_aborted


async def test_a_connection_on_which_an_answer_comes_before_its_request_was_sent_is_not_used_again() -> None:
    connection, transport = connected()
    connection.begin(b"request", Exchange(100))
    connection.data_received(b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\n\r\n")
    await asyncio.sleep(0)
    assert transport.sent == []
    assert transport.is_aborted
