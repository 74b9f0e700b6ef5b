"""The head of a request: what stands before its body.

A client's requests on one connection begin alike, but for the length of the body. So a connection remembers the head
that it has read last (`Repeated`): a request that repeats it is recognised by two comparisons of bytes, and nothing of
it is parsed, judged or looked up again.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from urllib.parse import unquote

import httptools

from enginehouse.dialects.endpoint import Header
from enginehouse.dialects.refusals import HeadTooLarge, MalformedHTTP

_ONCE = (b"host", b"authorization", b"content-type", b"content-encoding", b"content-length", b"transfer-encoding")
_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*([0-9]+)[ \t]*\r\n", re.IGNORECASE)
_END = b"\r\n\r\n"
_MOST_REPEATED_BYTES = 4096
_MOST_DIGITS = 18


class Head:
    """A method, a path, a query and headers; requests may share one, and nothing of it changes.

    Names of `headers` are in lower case, and `named` has the first value of each. `admitted` is for `admit` to
    remember: for which keys this head was found good, and whose it is.
    """

    admitted: tuple[object, str] | None = None

    def __init__(self, method: str, path: str, headers: Sequence[Header], query: bytes = b"") -> None:
        self.method = method
        self.path = path
        self.query = query
        self.headers = headers
        self.named = dict(reversed(headers))

    def check(self) -> None:
        """Refuse a head whose meaning would depend on who reads it.

        Raises:
            MalformedHTTP: a header that may stand once is there twice.
        """
        if len(self.named) == len(self.headers):
            return
        names = [name for name, _ in self.headers]
        for name in _ONCE:
            if names.count(name) > 1:
                raise MalformedHTTP(f"The header '{name.decode()}' is there more than once.")


class ParsedHead(Head):
    """The head that *parser* has just read, whose target was *target*.

    `length` is the body's announced length, None if it is chunked. `keep_alive`: the client wants to go on.

    Raises:
        MalformedHTTP: it has no meaning, or more than one.
    """

    is_old = False
    """HTTP/1.0: it knows neither chunks nor `100 Continue`."""
    expects_continue = False
    length: int | None = 0

    def __init__(self, parser: httptools.HttpRequestParser, target: bytes, headers: Sequence[Header]) -> None:
        path = _short_path(target) if len(target) <= _SHORT else _path(target)
        query = target.partition(b"?")[2].partition(b"#")[0] if b"?" in target else b""
        super().__init__(parser.get_method().decode(), path, headers, query)
        self.target = target
        self.check()
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


class Repeated:
    """A head in its bytes, but for the digits of the body's length: with it further requests may begin."""

    __slots__ = ("_after", "_before", "head")

    def __init__(self, head: ParsedHead, before: bytes, after: bytes) -> None:
        self.head = head
        self._before = before
        self._after = after

    def body(self, data: bytes) -> bytes | None:
        """The body of *data*, if that is one whole request which begins with this head."""
        if not data.startswith(self._before):
            return None
        start = len(self._before)
        end = data.find(b"\r", start, start + _MOST_DIGITS)
        digits = data[start:end]
        if not digits.isdigit() or not data.startswith(self._after, end):
            return None
        body = data[end + len(self._after) :]
        return body if len(body) == int(digits) else None


def repeated(head: ParsedHead, data: bytes) -> Repeated | None:
    """Remember *head*, if *data* is the one request that it began; None: it is none that may be repeated."""
    if not head.length or not head.keep_alive or head.expects_continue or b"upgrade" in head.named:
        return None
    raw = data[: -head.length]
    if len(raw) > _MOST_REPEATED_BYTES or raw.find(_END) != len(raw) - len(_END):
        return None
    length = _LENGTH.search(raw)
    if length is None or int(length[1]) != head.length:
        return None
    return Repeated(head, raw[: length.start(1)], raw[length.end(1) :])


def check_size(target: bytes, headers: Sequence[Header], most_bytes: int) -> None:
    """Refuse a head of more than *most_bytes*.

    Raises:
        HeadTooLarge: it is one.
    """
    if len(target) + sum(len(name) + len(value) + 4 for name, value in headers) > most_bytes:
        raise HeadTooLarge(most_bytes)


def framing(length: int | None) -> bytes:
    """Make a head that has nothing but the framing of a body of *length* bytes, of a chunked one if that is None."""
    field = b"transfer-encoding: chunked" if length is None else b"content-length: %d" % length
    return b"POST / HTTP/1.1\r\n%b\r\n\r\n" % field


def _path(target: bytes) -> str:
    """Return the path of a request's target, decoded; the target may be a whole URL."""
    if not target.startswith(b"/") or b"?" in target or b"#" in target:
        target = httptools.parse_url(target).path or b"/"
    path = target.decode("ascii")
    return unquote(path) if "%" in path else path


_SHORT = 128
_short_path = lru_cache(256)(_path)
