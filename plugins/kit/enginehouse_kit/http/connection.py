# ruff: noqa: D102 -- most methods here are callbacks that asyncio and httptools define
"""One HTTP/1.1 connection to an engine, which carries one answer after the other; `client.LocalClient` keeps them."""

from __future__ import annotations

import asyncio
from typing import Protocol

try:
    import httptools
except ImportError as error:
    raise ImportError(f"This client needs httptools: pip install 'enginehouse-kit[http]' ({error})") from error

from enginehouse_plugin.errors import EngineDied, EngineProtocolError

from .exchange import Incoming
from .likeness import Likeness, body_of_chunk, likeness_of
from .outbox import outbox_of

MAX_HEAD_BYTES = 64 * 1024


class Owner(Protocol):
    """What a connection tells its client."""

    def opened(self, connection: Connection) -> None:
        """Count *connection* as open."""

    def idle(self, connection: Connection) -> None:
        """Keep *connection* for a later request, or close it."""

    def closed(self, connection: Connection) -> None:
        """Forget *connection*."""


class Connection(asyncio.Protocol):
    """One connection; it carries one request and its answer at a time."""

    __slots__ = (
        "_head_bytes",
        "_is_alive",
        "_is_between_chunks",
        "_is_interim",
        "_is_message_complete",
        "_is_paused",
        "_likeness",
        "_outbox",
        "_owner",
        "_parser",
        "_transport",
        "_unsent",
        "incoming",
        "loop",
        "lost",
    )

    _transport: asyncio.Transport

    def __init__(self, owner: Owner, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.lost: asyncio.Future[None] = loop.create_future()
        self._owner = owner
        self._outbox = outbox_of(loop)
        self._parser = httptools.HttpResponseParser(self)
        self.incoming: Incoming | None = None
        """Who waits for an answer."""
        self._unsent = b""  # a request, until the end of this turn of the loop
        self._is_alive = False
        self._is_paused = False
        self._is_interim = False
        self._is_message_complete = False
        self._is_between_chunks = False
        self._head_bytes = 0
        self._likeness: Likeness | None = None  # of the last answer to the next

    # ---- for the client ----

    def begin(self, request: bytes, incoming: Incoming) -> None:
        """Send *request*, whose answer fills *incoming*."""
        self.incoming = incoming
        incoming.connection = self
        self._is_interim = self._is_message_complete = self._is_between_chunks = False
        self._head_bytes = 0
        self._unsent = request
        self._outbox.add(self)

    def send(self) -> None:
        """Send the request, unless nobody waits for its answer any more."""
        request, self._unsent = self._unsent, b""
        if request and self.is_alive:
            self._transport.write(request)

    def pause_reading(self) -> None:
        """Read no more until `resume_reading`."""
        if not self._is_paused:
            self._is_paused = True
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Read on, if reading was paused."""
        if self._is_paused:
            self._is_paused = False
            self._transport.resume_reading()

    def abort(self) -> None:
        """Close at once, unsent bytes dropped. Who waits for an answer is not told."""
        self._is_alive = False
        self.incoming = None
        self._unsent = b""
        self._transport.abort()

    def give_up(self) -> None:
        """Count as lost, after making it was broken off: uvloop then closes it without `connection_lost`."""
        self._is_alive = False
        self._owner.closed(self)
        if not self.lost.done():
            self.lost.set_result(None)

    @property
    def is_alive(self) -> bool:
        """Fit for another exchange."""
        return self._is_alive and not self._transport.is_closing()

    # ---- asyncio.Protocol ----

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]  # a stream transport, by construction
        self._is_alive = True
        self._owner.opened(self)

    def data_received(self, data: bytes) -> None:
        incoming = self.incoming
        if incoming is None:  # bytes that nobody asked for: the connection cannot be trusted
            self.abort()
            return
        is_first = not incoming.has_answer
        incoming.has_answer = True
        if is_first and self._likeness is not None and self._likeness.fill(incoming, data):
            self._finish(incoming)
            return
        if self._is_between_chunks and (body := body_of_chunk(data)) is not None:
            incoming.chunks.append(body)
            incoming.buffered_bytes += len(body)
            self._go_on(incoming)
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._break("The engine switched to another protocol.")
            return
        except httptools.HttpParserError as problem:
            if not self._is_message_complete:
                self._break(f"The engine's answer is not HTTP: {problem}")
                return
            self._is_alive = False  # an answer, then rubbish: the answer stands, the connection does not
        if self._is_message_complete:
            if is_first and self._is_alive:
                self._likeness = likeness_of(incoming, data)
            self._finish(incoming)
        elif not incoming.status:
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD_BYTES:
                self._break(f"The head of the engine's answer is longer than {MAX_HEAD_BYTES} bytes.")
        else:
            self._go_on(incoming)

    def eof_received(self) -> None:
        self._is_alive = False
        incoming = self.incoming
        if incoming is not None and incoming.status and not _is_framed(incoming.raw_headers):
            self.incoming = None
            incoming.complete()  # a body without a length ends with the connection

    def connection_lost(self, exc: Exception | None) -> None:
        self._is_alive = False
        self._owner.closed(self)
        if not self.lost.done():
            self.lost.set_result(None)
        incoming = self.incoming
        if incoming is not None:
            self.incoming = None
            where = "in the middle of its answer" if incoming.status else "without an answer"
            error = EngineDied(f"The engine closed the connection {where}.")
            error.__cause__ = exc
            incoming.fail(error)

    # ---- httptools callbacks; they must not raise ----

    def on_message_begin(self) -> None:
        if self._is_message_complete:
            self._is_alive = False  # a second answer to one request

    def on_header(self, name: bytes, value: bytes) -> None:
        incoming = self.incoming
        if incoming is not None and not incoming.status and not self._is_message_complete:
            incoming.raw_headers.append((name, value))  # else a trailer, or of an answer that nobody asked for

    def on_headers_complete(self) -> None:
        incoming = self.incoming
        if incoming is None or self._is_message_complete:
            return
        status = self._parser.get_status_code()
        if 100 <= status < 200:  # 100 Continue: the real answer follows
            self._is_interim = True
            incoming.raw_headers.clear()
        else:
            incoming.status = status

    def on_body(self, body: bytes) -> None:
        incoming = self.incoming
        if incoming is not None and not self._is_message_complete:
            incoming.chunks.append(body)
            incoming.buffered_bytes += len(body)

    def on_chunk_header(self) -> None:
        self._is_between_chunks = False

    def on_chunk_complete(self) -> None:
        self._is_between_chunks = True

    def on_message_complete(self) -> None:
        if self._is_interim:
            self._is_interim = False
        else:
            if not self._parser.should_keep_alive():
                self._is_alive = False
            self._is_message_complete = True

    # ---- inside ----

    def _go_on(self, incoming: Incoming) -> None:
        if incoming.buffered_bytes > incoming.pause_at_bytes:
            self.pause_reading()
        incoming.advance()

    def _finish(self, incoming: Incoming) -> None:
        self.incoming = None
        # The engine may answer before it has read the whole request; the rest must not precede the next one.
        if not self._is_alive or self._unsent or self._transport.get_write_buffer_size():
            self.abort()
        else:
            self.resume_reading()
            self._owner.idle(self)
        incoming.complete()

    def _break(self, message: str) -> None:
        incoming = self.incoming
        self.abort()
        if incoming is not None:
            incoming.fail(EngineProtocolError(message))


def _is_framed(headers: list[tuple[bytes, bytes]]) -> bool:
    """Whether *headers* tell where the body ends."""
    lowered = [(name.lower(), value.lower()) for name, value in headers]
    return any(
        name == b"content-length" or (name == b"transfer-encoding" and b"chunked" in value) for name, value in lowered
    )
