"""Requests that begin in one turn of the loop are sent at its end."""

from __future__ import annotations

import asyncio
from typing import cast

from enginehouse_kit.http.client import LocalClient
from enginehouse_kit.http.connection import Connection
from enginehouse_kit.http.exchange import Exchange
from enginehouse_kit.http.outbox import outbox_of


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


async def test_requests_of_all_clients_of_a_loop_go_out_in_one_call_in_the_order_of_their_beginning() -> None:
    """With many engines each request would else be a call of the loop's."""
    loop = asyncio.get_running_loop()
    calls: list[object] = []
    loop.call_soon = lambda *what, **_: calls.append(what)  # type: ignore[assignment,method-assign,misc]
    sent: list[bytes] = []
    for number in range(3):
        connection, transport = connected()
        transport.sent = sent
        connection.begin(b"%d" % number, Exchange(100))
    del loop.call_soon
    assert len(calls) == 1
    outbox_of(loop)._send()
    assert sent == [b"0", b"1", b"2"]


def test_what_a_loop_that_has_ended_did_not_send_holds_up_no_other() -> None:
    """Each loop has an outbox of its own, which goes with it."""
    ended = asyncio.new_event_loop()
    connection, transport = Connection(LocalClient("/nowhere"), ended), Transport()
    connection.connection_made(transport)
    connection.begin(b"request", Exchange(100))
    ended.close()
    asyncio.run(test_a_request_is_sent_at_the_end_of_the_turn())
    assert transport.sent == []
