"""What the connections of a server have in common."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from .direct import DirectExchange
from .doors import Doors
from .limits import Limits
from .proxies import TrustedProxies
from .turns import Turns

if TYPE_CHECKING:
    from .connection import Connection
    from .writing import Writing


class Shared:
    """Their handler, their limits, and who they are. `is_ending`: each connection ends with its present request."""

    def __init__(
        self, handle: Callable[[DirectExchange], None], limits: Limits, *, proxies: TrustedProxies | None = None
    ) -> None:
        self.handle = handle
        self.doors = Doors(limits, proxies)
        self.proxies = proxies
        self.connections: set[Connection] = set()
        self.is_ending = False
        self.turns = Turns()
        self._sending: list[Writing] = []

    def send_soon(self, connection: Writing) -> None:
        """Have *connection* send what it holds at the end of this turn of the loop, after all that has come with it.

        A write wakes its reader, which takes a processor and its caches from whoever writes: what came together is
        worked on without that.
        """
        if not self._sending:
            asyncio.get_running_loop().call_soon(self._send)
        self._sending.append(connection)

    def _send(self) -> None:
        sending, self._sending = self._sending, []
        for connection in sending:
            connection.send()
