"""A lean client: one connection, requests one after another, nothing of HTTP that would get in a campaign's way."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import Any, Self


@dataclass
class Answer:
    """An answer: `status` 0 means that the connection ended before a head; `is_whole`: it came to its own end."""

    status: int
    headers: dict[str, str]
    body: bytes
    is_whole: bool

    def json(self) -> Any:  # Any: JSON
        return json.loads(self.body)

    @property
    def error_code(self) -> str | None:
        """The code of a well-formed error, else None."""
        try:
            error = self.json()["error"]
            return str(error["code"]) if error["message"] and error["type"] else None
        except (ValueError, KeyError, TypeError):
            return None

    def events(self) -> list[str]:
        """The data of a stream's events."""
        parts = self.body.decode().split("\n\n")
        return [part.removeprefix("data: ") for part in parts if part.startswith("data: ")]


class Client:
    """A connection to *address*; opened when it is first needed, and again after it was closed."""

    def __init__(self, address: tuple[str, int], *, timeout_s: float = 60.0, key: str = "") -> None:
        self._address = address
        self._key = {"authorization": f"Bearer {key}"} if key else {}
        self._timeout_s = timeout_s
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the connection."""
        if self._writer is not None:
            self._writer.close()
        self._reader = self._writer = None

    def reset(self) -> None:
        """Let go of it with a reset."""
        if self._writer is not None:
            self._writer.transport.abort()
        self._reader = self._writer = None

    async def post(self, path: str, body: Any, **headers: str) -> Answer:
        """Ask with *body*: bytes as they are, or something that becomes JSON. Names of headers with `_` for `-`."""
        return await self.send(posted(body, path, **self._key, **headers))

    async def chat(self, body: Any, **headers: str) -> Answer:
        """Ask the chat route."""
        return await self.post("/v1/chat/completions", body, **headers)

    async def get(self, path: str, **headers: str) -> Answer:
        """Ask without a body."""
        return await self.send(_head("GET", path, self._key | headers))

    async def ask(self, method: str, path: str) -> Answer:
        """Ask by *method*, without a body."""
        return await self.send(_head(method, path, {"content_length": "0", **self._key}), is_head=method == "HEAD")

    async def send(self, data: bytes, *, is_head: bool = False) -> Answer:
        """Send bytes as they are and read an answer; one to HEAD has no body.

        Raises:
            TimeoutError: none came in time.
        """
        async with asyncio.timeout(self._timeout_s):
            reader, writer = await self.begin(data)
            try:
                answer = await _read(reader, is_head=is_head)
            except (ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
                answer = Answer(0, {}, b"", is_whole=False)
            if not answer.is_whole or answer.headers.get("connection") == "close":
                writer.close()
                self._reader = self._writer = None
        return answer

    async def begin(self, data: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Send *data* and leave the rest to the caller."""
        if self._reader is None or self._writer is None or self._reader.at_eof():
            self._reader, self._writer = await asyncio.open_connection(*self._address, limit=1 << 20)
        try:
            self._writer.write(data)
            await self._writer.drain()
        except ConnectionError:
            pass  # refused while it was sent: the answer may be there
        return self._reader, self._writer


def posted(body: Any, path: str = "/v1/chat/completions", **headers: str) -> bytes:
    """The bytes of a request with *body*: bytes as they are, or something that becomes JSON."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = {"content_type": "application/json", "content_length": str(len(data)), **headers}
    return _head("POST", path, lines) + data


def _head(method: str, path: str, headers: dict[str, str]) -> bytes:
    lines = {"host": "127.0.0.1", **headers}
    return f"{method} {path} HTTP/1.1\r\n{_lines(lines)}\r\n".encode("latin-1")


def _lines(headers: dict[str, str]) -> str:
    return "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())


async def _read(reader: asyncio.StreamReader, *, is_head: bool = False) -> Answer:
    while True:
        status, headers = await _read_head(reader)
        if status >= 200:  # not `100 Continue`
            break
    body = bytearray()
    answer = Answer(status, headers, b"", is_whole=is_head or status in (204, 304))
    try:
        if answer.is_whole:
            pass
        elif "content-length" in headers:
            body += await reader.readexactly(int(headers["content-length"]))
            answer.is_whole = True
        elif headers.get("transfer-encoding") == "chunked":
            while size := int(await reader.readuntil(b"\r\n"), 16):
                body += (await reader.readexactly(size + 2))[:-2]
            await reader.readuntil(b"\r\n")
            answer.is_whole = True
        else:
            body += await reader.read()
    except (ConnectionError, asyncio.IncompleteReadError):
        pass
    answer.body = bytes(body)
    return answer


async def _read_head(reader: asyncio.StreamReader) -> tuple[int, dict[str, str]]:
    status, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    return int(status.split()[1]), {
        name.lower(): value for name, _, value in (line.partition(": ") for line in lines) if name
    }
