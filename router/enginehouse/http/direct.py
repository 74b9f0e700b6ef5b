"""A request on our own server's connection, and the bytes of its answer."""

from __future__ import annotations

import time
from collections.abc import Sequence
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from enginehouse.dialects.endpoint import ErrorReply, Header
from enginehouse.dialects.refusals import BodyTooLarge, MemoryFull
from enginehouse_plugin.errors import EnginehouseError

from .exchange import Exchange
from .head import ParsedHead
from .limit_headers import LIMIT_LINES
from .memory import COUNTED_BYTES, Holding

if TYPE_CHECKING:
    from .connection import Connection

MAX_DISCARDED_BYTES = 64 * 1024
"""What may be left of a body that nobody wants, for its connection to stay usable."""

_STATUS_LINES = {status.value: b"HTTP/1.1 %d %b\r\n" % (status, status.phrase.encode()) for status in HTTPStatus}
_NO_BODY = (204, 304)
_CHUNK_LINES: Final = [b"%x\r\n" % size for size in range(4096)]
"""How chunks of so many bytes begin, as making that for each takes longer than all else of them."""


class DirectExchange(Exchange):
    """One request that begins with *head*, and its answer on *connection*; its *body*, if that has come with it.

    The connection calls the methods of the second half. `size` is how much of the body has come, `holding` the memory
    that is counted for it. `is_over`: the answer is whole, or nobody waits for it. `is_of_socket`: it came by
    the socket for administration, which the owner of the process alone may use.
    """

    is_over = False
    is_of_socket = False
    is_body_whole = False
    expects_continue = False
    _head: bytes | None = None
    _is_chunked = False
    size = 0
    holding: Holding | None = None
    _failure: EnginehouseError | None = None
    _wants_body = False
    _body = b""
    _parts: list[bytes] | None = None

    def __init__(self, connection: Connection, head: ParsedHead, body: bytes | None = None) -> None:
        super().__init__(head, connection.peer)
        self.connection = connection
        self.scheme = connection.scheme
        self.parsed = head
        self.length = head.length
        self.is_old = head.is_old
        self.keep_alive = head.keep_alive
        shared = connection.shared
        self._limit_bytes = shared.doors.limits.max_body_bytes
        if shared.proxies is not None:
            self.client, self.scheme = shared.proxies.origin(connection.peer, connection.scheme, head.headers)
        if body is not None:
            self._body = body
            self.size = len(body)
            self.is_body_whole = True
        elif head.expects_continue:
            self.expects_continue = True

    # ---- for who answers ----

    def read_body(self, limit_bytes: int) -> None:
        """See `Exchange.read_body`."""
        self._limit_bytes = limit_bytes
        self._wants_body = True
        if (self.length or 0) > limit_bytes or self.size > limit_bytes:
            self._failure = BodyTooLarge(limit_bytes)
        elif self.size > COUNTED_BYTES and self.holding is None and not self._hold(self.size):
            self._failure = MemoryFull()
        if self._failure is not None:
            self.fail_body(self._failure)
            return
        if self.is_body_whole:
            self.give_body()
            return
        if self.expects_continue and not self.size:
            self.connection.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        self.expects_continue = False
        self.connection.expect_body()

    def answer(self, status: int, headers: Sequence[Header], body: bytes) -> None:
        """See `Exchange.answer`."""
        if self.is_begun:
            return
        self.is_begun = True
        self._end()
        if status in _NO_BODY:
            data = self._head_of(status, headers, b"")
        elif self.method == "HEAD":
            data = self._head_of(status, *_with_length(headers, body))
        else:
            data = self._head_of(status, headers, b"content-length: %d\r\n" % len(body)) + body
        self.connection.write(data)
        self.connection.answered(self)

    def begin(self, status: int, headers: Sequence[Header]) -> None:
        """See `Exchange.begin`."""
        if self.is_begun:
            return
        self.is_begun = True
        has_body = self.method != "HEAD" and status not in _NO_BODY
        if self.is_old:
            self.keep_alive = False  # its end is the body's end
        self._is_chunked = has_body and not self.is_old
        framing = b"" if self.is_old or status in _NO_BODY else b"transfer-encoding: chunked\r\n"
        self._head = self._head_of(status, headers, framing)

    def write(self, data: bytes) -> None:
        """See `Exchange.write`."""
        if self.is_over or not data:
            return
        if self._is_chunked:
            size = len(data)
            line = _CHUNK_LINES[size] if size < len(_CHUNK_LINES) else b"%x\r\n" % size
            data = line + data + b"\r\n"
        elif not self.is_old:
            data = b""
        head = self._head
        if head is not None:
            self._head = None
            data = head + data
        if data:
            self.connection.write(data)

    def finish(self, data: bytes = b"") -> None:
        """See `Exchange.finish`."""
        if self.is_over:
            return
        self._end()
        if self._is_chunked:
            data = b"%x\r\n%b\r\n0\r\n\r\n" % (len(data), data) if data else b"0\r\n\r\n"
        elif not self.is_old:
            data = b""
        head = self._head
        if head is not None:
            self._head = None
            data = head + data
        if data:
            self.connection.write(data)
        self.connection.answered(self)

    def abort(self) -> None:
        """See `Exchange.abort`."""
        self.connection.abort()

    # ---- for the connection ----

    def take_part(self, part: bytes) -> None:
        """Take a part of the body; of an answered request, or beyond the limit, only its size is kept."""
        self.size += len(part)
        if self.is_over or self._failure is not None:
            return
        if self.size > self._limit_bytes:
            self.fail_body(BodyTooLarge(self._limit_bytes))
        elif self.size > COUNTED_BYTES and not self._hold(len(part)):
            self.fail_body(MemoryFull())
        elif self._parts is not None:
            self._parts.append(part)
        elif self._body:
            self._parts = [self._body, part]
        else:
            self._body = part

    def lacks(self, size: int) -> bool:
        """Whether the next *size* bytes are of the body, as far as its length is known."""
        return self.length is not None and self.length - self.size >= size

    def give_body(self) -> None:
        """Hand the whole body to the listener, if it has asked."""
        if self._wants_body and self.listener is not None:
            self._wants_body = False
            if not self.connection.is_known:
                self.connection.become_known()
            body = self._body if self._parts is None else b"".join(self._parts)
            self._body, self._parts = b"", None
            self.listener.body(body)

    def fail_body(self, error: EnginehouseError) -> None:
        """Drop the body, and tell the listener once it has asked for it; the connection ends with the answer."""
        self.keep_alive = False
        self._body, self._parts, self.holding = b"", None, None
        self._failure = error
        if self._wants_body and self.listener is not None and not self.is_over:
            self._wants_body = False
            self.listener.body_failed(error)

    def leave(self) -> None:
        """Hear that the client has left."""
        if self.is_over:
            return
        listener = self.listener
        self.is_begun = True
        self._end()
        self.holding = None
        if listener is not None:
            listener.client_left()

    def pause(self) -> None:
        """Hear that the client does not read."""
        self.is_paused = True
        if self.listener is not None and not self.is_over:
            self.listener.pause()

    def resume(self) -> None:
        """Hear that the client reads again."""
        self.is_paused = False
        if self.listener is not None and not self.is_over:
            self.listener.resume()

    def _end(self) -> None:
        """Tell the listener nothing more, and let go of it: it mostly has this exchange."""
        self.is_over = True
        self.listener = None

    def _hold(self, size: int) -> bool:
        if self.holding is None:
            self.holding = Holding(self.connection.shared.doors.memory)
            size = self.size
        return self.holding.grow(size)

    def _is_rest_small(self) -> bool:
        """Whether what is left of the body will come, and soon."""
        if self.length is None or self.expects_continue:
            return False
        return self.length - self.size <= MAX_DISCARDED_BYTES

    def _head_of(self, status: int, headers: Sequence[Header], framing: bytes) -> bytes:
        if self.keep_alive and not (self.is_body_whole or self._is_rest_small()):
            self.keep_alive = False
        lines = [_first_lines(status, tuple(headers)), date_line()]
        for header in self.response_headers:
            lines.append(b"%b: %b\r\n" % header)  # noqa: PERF401  # a comprehension costs a call
        for told in self.limits:
            lines.append(LIMIT_LINES[told[0]] % told[1:])  # noqa: PERF401  # as above
        lines.append(framing)
        lines.append(b"\r\n" if self.keep_alive else b"connection: close\r\n\r\n")
        return b"".join(lines)


@lru_cache(1024)  # most answers differ in their bodies alone, and name one of some instances
def _first_lines(status: int, headers: tuple[Header, ...]) -> bytes:
    first = _STATUS_LINES.get(status) or b"HTTP/1.1 %d \r\n" % status
    return b"".join([first, *[b"%b: %b\r\n" % header for header in headers]])


def _with_length(headers: Sequence[Header], body: bytes) -> tuple[Sequence[Header], bytes]:
    """Return *headers* and the line of the length: to HEAD an answer may say the length of a body that it lacks."""
    if any(name == b"content-length" for name, _ in headers):
        return headers, b""
    return headers, b"content-length: %d\r\n" % len(body)


def farewell(reply: ErrorReply) -> bytes:
    """Return an answer that ends its connection, to what was no request."""
    lines = [b"HTTP/1.1 %d \r\n" % reply.status, date_line(), b"connection: close\r\n"]
    lines += [b"%b: %b\r\n" % header for header in reply.headers]
    return b"".join([*lines, b"content-length: %d\r\n\r\n" % len(reply.body), reply.body])


_second = 0
_date_line = b""


def date_line() -> bytes:
    """The header `date` as it is now, as a line."""
    global _second, _date_line
    now = int(time.time())
    if now != _second:
        _second = now
        _date_line = b"date: %b\r\n" % formatdate(now, usegmt=True).encode()
    return _date_line
