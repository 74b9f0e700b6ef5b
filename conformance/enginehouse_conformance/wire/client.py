"""A raw HTTP/1.1 client: one connection per request, every byte in the caller's hand.

It sends what it is told to (chunked bodies, invalid JSON, half a request), reads as slowly as it is told to,
and drops the connection whenever the caller wants. It follows no redirect and reuses no connection.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from urllib.parse import SplitResult, urlsplit

import msgspec

from .faults import BrokenAnswer, Closed, Silent, Unreachable

Header = tuple[str, str]
_MAX_HEAD_BYTES = 64 * 1024
_PIECE_BYTES = 16 * 1024
_MAX_ANSWER_BYTES = 32 * 2**20


class Head(msgspec.Struct, frozen=True):
    """Status line and headers of an answer; header names in lower case."""

    status: int
    reason: str
    headers: tuple[Header, ...]

    def get(self, name: str) -> str | None:
        """The first header *name*, or None."""
        return next((value for key, value in self.headers if key == name.lower()), None)


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """What is sent. With `chunks` the body goes out in chunked transfer coding, one chunk each."""

    method: str
    url: str
    headers: tuple[Header, ...] = ()
    body: bytes = b""
    chunks: tuple[bytes, ...] | None = None


class Connection:
    """One request and its answer on one connection. Use as an async context manager; leaving it drops the rest."""

    def __init__(self, request: Request, *, timeout_s: float = 60.0, read_buffer_bytes: int = 2**16) -> None:
        self.request = request
        self.timeout_s = timeout_s
        self._buffer_bytes = read_buffer_bytes
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def __aenter__(self) -> Connection:
        target = urlsplit(self.request.url)
        try:
            async with asyncio.timeout(self.timeout_s):
                self._reader, self._writer = await self._connect(target)
        except TimeoutError as exc:
            raise Silent(f"no connection to {target.netloc} within {self.timeout_s:g} s") from exc
        except OSError as exc:
            raise Unreachable(f"no connection to {target.netloc}: {exc.strerror or exc}") from exc
        return self

    async def _connect(self, target: SplitResult) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        is_tls = target.scheme == "https"
        return await asyncio.open_connection(
            target.hostname,
            target.port or (443 if is_tls else 80),
            ssl=ssl.create_default_context() if is_tls else None,
            limit=self._buffer_bytes,
        )

    async def __aexit__(self, *exc_info: object) -> None:
        self.drop()

    def drop(self) -> None:
        """Close the connection now, whatever is still on it."""
        if self._writer is not None:
            self._writer.transport.abort()
            self._writer = None

    async def send(self) -> None:
        """Send the whole request.

        A target may answer before it has read everything (413, say), and then close: a failed write is left to
        the reader, which finds either the answer or nothing.
        """
        writer = self._open_writer()
        try:
            async with asyncio.timeout(self.timeout_s):
                writer.write(encode_head(self.request))
                if self.request.chunks is None:
                    writer.write(self.request.body)
                else:
                    for chunk in self.request.chunks:
                        writer.write(b"%x\r\n%b\r\n" % (len(chunk), chunk))
                        await writer.drain()
                    writer.write(b"0\r\n\r\n")
                await writer.drain()
        except TimeoutError as exc:
            raise Silent(f"the target did not read the request within {self.timeout_s:g} s") from exc
        except OSError:
            return

    async def head(self) -> Head:
        """Read status line and headers; interim answers (1xx) are skipped."""
        while True:
            head = parse_head(await self._read_head())
            if head.status >= 200:
                return head

    async def _read_head(self) -> bytes:
        reader = self._open_reader()
        raw = b""
        try:
            async with asyncio.timeout(self.timeout_s):
                while not raw.endswith(b"\r\n\r\n"):
                    line = await reader.readline()
                    if not line:
                        break
                    raw += line
                    if not b"HTTP/".startswith(raw[:5]):
                        raise BrokenAnswer(f"no HTTP answer; it began with {raw[:60]!r}")
                    if len(raw) > _MAX_HEAD_BYTES:
                        raise BrokenAnswer(f"the head of the answer is over {_MAX_HEAD_BYTES} bytes")
        except TimeoutError as exc:
            raise Silent(f"no answer within {self.timeout_s:g} s") from exc
        except ValueError as exc:
            raise BrokenAnswer("a line of the head of the answer is endless") from exc
        except OSError as exc:
            raise Closed(f"the connection broke before an answer: {exc.strerror or exc}") from exc
        if not raw:
            raise Closed("the target closed the connection without an answer")
        if not raw.endswith(b"\r\n\r\n"):
            raise BrokenAnswer("the target closed the connection inside the head of its answer")
        return raw

    async def pieces(self, head: Head, *, idle_timeout_s: float | None = None) -> AsyncIterator[bytes]:
        """The body, piece by piece, transfer coding taken off.

        Raises:
            BrokenAnswer: the body ended too early, its coding is wrong, or it does not come to an end.
            Silent: nothing came for *idle_timeout_s*.
        """
        limit_s = idle_timeout_s or self.timeout_s
        coding = (head.get("transfer-encoding") or "").lower()
        if head.status in (204, 304):
            return
        if coding:
            if coding != "chunked":
                raise BrokenAnswer(f"transfer coding {coding!r} is not one that this client asked for")
            source = self._chunked(limit_s)
        else:
            source = self._plain(head.get("content-length"), limit_s)
        received = 0
        async for piece in source:
            received += len(piece)
            if received > _MAX_ANSWER_BYTES:
                raise BrokenAnswer(f"the answer is over {_MAX_ANSWER_BYTES} bytes and goes on")
            yield piece

    async def _plain(self, length: str | None, limit_s: float) -> AsyncIterator[bytes]:
        if length is None:
            while piece := await self._read(_PIECE_BYTES, limit_s):
                yield piece
            return
        if not length.isdecimal():
            raise BrokenAnswer(f"content-length is {length!r}")
        left = int(length)
        while left:
            piece = await self._read(min(left, _PIECE_BYTES), limit_s)
            if not piece:
                raise BrokenAnswer(f"the target closed the connection {left} bytes before the end of its answer")
            left -= len(piece)
            yield piece

    async def _chunked(self, limit_s: float) -> AsyncIterator[bytes]:
        while True:
            line = await self._line(limit_s)
            try:
                size = int(line.split(b";")[0], 16)
            except ValueError as exc:
                raise BrokenAnswer(f"a chunk begins with {line[:40]!r}, which is no size") from exc
            if size == 0:
                while await self._line(limit_s):
                    pass
                return
            left = size
            while left:
                piece = await self._read(min(left, _PIECE_BYTES), limit_s)
                if not piece:
                    raise BrokenAnswer("the target closed the connection in the middle of a chunk")
                left -= len(piece)
                yield piece
            if await self._line(limit_s):
                raise BrokenAnswer("a chunk is longer than its size says")

    async def _line(self, limit_s: float) -> bytes:
        reader = self._open_reader()
        try:
            async with asyncio.timeout(limit_s):
                line = await reader.readline()
        except TimeoutError as exc:
            raise Silent(f"the answer stopped for {limit_s:g} s before its end") from exc
        except (OSError, ValueError) as exc:
            raise BrokenAnswer(f"the answer broke off: {exc}") from exc
        if not line.endswith(b"\n"):
            raise BrokenAnswer("the target closed the connection in the middle of its answer")
        return line.rstrip(b"\r\n")

    async def _read(self, size: int, limit_s: float) -> bytes:
        reader = self._open_reader()
        try:
            async with asyncio.timeout(limit_s):
                return await reader.read(size)
        except TimeoutError as exc:
            raise Silent(f"the answer stopped for {limit_s:g} s before its end") from exc
        except OSError as exc:
            raise BrokenAnswer(f"the connection broke in the middle of the answer: {exc.strerror or exc}") from exc

    def _open_reader(self) -> asyncio.StreamReader:
        if self._reader is None:
            raise RuntimeError("enter the connection first")
        return self._reader

    def _open_writer(self) -> asyncio.StreamWriter:
        if self._writer is None:
            raise RuntimeError("enter the connection first")
        return self._writer


def encode_head(request: Request) -> bytes:
    """Request line and headers; host, length or coding, and connection are added where the caller gave none."""
    target = urlsplit(request.url)
    path = (target.path or "/") + (f"?{target.query}" if target.query else "")
    given = {name.lower() for name, _ in request.headers}
    added: list[Header] = [("host", target.netloc), ("connection", "close"), ("accept", "*/*")]
    if request.chunks is not None:
        added.append(("transfer-encoding", "chunked"))
    elif request.body or request.method == "POST":
        added.append(("content-length", str(len(request.body))))
    headers = [(name, value) for name, value in added if name not in given] + list(request.headers)
    lines = [f"{request.method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers)]
    return "\r\n".join(lines).encode("latin-1", "replace") + b"\r\n\r\n"


def parse_head(raw: bytes) -> Head:
    """Decode status line and headers.

    Raises:
        BrokenAnswer: it is no head of HTTP/1.x.
    """
    first, *lines = raw.decode("latin-1").split("\r\n")
    version, _, rest = first.partition(" ")
    status, _, reason = rest.partition(" ")
    if not version.startswith("HTTP/1.") or not (status.isdecimal() and len(status) == 3):
        raise BrokenAnswer(f"the status line is {first[:80]!r}")
    headers = tuple(_header(line) for line in lines if line)
    return Head(int(status), reason, headers)


def _header(line: str) -> Header:
    name, colon, value = line.partition(":")
    if not colon or not name or name != name.strip():
        raise BrokenAnswer(f"a header line is {line[:80]!r}")
    return name.lower(), value.strip()
