"""uvicorn's HTTP protocol with our manners: JSON errors, a limit on connections, a deadline for a request's head."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from enginehouse.wire import errors

HEAD_TIMEOUT_S = 30.0
"""A client that opens a connection and does not send a whole request head by then is cut off."""


class Protocol(HttpToolsProtocol):
    """One client connection. `max_connections` is set by the server on the class it hands to uvicorn."""

    max_connections: int = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn declares it
        """Accept the connection, or answer 503 when there are too many."""
        super().connection_made(transport)
        self._head_timer: asyncio.TimerHandle | None = None
        if self.max_connections and len(self.connections) > self.max_connections:
            self._refuse(errors.too_many_connections())
            return
        self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection's timer with it."""
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse; a path that is not ASCII is a malformed request like any other."""
        try:
            super().data_received(data)
        except UnicodeDecodeError:
            self.send_400_response("Invalid HTTP request received.")

    def on_message_begin(self) -> None:
        """Start the deadline for the head of a further request on this connection."""
        super().on_message_begin()
        self.scope["enginehouse.abort"] = self.transport.abort  # type: ignore[typeddict-unknown-key]  # ours
        if self._head_timer is None:
            self._expect_head()

    def on_headers_complete(self) -> None:
        """End the deadline: the head is whole."""
        self._stop_timer()
        super().on_headers_complete()

    def send_400_response(self, msg: str) -> None:
        """Answer what is not HTTP with an error in the API's form."""
        self._refuse(errors.malformed_http(msg))

    def _refuse(self, reply: errors.ErrorReply) -> None:
        if self.transport.is_closing():
            return
        head = [b"HTTP/1.1 %d \r\n" % reply.status, b"connection: close\r\n"]
        head += [b"%s: %s\r\n" % header for header in reply.headers]
        self.transport.write(b"".join([*head, b"\r\n", reply.body]))
        self.transport.close()

    def _expect_head(self) -> None:
        self._head_timer = self.loop.call_later(HEAD_TIMEOUT_S, self._head_is_late)

    def _head_is_late(self) -> None:
        self._head_timer = None
        self._refuse(errors.head_timeout())

    def _stop_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None


def protocol_class(max_connections: int) -> type[asyncio.Protocol]:
    """Return the protocol for a listener that takes at most *max_connections* (0: no limit)."""
    members: dict[str, Any] = {"max_connections": max_connections}  # class attributes
    return type("LimitedProtocol", (Protocol,), members)
