"""Requests of all connections of a loop, which go out together."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final
from weakref import WeakKeyDictionary

if TYPE_CHECKING:
    from .connection import Connection


class Outbox:
    """Has connections send their requests at the end of this turn of their loop, after all that begin in it.

    A write wakes its reader, which takes a processor and its caches from whoever writes. The connections of a loop have
    one together, whatever client they are of: with many engines each request would otherwise be a call of the loop's.
    """

    def __init__(self) -> None:
        self._sending: list[Connection] = []

    def add(self, connection: Connection) -> None:
        """Call `send` of *connection* at the end of this turn."""
        if not self._sending:
            connection.loop.call_soon(self._send)
        self._sending.append(connection)

    def _send(self) -> None:
        sending, self._sending = self._sending, []
        for connection in sending:
            connection.send()


_outboxes: Final[WeakKeyDictionary[asyncio.AbstractEventLoop, Outbox]] = WeakKeyDictionary()


def outbox_of(loop: asyncio.AbstractEventLoop) -> Outbox:
    """The outbox of *loop*."""
    return _outboxes.setdefault(loop, Outbox())
