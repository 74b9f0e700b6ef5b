"""A request on our own server's connection, and the bytes of its answer."""

from __future__ import annotations

import time
from collections.abc import Sequence
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import unquote

import httptools

from enginehouse.dialects.endpoint import ErrorReply, Header
from enginehouse.dialects.refusals import BodyTooLarge, MalformedHTTP, TooSlow

from .exchange import Exchange

if TYPE_CHECKING:
    from .connection import Connection

MAX_DISCARDED_BYTES = 64 * 1024
"""What may be left of a body that nobody wants, for its connection to stay usable."""

_STATUS_LINES = {status.value: b"HTTP/1.1 %d %b\r\n" % (status, status.phrase.encode()) for status in HTTPStatus}
_NO_BODY = (204, 304)


class DirectExchange(Exchange):
    """One request, whose head *parser* has just read, and its answer on *connection*.

    The connection calls the methods of the second half.

    `target` is what stood in the request's first line. `length` is the body's announced length, None if it is
    chunked. `is_over`: the answer is whole, or nobody waits for it.

    Raises:
        MalformedHTTP: the head has no meaning, or more than one.
    """

    length: int | None = 0
    is_old = False  # HTTP/1.0: it knows neither chunks nor `100 Continue`
    is_over = False
    is_body_whole = False
    keep_alive = True
    expects_continue = False
    _head: bytes | None = None
    _is_chunked = False
    _size = 0
    _wants_body = False
    _body = b""
    _parts: list[bytes] | None = None

    def __init__(
        self,
        connection: Connection,
        parser: httptools.HttpRequestParser,
        target: bytes,
        headers: Sequence[Header],
    ) -> None:
        path = _short_path(target) if len(target) <= _SHORT else _path(target)
        super().__init__(parser.get_method().decode(), path, headers, connection.peer)
        self.connection = connection
        self.target = target
        self.scheme = connection.scheme
        self._limit_bytes = connection.shared.max_body_bytes
        if len(self.named) != len(headers):
            self.check_head()
        named = self.named.get
        version = parser.get_http_version()
        if version == "1.1":
            self.keep_alive = parser.should_keep_alive()
            if named(b"host") is None:
                raise MalformedHTTP("The header 'host' is missing.")
        elif version == "1.0":
            self.is_old = True
            self.keep_alive = False
        else:
            raise MalformedHTTP(f"HTTP {version} is not spoken here.")
        if self.method == "CONNECT":
            raise MalformedHTTP("This server is no proxy.")
        length = named(b"content-length")
        if length is not None:
            self.length = int(length)  # the parser has seen that it is a number
        coding = named(b"transfer-encoding")
        if coding is not None:
            if self.is_old or coding.strip().lower() != b"chunked":
                raise MalformedHTTP("The only transfer encoding is 'chunked', and in HTTP/1.1 alone.")
            self.length = None
        expected = named(b"expect")
        if expected is not None and not self.is_old and expected.strip().lower() == b"100-continue":
            self.expects_continue = self.length != 0

    # ---- for who answers ----

    def read_body(self, limit_bytes: int) -> None:
        """See `Exchange.read_body`."""
        self._limit_bytes = limit_bytes
        if (self.length or 0) > limit_bytes or self._size > limit_bytes:
            self._fail_body()
            return
        self._wants_body = True
        if self.is_body_whole:
            self.give_body()
            return
        if self.expects_continue and not self._size:
            self.connection.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        self.expects_continue = False
        self.connection.expect_body()

    def answer(self, status: int, headers: Sequence[Header], body: bytes) -> None:
        """See `Exchange.answer`."""
        if self.is_begun:
            return
        self.is_begun = self.is_over = True
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
            data = b"%x\r\n%b\r\n" % (len(data), data)
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
        self.is_over = True
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
        self._size += len(part)
        if self.is_over or self._limit_bytes < 0:
            return
        if self._size > self._limit_bytes:
            self._body, self._parts = b"", None
            if self._wants_body:
                self._fail_body()
        elif self._parts is not None:
            self._parts.append(part)
        elif self._body:
            self._parts = [self._body, part]
        else:
            self._body = part

    def give_body(self) -> None:
        """Hand the whole body to the listener, if it has asked."""
        if self._wants_body and self.listener is not None:
            self._wants_body = False
            body = self._body if self._parts is None else b"".join(self._parts)
            self._body, self._parts = b"", None
            self.listener.body(body)

    def body_is_late(self) -> None:
        """Tell the listener that the body has not come in time."""
        if self.listener is not None and not self.is_over:
            self._wants_body = False
            self.listener.body_failed(TooSlow("body"))

    def leave(self) -> None:
        """Hear that the client has left."""
        if self.is_over:
            return
        self.is_begun = self.is_over = True
        if self.listener is not None:
            self.listener.client_left()

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

    def _fail_body(self) -> None:
        self._wants_body = False
        limit_bytes, self._limit_bytes = self._limit_bytes, -1
        if self.listener is not None:
            self.listener.body_failed(BodyTooLarge(limit_bytes))

    def _is_rest_small(self) -> bool:
        """Whether what is left of the body will come, and soon."""
        if self.length is None or self.expects_continue:
            return False
        return self.length - self._size <= MAX_DISCARDED_BYTES

    def _head_of(self, status: int, headers: Sequence[Header], framing: bytes) -> bytes:
        if self.keep_alive and not (self.is_body_whole or self._is_rest_small()):
            self.keep_alive = False
        lines = [_first_lines(status, tuple(headers)), date_line()]
        for header in self.response_headers:
            lines.append(b"%b: %b\r\n" % header)  # noqa: PERF401  # a comprehension costs a call
        lines.append(framing)
        lines.append(b"\r\n" if self.keep_alive else b"connection: close\r\n\r\n")
        return b"".join(lines)


@lru_cache(64)  # most answers differ in their bodies alone
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


def _path(target: bytes) -> str:
    """Return the path of a request's target, decoded; the target may be a whole URL."""
    if not target.startswith(b"/") or b"?" in target or b"#" in target:
        target = httptools.parse_url(target).path or b"/"
    path = target.decode("ascii")
    return unquote(path) if "%" in path else path


_SHORT = 128
_short_path = lru_cache(256)(_path)

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
