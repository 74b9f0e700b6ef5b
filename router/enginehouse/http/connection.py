"""HTTP/1.1 of one client on httptools: limits, deadlines, requests in their order, and a client's leaving.

A client has left when it has closed its side: a whole close and a half one look alike from here. Reading is never
paused, so that this is always heard; what comes while a request is answered is kept in bounds instead.
"""

from __future__ import annotations

import asyncio
from collections import deque

import httptools

from enginehouse.dialects.endpoint import Header
from enginehouse.dialects.openai import errors
from enginehouse.dialects.refusals import HeadTooLarge, MalformedHTTP, TooManyConnections, TooSlow
from enginehouse.telemetry import get_logger
from enginehouse_plugin.errors import EnginehouseError

from .deadline import Deadline
from .direct import DirectExchange, farewell
from .exchange import BODY_TIMEOUT_S
from .shared import Shared

log = get_logger()

HEAD_TIMEOUT_S = 30.0
"""A client that opens a connection and does not send a whole request head by then is cut off."""

KEEP_ALIVE_TIMEOUT_S = 75.0
"""A connection without a request is closed then: later than proxies close theirs, so that none is met closing."""

LINGER_S = 5.0
"""What a client still sends is read this long, and it has this long to take the last bytes."""

MAX_HEAD_BYTES = 64 * 1024
"""A head that is longer is refused. It counts for trailers and chunk extensions too."""

MAX_AHEAD_BYTES = 1024 * 1024
MAX_AHEAD_REQUESTS = 4096
"""What of further requests is kept while one runs. With more the connection ends after the one that runs."""

MAX_LINGER_BYTES = 64 * 1024 * 1024
_HIGH_WATER_BYTES, _LOW_WATER_BYTES = 64 * 1024, 16 * 1024


class Connection(asyncio.Protocol):
    """One client's connection. With *is_refused* it is one too many, and is told so."""

    def __init__(self, shared: Shared, *, is_refused: bool = False) -> None:
        self.shared = shared
        self._is_refused = is_refused
        self._among = shared.refused if is_refused else shared.connections
        self._url = b""
        self._headers: list[Header] = []
        self._is_parsing = False
        self._is_in_head = False
        self._unparsed_bytes = 0  # since the last head, part of a body or end of a request
        self._is_reframed = False  # the parser is given a head again, for the body's sake
        self._receiving: DirectExchange | None = None  # its body is not whole
        self._current: DirectExchange | None = None  # it is answered now
        self._queue: deque[DirectExchange] = deque()
        self._ahead_bytes = 0
        self._is_advancing = False
        self._is_deaf = False  # what comes is dropped
        self._dropped_bytes = 0
        self._verdict: EnginehouseError | None = None  # on what came behind the requests that are there
        self._is_head_awaited = True
        self._written_bytes = 0
        self._stalled_at = 0
        self._stalled: Deadline | None = None

    # ---- the transport's calls ----

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Accept the connection, or answer 503 when there are too many."""
        self.transport: asyncio.Transport = transport  # type: ignore[assignment]  # a listener's are
        self._deadline = Deadline(asyncio.get_running_loop())
        self.transport.set_write_buffer_limits(_HIGH_WATER_BYTES, _LOW_WATER_BYTES)
        peer = transport.get_extra_info("peername")
        self.peer = str(peer[0]) if isinstance(peer, tuple) else ""
        self.scheme = "https" if transport.get_extra_info("sslcontext") is not None else "http"
        self._parser = httptools.HttpRequestParser(self)
        self._among.add(self)
        if self._is_refused:
            self._refuse(TooManyConnections())
        else:
            self._deadline.set(HEAD_TIMEOUT_S, self._head_is_late)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  # as asyncio calls it
        """Tell the request that is being answered; those behind it are never begun."""
        self._among.discard(self)
        self._is_deaf = True
        self._deadline.close()
        if self._stalled is not None:
            self._stalled.close()
        self._queue.clear()
        self._receiving = None
        current, self._current = self._current, None
        if current is not None:
            current.leave()

    def eof_received(self) -> None:
        """Cut the connection if a request is under way: flushing what the client may not read would take for ever."""
        if self._current is not None:
            self.transport.abort()
        else:  # the transport closes when it has written all
            self._deadline.set(LINGER_S, self.transport.abort)

    def pause_writing(self) -> None:
        """Hear that the client does not read."""
        if self._stalled is None:
            self._stalled = Deadline(asyncio.get_running_loop())
        self._watch_stall()
        if self._current is not None:
            self._current.pause()

    def resume_writing(self) -> None:
        """Hear that the client reads again."""
        if self._stalled is not None:
            self._stalled.clear()
        if self._current is not None:
            self._current.resume()

    def data_received(self, data: bytes) -> None:
        """Parse, in bounds."""
        if self._is_deaf:
            self._drop(len(data))
            return
        if self._current is not None and self._receiving is not self._current:
            self._ahead_bytes += len(data)
            if self._ahead_bytes > MAX_AHEAD_BYTES or len(self._queue) > MAX_AHEAD_REQUESTS:
                self._end_after_current()
                return
        self._unparsed_bytes += len(data)
        self._is_parsing = True
        goes_on = self._parse(data)
        self._is_parsing = False
        if not goes_on:
            return
        if self._receiving is not None:
            if self._receiving is self._current and not self._deadline.is_set:
                self.expect_body()
        elif self._is_in_head and not self._is_head_awaited:  # most heads come whole too
            self._is_head_awaited = True
            self._deadline.set(HEAD_TIMEOUT_S, self._head_is_late)
        if self._unparsed_bytes > MAX_HEAD_BYTES:
            self._refuse(HeadTooLarge(MAX_HEAD_BYTES))

    # ---- parsing ----

    def _parse(self, data: bytes) -> bool:
        """Parse *data*; returns whether more is wanted."""
        rest: bytes | memoryview = data
        try:
            while True:
                try:
                    self._parser.feed_data(rest)
                    return not self._is_deaf
                except httptools.HttpParserUpgrade as upgrade:
                    # A server may stay with this protocol: some clients offer HTTP/2 with every request. The parser
                    # takes the body for the other one, so it is given a head that has nothing but the framing.
                    if self._is_deaf:
                        return False
                    rest = memoryview(rest)[upgrade.args[0] :]
                    self._parser = httptools.HttpRequestParser(self)
                    if self._receiving is not None:
                        length = self._receiving.length
                        framing = b"transfer-encoding: chunked" if length is None else b"content-length: %d" % length
                        self._is_reframed = True
                        self._parser.feed_data(b"POST / HTTP/1.1\r\n%b\r\n\r\n" % framing)
        except httptools.HttpParserCallbackError as error:
            log.error("connection failed", exc_info=error.__context__)
            self.transport.abort()
            return False
        except httptools.HttpParserError:
            if not self._is_deaf:
                self._refuse(MalformedHTTP("Invalid HTTP request received."))
            return False

    def on_message_begin(self) -> None:
        """Note that a head has begun."""
        if not self._is_reframed:
            self._url = b""
            self._headers = []
            self._is_in_head = True

    def on_url(self, url: bytes) -> None:
        """Take a part of the request's target."""
        if not self._is_reframed:
            self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header, or a trailer, which is not looked at."""
        if self._is_in_head:
            self._headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        """Begin with the request, or keep it for its turn."""
        if self._is_reframed:
            self._is_reframed = False
            return
        self._is_in_head = self._is_head_awaited = False
        unparsed_bytes, self._unparsed_bytes = self._unparsed_bytes, 0
        if self._is_deaf:
            return
        self._deadline.clear()
        try:
            if unparsed_bytes > MAX_HEAD_BYTES:  # some of it may be the body's
                self._check_size()
            exchange = DirectExchange(self, self._parser, self._url, self._headers)
        except EnginehouseError as error:
            self._refuse(error)
            return
        except (httptools.HttpParserError, ValueError):  # the path: one that is not ASCII is malformed too
            self._refuse(MalformedHTTP("The target of the request is no path."))
            return
        proxies = self.shared.proxies
        if proxies is not None:
            exchange.client, exchange.scheme = proxies.origin(self.peer, self.scheme, self._headers)
        self._receiving = exchange
        if self._current is None and not self._queue:
            self._ahead_bytes = 0
            self._begin(exchange)
        else:
            self._queue.append(exchange)

    def on_body(self, body: bytes) -> None:
        """Take a part of a body."""
        self._unparsed_bytes = 0
        if self._receiving is not None:
            self._receiving.take_part(body)

    def on_message_complete(self) -> None:
        """Take the end of a request."""
        self._unparsed_bytes = 0
        exchange = self._receiving
        if exchange is None or self._is_deaf or (self._parser.should_upgrade() and exchange.length != 0):
            return
        self._receiving = None
        exchange.is_body_whole = True
        if exchange is self._current:
            self._deadline.clear()
            if exchange.is_over:
                self._go_on(exchange)
            else:
                exchange.give_body()

    def _check_size(self) -> None:
        size = len(self._url) + sum(len(name) + len(value) + 4 for name, value in self._headers)
        if size > MAX_HEAD_BYTES:
            raise HeadTooLarge(MAX_HEAD_BYTES)

    # ---- for exchanges ----

    def write(self, data: bytes) -> None:
        """Send *data*, unless the client has left."""
        if not self.transport.is_closing():
            self._written_bytes += len(data)
            self.transport.write(data)

    def abort(self) -> None:
        """Cut the client off."""
        self.transport.abort()

    def expect_body(self) -> None:
        """Begin the time in which the body of the current request must be whole."""
        if not self._is_parsing:  # most bodies come with the head, and need no deadline
            self._deadline.set(BODY_TIMEOUT_S, self._body_is_late)

    def answered(self, exchange: DirectExchange) -> None:
        """Go on behind *exchange*, which is answered whole."""
        if (
            self._receiving is None
            and exchange.keep_alive
            and not (self._queue or self._is_deaf or self.shared.is_ending)
        ):
            self._current = None  # of the cases below the one of most requests
            if not self._is_head_awaited:
                self._deadline.set(KEEP_ALIVE_TIMEOUT_S, self._close)
        elif exchange is self._receiving and exchange.keep_alive and not self.shared.is_ending:
            self._deadline.set(LINGER_S, self._close)  # the rest of its body is dropped first
        else:
            self._go_on(exchange)

    def end(self) -> None:
        """Close when the request that runs has been answered, or now."""
        if self._current is None:
            self._close()

    # ---- from one request to the next, and to the end ----

    def _begin(self, exchange: DirectExchange) -> None:
        self._current = exchange
        exchange.is_paused = self._stalled is not None and self._stalled.is_set
        try:
            self.shared.handle(exchange)
        except Exception as error:  # the outermost handler of a request
            log.error("request failed", id=exchange.request_id, path=exchange.path, exc_info=error)
            exchange.refuse(errors.describe(error))

    def _go_on(self, exchange: DirectExchange) -> None:
        """Go on with the next request, or end."""
        if not exchange.keep_alive or self.shared.is_ending:
            self._hang_up(is_whole=self._receiving is None and not self._dropped_bytes)
            return
        self._current = None
        self._advance()

    def _advance(self) -> None:
        """Begin with the requests that wait, each when the one before is answered; then go by what is behind them."""
        if self._is_advancing:
            return
        self._is_advancing = True
        while self._current is None and self._queue:
            exchange = self._queue.popleft()
            if not self._queue:
                self._ahead_bytes = 0
            self._begin(exchange)
        self._is_advancing = False
        if self._current is not None:
            return
        if self._verdict is not None:
            self._refuse(self._verdict)
        elif not self._is_deaf and not self._is_head_awaited:
            self._deadline.set(KEEP_ALIVE_TIMEOUT_S, self._close)

    def _refuse(self, error: EnginehouseError) -> None:
        """Answer what is not a request, when those before it are answered, and end the connection."""
        current = self._current
        if current is not None and current is not self._receiving:
            # What is wrong came behind requests that are still being answered: their answers come first, and whole.
            self._is_deaf = True
            self._verdict = self._verdict or error
            if self._receiving is not None:
                self._queue.pop()  # it is the last, and has no end
                self._receiving = None
            return
        is_begun = False
        if current is not None:
            is_begun = current.is_begun
            self._current = None
            current.leave()
        if not is_begun:
            self.write(farewell(errors.describe(error)))
        self._hang_up(is_whole=False)

    def _end_after_current(self) -> None:
        """Drop what waits and what comes: there is too much of it."""
        self._is_deaf = True
        self._queue.clear()
        self._receiving = None
        if self._current is not None:
            self._current.keep_alive = False

    def _hang_up(self, *, is_whole: bool) -> None:
        """End the connection behind what was written.

        One that is closed on unread bytes is reset, and the client may never see the answer. So where more may be
        under way it is told that no more comes from here, and listened to for a while.
        """
        self._is_deaf = True
        self._current = self._receiving = self._verdict = None
        self._queue.clear()
        if is_whole or not self.transport.can_write_eof():
            self._close()
        elif not self.transport.is_closing():
            self.transport.write_eof()
            self._deadline.set(LINGER_S, self.transport.abort)

    def _close(self) -> None:
        """Close when all is written; a client that does not take it is cut off."""
        self._is_deaf = True
        self.transport.close()
        self._deadline.set(LINGER_S, self.transport.abort)

    def _drop(self, size: int) -> None:
        self._dropped_bytes += size
        if self._dropped_bytes > MAX_LINGER_BYTES and self._current is None:
            self.transport.abort()

    def _head_is_late(self) -> None:
        self._refuse(TooSlow("head"))

    def _body_is_late(self) -> None:
        if self._current is not None:
            self._current.body_is_late()

    def _watch_stall(self) -> None:
        assert self._stalled is not None  # noqa: S101  # by `pause_writing`
        self._stalled_at = self._written_bytes - self.transport.get_write_buffer_size()
        self._stalled.set(self.shared.write_timeout_s, self._is_stalled)

    def _is_stalled(self) -> None:
        if self._written_bytes - self.transport.get_write_buffer_size() <= self._stalled_at:
            self.transport.abort()
        else:
            self._watch_stall()
