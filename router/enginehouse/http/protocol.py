"""uvicorn's HTTP protocol with our manners: JSON errors, limits, and a client's leaving is always heard of.

A client has left when it has closed its side: a whole close and a half one look alike from here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import httptools
from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from enginehouse.dialects.openai import errors
from enginehouse.dialects.refusals import HeadTooLarge, MalformedHTTP, TooManyConnections, TooSlow
from enginehouse_plugin.errors import EnginehouseError

HEAD_TIMEOUT_S = 30.0
"""A client that opens a connection and does not send a whole request head by then is cut off."""

MAX_HEAD_BYTES = 64 * 1024
"""A head that is longer and not whole yet is refused: the parser keeps all of it. It counts for trailers too."""

MAX_AHEAD_BYTES = 1024 * 1024
"""Bytes of further requests that are kept while one runs. With more the connection ends after the one that runs."""


class Protocol(HttpToolsProtocol):
    """One client connection. `max_connections` is set by the server on the class it hands to uvicorn."""

    max_connections: int = 0
    is_lost = False
    _on_lost: Callable[[], None] | None = None
    _running: RequestResponseCycle | None = None  # uvicorn's own `cycle` is the last that came
    _is_in_head = False
    _ahead_bytes = 0
    _unparsed_bytes = 0  # since the last head, part of a body or end of a request
    _verdict: EnginehouseError | None = None  # on what came behind the request that runs
    _is_deaf = False  # what comes is dropped: the connection ends after the request that runs

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn declares it
        """Accept the connection, or answer 503 when there are too many."""
        super().connection_made(transport)
        self._head_timer: asyncio.TimerHandle | None = None
        if self.max_connections and len(self.connections) > self.max_connections:
            self._refuse(TooManyConnections())
            return
        self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the request that is being answered; uvicorn tells only the last that came on the connection."""
        self._stop_timer()
        self.is_lost = True
        self.pipeline.clear()
        super().connection_lost(exc)
        if self._running is not None and not self._running.response_complete:
            self._running.disconnected = True
            self._running.message_event.set()
        if self._on_lost is not None:
            self._on_lost()

    def eof_received(self) -> None:
        """Cut the connection if a request is under way: flushing what the client may not read would take for ever."""
        if self.cycle is not None and not self.cycle.response_complete:
            self.transport.abort()

    def watch(self, on_lost: Callable[[], None] | None) -> None:
        """Call *on_lost* when the client leaves, until the next call of this."""
        self._on_lost = on_lost
        self._read_on()

    def _read_on(self) -> None:
        """Undo a pause of uvicorn's, which would hide that the client leaves."""
        if self.flow.read_paused and self._on_lost is not None and not self.transport.is_closing():
            self.flow.resume_reading()

    def data_received(self, data: bytes) -> None:
        """Parse, in bounds."""
        if self._is_deaf:
            return
        if self._on_lost is not None and self._running is not None:
            self._ahead_bytes += len(data)
            if self._ahead_bytes > MAX_AHEAD_BYTES:
                self._is_deaf = True
                self._running.keep_alive = False
                return
        self._unset_keepalive_if_required()
        self._unparsed_bytes += len(data)
        self._parse(data)
        if self._is_in_head and self._head_timer is None:  # most heads come whole, and need no deadline
            self._expect_head()
        if self._unparsed_bytes > MAX_HEAD_BYTES:
            self._refuse(HeadTooLarge(MAX_HEAD_BYTES))
        self._read_on()

    def _parse(self, data: bytes) -> None:
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            if self.parser.get_method() == b"CONNECT":
                self.send_400_response("This server is no proxy.")
                return
            # The parser takes the body for the other protocol. A server may stay with this one: some clients
            # offer HTTP/2 with every request. So the request is parsed again without the offer.
            head = [self.parser.get_method(), b" ", self.url, b" HTTP/", self.parser.get_http_version().encode()]
            head += [b"\r\n%s: %s" % header for header in self.headers if header[0] != b"upgrade"]
            self.parser = httptools.HttpRequestParser(self)
            self._parse(b"".join([*head, b"\r\n\r\n", data[upgrade.args[0] :]]))
        except (httptools.HttpParserError, UnicodeDecodeError):  # a path that is not ASCII is malformed too
            self.send_400_response("Invalid HTTP request received.")

    def on_message_begin(self) -> None:
        """Note that a head has begun."""
        super().on_message_begin()
        self.scope["enginehouse.connection"] = self  # type: ignore[typeddict-unknown-key]  # for `client`
        self._is_in_head = True

    def on_headers_complete(self) -> None:
        """End the deadline: the head is whole."""
        if self.parser.should_upgrade():
            return  # it comes again without
        self._is_in_head = False
        if self._head_timer is not None:
            self._stop_timer()
        self._unparsed_bytes = 0
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Take a part of a body."""
        self._unparsed_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Take the end of a request."""
        if self.parser.should_upgrade():
            return
        self._unparsed_bytes = 0
        super().on_message_complete()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._running = cycle
        if not self.pipeline:
            self._ahead_bytes = 0
        super()._start_asgi_task(cycle, app)

    def answer(self, scope: object, head: tuple[bytes, ...], body: bytes) -> bool:
        """Send a whole 200 to the request of *scope* in one write; False: it takes uvicorn's way, in two messages.

        *head* is lines of the head without their ends. This is what uvicorn would send, for a sixth of the cost.
        """
        cycle = self._running
        if (
            cycle is None
            or cycle.scope is not scope
            or cycle.response_started
            or cycle.disconnected
            or not cycle.keep_alive
            or self.flow.write_paused
        ):
            return False
        lines = [b"HTTP/1.1 200 OK", *[b"%b: %b" % header for header in cycle.default_headers], *head]
        lines += (b"content-length: %d" % len(body), b"", body)
        self.transport.write(b"\r\n".join(lines))
        cycle.response_started = cycle.response_complete = True
        cycle.message_event.set()
        cycle.on_response()
        return True

    def send_400_response(self, msg: str) -> None:
        """Answer what is not HTTP with an error in the API's form."""
        self._refuse(MalformedHTTP(msg))

    def _refuse(self, error: EnginehouseError) -> None:
        if self.transport.is_closing():
            return
        running = self._running
        if running is not None and not running.response_complete and not running.more_body:
            # What is wrong came behind a request that is still being answered: that answer comes first, and whole.
            self._is_deaf = True
            self._verdict = self._verdict or error
            return
        reply = errors.describe(error)
        head = [b"HTTP/1.1 %d \r\n" % reply.status, b"connection: close\r\n"]
        head.append(b"content-length: %d\r\n" % len(reply.body))
        head += [b"%s: %s\r\n" % header for header in reply.headers]
        self.transport.write(b"".join([*head, b"\r\n", reply.body]))
        self.transport.close()

    def on_response_complete(self) -> None:
        """Go on with the next request, or end with what was wrong behind this one."""
        if self._verdict is not None:
            self.pipeline.clear()
            self._refuse(self._verdict)
        super().on_response_complete()

    def _expect_head(self) -> None:
        self._head_timer = self.loop.call_later(HEAD_TIMEOUT_S, self._head_is_late)

    def _head_is_late(self) -> None:
        self._head_timer = None
        self._refuse(TooSlow("head"))

    def _stop_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None


def protocol_class(max_connections: int) -> type[asyncio.Protocol]:
    """Return the protocol for a listener that takes at most *max_connections* (0: no limit)."""
    members: dict[str, Any] = {"max_connections": max_connections}  # class attributes
    return type("LimitedProtocol", (Protocol,), members)
