"""HTTP/1.1 of one client on httptools: limits, deadlines, requests in their order, and a client's leaving.

A client has left when it has closed its side, wholly or half. Reading is paused for turns of others at most, so that
this is always heard; what comes while a request is answered is kept in bounds instead.
"""

from __future__ import annotations

import asyncio

import httptools

from enginehouse.dialects.openai import errors
from enginehouse.dialects.refusals import HeadTooLarge, MalformedHTTP, TooManyConnections, TooSlow
from enginehouse.telemetry import get_logger
from enginehouse_plugin.errors import EnginehouseError

from .ahead import HEAD_END, PIECE_BYTES, Ahead, part_size
from .direct import DirectExchange, farewell
from .doors import STALL_GRACE_S, Place, turned_away
from .head import ParsedHead, Repeated, check_size, repeated
from .reading import Reading
from .shared import Shared
from .turns import LOOK_FROM
from .writing import LINGER_S

log = get_logger()
HEAD_TIMEOUT_S = 30.0
"""A client that opens a connection and does not send a whole request head by then is cut off."""
RESERVED_TIMEOUT_S = 5.0
"""The same on a connection beyond the limits, and the time for its answer."""
KEEP_ALIVE_TIMEOUT_S = 75.0
"""A connection without a request is closed then: later than proxies close theirs, so that none is met closing."""
MAX_HEAD_BYTES = 64 * 1024
"""A head that is longer is refused. It counts for trailers and chunk extensions too."""


class Connection(Reading):
    """One client's connection, at *place*; `is_known`: a request on it was admitted."""

    def __init__(self, shared: Shared, place: Place) -> None:
        super().__init__(shared, place)
        self.is_known = False
        self._began_at = 0.0  # the request that is coming
        self._first = b""  # the read that is parsed, if it began between two requests
        self._repeated: Repeated | None = None  # the head of the last request
        self._is_parsing = False
        self._is_waiting = False  # for its turn
        self._unparsed_bytes = 0  # since the last head, part of a body or end of a request
        self._current: DirectExchange | None = None  # it is answered now
        self._ahead = Ahead(shared.doors.memory)
        self._has_begun = False  # with a request of what is parsed now
        self._verdict: EnginehouseError | None = None  # on what came behind the requests that are there
        self._is_head_awaited = True

    # ---- the transport's calls ----

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Accept the connection."""
        super().connection_made(transport)
        peer = transport.get_extra_info("peername")
        self.peer = str(peer[0]) if isinstance(peer, tuple) else ""
        self._is_plain = transport.get_extra_info("sslcontext") is None
        self.scheme = "http" if self._is_plain else "https"
        self.place.holder = self
        self.shared.connections.add(self)
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  # as asyncio calls it
        """Let go of all, in its turn where many leave at once."""
        self.shared.turns.take(self.let_go)

    def let_go(self) -> None:
        """Tell the request that is being answered; those behind it are never begun."""
        self.shared.connections.discard(self)
        super().let_go()
        self._ahead.clear()
        self._receiving = None
        current, self._current = self._current, None
        if current is not None:
            current.leave()

    def eof_received(self) -> bool:
        """Close, in its turn where many leave at once; a transport of TLS closes now, whatever is said here."""
        if self._is_plain:
            self.shared.turns.take(self._close_after_client)
        else:
            self._close_after_client()
        return self._is_plain

    def _close_after_client(self) -> None:
        """Cut the connection if a request is under way: flushing what the client may not read would take for ever."""
        if self._ahead or (self._current is not None and not self._current.is_over):
            self.transport.abort()
        else:  # the transport closes when it has written all
            self._close()

    def pause_writing(self) -> None:
        """Hear that the client does not read."""
        super().pause_writing()
        if self._current is not None:
            self._current.pause()

    def resume_writing(self) -> None:
        """Hear that the client reads again."""
        super().resume_writing()
        current = self._current
        if current is not None and current.is_over and current is not self._receiving:
            self.answered(current)
        elif current is not None:
            current.resume()

    def data_received(self, data: bytes) -> None:
        """Parse, in bounds."""
        if self._is_deaf:
            self._drop(len(data), may_end=self._current is None)
            return
        current, receiving = self._current, self._receiving
        if self._ahead or (current is not None and current is not receiving):
            self._keep(data)
            return
        turns = self.shared.turns
        turns.events += 1
        # The body of known length that a request has begun with is only copied; all else may wait.
        if turns.events > LOOK_FROM and turns.is_full() and (receiving is None or receiving.length is None):
            self._keep(data)
            return
        is_between = current is None and receiving is None and not self._is_in_head
        if is_between and self._repeated is not None and (body := self._repeated.body(data)) is not None:
            self._deadline.clear()
            self._is_head_awaited = False
            self._begin(DirectExchange(self, self._repeated.head, body))
            return
        size = len(data)
        self._first = data if is_between else b""
        if (receiving is not None and receiving.lacks(size)) or (size <= PIECE_BYTES and data.count(HEAD_END) <= 1):
            self._feed(data)
        else:  # the rest of one request goes on at once, what is behind it in its turn
            end = part_size(data, 0, receiving)
            self._feed(data[:end])
            if self._receiving is not None and self._receiving.lacks(size - end) and not self._is_deaf:
                self._feed(memoryview(data)[end:])
            elif end < size:
                self._keep(memoryview(data)[end:])
        self._first = b""

    def _keep(self, data: bytes | memoryview) -> None:
        """Keep *data* until the request that runs is answered, or for its turn."""
        if self._is_deaf:
            self._drop(len(data), may_end=self._current is None)
        elif not self._ahead.keep(data):
            self._end_after_current()
            self._drop(len(data), may_end=False)
        elif self._current is None or self._current is self._receiving:
            self._wait()
        elif self._is_in_head:
            self._deadline.clear()  # what is missing of it may be what was kept

    def _feed(self, data: bytes | memoryview) -> None:
        """Parse *data*, and go by what has come of it."""
        self._has_begun = False
        self._unparsed_bytes += len(data)
        self._is_parsing = True
        goes_on = self._parse(data)
        self._is_parsing = False
        if not goes_on:
            return
        if self._receiving is not None:
            if self._receiving is self._current and not self._deadline.is_set:
                self.expect_body()
        elif self._is_in_head and not (self._began_at and self._deadline.is_set):  # most heads come whole too
            self._began_at = self._began_at or self._loop.time()
            if not (self._is_head_awaited and self._deadline.is_set):
                self._await_head()
        if self._unparsed_bytes > MAX_HEAD_BYTES:
            self._refuse(HeadTooLarge(MAX_HEAD_BYTES))
        elif self._ahead and self._current is None:
            self._wait()

    # ---- the parser's calls ----

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
                check_size(self._url, self._headers, MAX_HEAD_BYTES)
            exchange = DirectExchange(self, ParsedHead(self._parser, self._url, self._headers))
        except EnginehouseError as error:
            self._refuse(error)
            return
        except (httptools.HttpParserError, ValueError):  # the path: one that is not ASCII is malformed too
            self._refuse(MalformedHTTP("The target of the request is no path."))
            return
        self._receiving = exchange
        if self._current is None and not (self._ahead.requests or self._has_begun):
            self._begin(exchange)
        else:
            self._ahead.requests.append(exchange)

    def on_body(self, body: bytes) -> None:
        """Take a part of a body."""
        self._unparsed_bytes = 0
        if self._receiving is not None:
            self._receiving.take_part(body)

    def on_message_complete(self) -> None:
        """Take the end of a request."""
        self._unparsed_bytes = 0
        self._began_at = 0.0
        exchange = self._receiving
        if exchange is None or self._is_deaf or (self._parser.should_upgrade() and exchange.length != 0):
            return
        self._receiving = None
        exchange.is_body_whole = True
        if exchange is self._current:
            self._deadline.clear()
            if self._first:
                self._repeated = repeated(exchange.parsed, self._first)
            if exchange.is_over:
                self.answered(exchange)
            else:
                exchange.give_body()

    # ---- for exchanges ----

    def expect_body(self) -> None:
        """See to it that the body of the current request is whole in time."""
        if not self._is_parsing:  # most bodies come with the head, and need no deadline
            self._began_at = self._began_at or self._loop.time()
            self._look_at_body()

    def answered(self, exchange: DirectExchange) -> None:
        """Go on behind *exchange*, which is answered whole."""
        exchange.holding = None
        goes_on = exchange.keep_alive and not self.shared.is_ending
        if goes_on and self.is_stalled:
            return  # until it is taken: further answers would fill memory that nobody reads
        if goes_on and self._receiving is None and not (self._ahead or self._is_deaf):
            self._current = None  # of the cases below the one of most requests
            if not self._is_head_awaited:
                self._deadline.set(KEEP_ALIVE_TIMEOUT_S, self._close)
        elif goes_on and exchange is self._receiving:
            self._deadline.set(LINGER_S, self._close)  # the rest of its body is dropped first
        else:
            self._go_on(exchange)

    def become_known(self) -> None:
        """Hear that a request was admitted."""
        self.is_known = True
        self.place.become_known()

    # ---- for the doors ----

    @property
    def rank(self) -> int | None:
        """See `Holder.rank`."""
        if not self.is_known:
            return 0
        if self.is_stalled:
            return 3 if self._loop.time() - self.took_at > STALL_GRACE_S else None
        if self._ahead:
            return None
        return 1 if self._current is None else 2 if self._current is self._receiving else None

    @property
    def due_at(self) -> float:
        """See `Holder.due_at`."""
        return self.took_at if self.is_stalled else self._deadline.at

    def give_up(self) -> None:
        """See `Holder.give_up`."""
        if self.is_stalled:
            self.abort()
        elif self._current is not None:
            self._current.fail_body(TooManyConnections())
        elif self._is_in_head:
            self.write(farewell(errors.describe(TooManyConnections())))
        self._close()

    def end(self) -> None:
        """Close when the request that runs has been answered, or now."""
        if self._current is None or self._current.is_over:
            self._close()

    # ---- from one request to the next, and to the end ----

    def _begin(self, exchange: DirectExchange) -> None:
        self._has_begun = True
        self._current = exchange
        exchange.is_paused = self.is_stalled
        if self.place.is_reserved and turned_away(exchange):
            return
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
        if self._ahead:
            self._wait()
        else:
            self._go_by_what_is_behind()

    def _wait(self) -> None:
        """Wait for a turn to go on with what waits. Until then nothing more is read: it comes soon."""
        if not self._is_waiting:
            self._is_waiting = True
            self.transport.pause_reading()
            self.shared.turns.add(self._take_turn)

    def _take_turn(self) -> None:
        """Begin with the next request that waits, or read a part; then others have their turn."""
        self._is_waiting = False
        if self.transport.is_closing():
            return
        self.transport.resume_reading()
        if self._current is None and self._ahead.requests:
            self._begin(self._ahead.requests.popleft())
        elif self._current is None or self._current is self._receiving:
            part = None if self._is_deaf else self._ahead.part(self._receiving)
            if part is not None:
                self._feed(part)
        if self._ahead and (self._current is None or self._current is self._receiving):
            self._wait()
        elif self._current is None and not self._ahead:
            self._go_by_what_is_behind()

    def _go_by_what_is_behind(self) -> None:
        if self._verdict is not None:
            self._refuse(self._verdict)
        elif not (self._is_deaf or self._is_head_awaited):
            self._deadline.set(KEEP_ALIVE_TIMEOUT_S, self._close)

    def _refuse(self, error: EnginehouseError) -> None:
        """Answer what is not a request, when those before it are answered, and end the connection."""
        current = self._current
        if self._ahead.requests or (current is not None and current is not self._receiving):
            # What is wrong came behind requests that are still being answered: their answers come first, and whole.
            self._is_deaf = True
            self._ahead.drop_bytes()
            self._verdict = self._verdict or error
            if self._receiving is not None:
                self._ahead.requests.pop()  # it is the last, and has no end
                self._receiving = None
            return
        self._current, is_begun = None, current is not None and current.is_begun
        if current is not None:
            current.leave()
        if not is_begun:
            self.write(farewell(errors.describe(error)))
        self._hang_up(is_whole=False)

    def _end_after_current(self) -> None:
        """Drop what waits and what comes: there is too much of it."""
        self._is_deaf = True
        self._ahead.clear()
        self._receiving = None
        if self._current is not None:
            self._current.keep_alive = False
        else:
            self._close_behind()

    def _hang_up(self, *, is_whole: bool) -> None:
        """End the connection behind what was written; not *is_whole*: more may be under way from the client."""
        self._is_deaf = True
        self._current = self._receiving = self._verdict = None
        self._ahead.clear()
        if is_whole:
            self._close()
        else:
            self._close_behind()

    def _look_at_body(self) -> None:
        exchange = self._current
        if exchange is None:
            return
        left_s = self.shared.doors.limits.request_is_due(self._began_at, exchange.size) - self._loop.time()
        if left_s > 0:
            self._deadline.set(left_s, self._look_at_body)
        else:
            exchange.fail_body(TooSlow("body"))

    def _await_head(self) -> None:
        self._is_head_awaited = True
        limit_s = RESERVED_TIMEOUT_S if self.place.is_reserved else HEAD_TIMEOUT_S
        self._deadline.set(limit_s, lambda: self._refuse(TooSlow("head")))
