"""Just enough of HTTP/1.1 for the stub: one request per connection, both codings of bodies, a size limit."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from urllib.parse import parse_qsl, unquote, urlsplit

import msgspec

Headers = Sequence[tuple[str, str]]
_REASONS = {200: "OK", 400: "Bad Request", 401: "Unauthorized", 402: "Payment Required", 404: "Not Found",
            405: "Method Not Allowed", 413: "Content Too Large", 429: "Too Many Requests",
            500: "Internal Server Error", 503: "Service Unavailable"}  # fmt: skip


class TooLarge(Exception):
    """The body is over the limit."""


class HttpRequest(msgspec.Struct, frozen=True):
    """A request as it came in; header names in lower case."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes


async def read_request(reader: asyncio.StreamReader, max_body_bytes: int) -> HttpRequest | None:
    """The next request, None where the client left before it was whole.

    Raises:
        TooLarge: the body is over *max_body_bytes*; it has been read and thrown away.
    """
    try:
        head = await reader.readuntil(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        method, target, _ = first.split(" ", 2)
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)}
        body = await _read_body(reader, headers, max_body_bytes)
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, ConnectionError, ValueError):
        return None
    url = urlsplit(target)
    return HttpRequest(method, unquote(url.path), dict(parse_qsl(url.query)), headers, body)


async def _read_body(reader: asyncio.StreamReader, headers: dict[str, str], limit: int) -> bytes:
    if headers.get("transfer-encoding", "").lower() == "chunked":
        body = b""
        while size := int(await reader.readline(), 16):
            body += await reader.readexactly(size)
            await reader.readline()
        await reader.readline()
    else:
        left = int(headers.get("content-length", 0))
        if left > limit:
            while left > 0:
                left -= len(await reader.read(min(left, 1 << 16)) or b"x" * left)
            raise TooLarge
        body = await reader.readexactly(left)
    if len(body) > limit:
        raise TooLarge
    return body


def head(status: int, headers: Headers) -> bytes:
    """Status line and headers of an answer."""
    lines = [f"HTTP/1.1 {status} {_REASONS.get(status, 'Status')}", "connection: close", "server: stub/1"]
    lines += [f"{name}: {value}" for name, value in headers]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n"


def whole(status: int, body: bytes, headers: Headers = (("content-type", "application/json"),)) -> bytes:
    """A whole answer."""
    return head(status, (*headers, ("content-length", str(len(body))))) + body


def chunk(data: bytes) -> bytes:
    """*data* as one chunk of chunked coding; empty *data* ends the body."""
    return b"%x\r\n%b\r\n" % (len(data), data)
