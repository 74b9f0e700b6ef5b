"""The client's side of one exchange: its body, its leaving, and what it has been sent."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable
from types import TracebackType
from typing import Literal

from litestar.types import HTTPReceiveMessage, HTTPScope, Receive, Send

from enginehouse.dialects.endpoint import Header
from enginehouse.dialects.openai.errors import OK
from enginehouse.dialects.refusals import BodyTooLarge, TooSlow
from enginehouse_plugin.errors import EnginehouseError

from .protocol import Protocol

BODY_TIMEOUT_S = 60.0
"""A body that has begun must be whole by then."""
_DISCARD_TIMEOUT_S = 5.0
_DISCARD_BYTES = 64 * 1024 * 1024

_JSON: Header = (b"content-type", b"application/json")


class ClientLeft(Exception):
    """The client has closed its connection, or reads no more."""


class Refused(Exception):
    """The request is refused with *error* before its body was read; what is left of that is discarded first."""

    def __init__(self, error: EnginehouseError) -> None:
        super().__init__(error.code)
        self.error = error


class Client:
    """One request's connection.

    As a context manager it cancels its block as soon as the client leaves, and raises `ClientLeft` then; it
    tells that cancellation from others as `asyncio.timeout` does.
    """

    def __init__(self, scope: HTTPScope, receive: Receive, send: Send, *, is_wrapped: bool = False) -> None:
        self.is_wrapped = is_wrapped
        self._scope = scope
        self._receive = receive
        self._send = send
        self._connection: Protocol = scope["enginehouse.connection"]  # type: ignore[typeddict-item]  # by `protocol`
        self.loop = self._connection.loop
        self._is_body_read = False
        self._is_body_asked_for = False
        self.is_begun = False
        self.has_left = False

    async def read_body(self, limit_bytes: int, announced: bytes | None) -> bytes:
        """Return the whole body; *announced* is the header content-length.

        Raises:
            Refused: it is larger than *limit_bytes*, or did not come in time.
            ClientLeft: the client left meanwhile.
        """
        if announced is not None and announced.isdigit() and int(announced) > limit_bytes:
            raise Refused(BodyTooLarge(limit_bytes))
        self._is_body_asked_for = True
        message = await self._next_part()
        if message["type"] == "http.request" and not message.get("more_body"):
            body = message.get("body", b"")
            if len(body) > limit_bytes:
                raise Refused(BodyTooLarge(limit_bytes))
            return body
        parts, size = [], 0
        try:
            async with asyncio.timeout(BODY_TIMEOUT_S):
                while message["type"] == "http.request":
                    parts.append(message.get("body", b""))
                    size += len(parts[-1])
                    if size > limit_bytes:
                        raise Refused(BodyTooLarge(limit_bytes))
                    if not message.get("more_body"):
                        return b"".join(parts)
                    message = await self._next_part()
        except TimeoutError:
            raise Refused(TooSlow("body")) from None
        raise ClientLeft

    async def discard_body(self) -> bool:
        """Read what is left of a body that nobody wants; return whether its end was seen.

        A connection that is closed on unread bytes is reset, and the client may never see the answer. A client
        that waits for `100 Continue` sends nothing, and is not asked to.
        """
        if not self._is_body_asked_for and any(name == b"expect" for name, _ in self._scope["headers"]):
            return False
        size = 0
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_DISCARD_TIMEOUT_S):
                while not self._is_body_read and size <= _DISCARD_BYTES:
                    message = await self._next_part()
                    if message["type"] != "http.request":
                        return False  # it has left; what is sent now goes nowhere
                    size += len(message.get("body", b""))
        return self._is_body_read

    async def _next_part(self) -> HTTPReceiveMessage:
        message: HTTPReceiveMessage = await self._receive()  # type: ignore[assignment]  # this scope is HTTP
        if message["type"] == "http.request" and not message.get("more_body"):
            self._is_body_read = True
        return message

    async def __aenter__(self) -> Client:
        task = asyncio.current_task(self.loop)
        if task is None:
            raise RuntimeError("a client is served in a task")
        if self._connection.is_lost:
            raise ClientLeft
        self._task = task
        self._cancels = task.cancelling()
        self._connection.watch(self._leave)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> Literal[False]:
        self._connection.watch(None)
        if kind is asyncio.CancelledError and self.has_left and self._task.uncancel() <= self._cancels:
            raise ClientLeft from error
        return False

    def _leave(self) -> None:
        self.has_left = True
        self._task.cancel()

    def drop(self) -> None:
        """Give up on a client that reads no more: its connection is cut, and with it the request ends."""
        self._connection.transport.abort()

    async def reply(self, status: int, body: bytes, headers: Iterable[Header]) -> None:
        """Answer with one body."""
        await self.begin(status, headers)
        await self._send({"type": "http.response.body", "body": body, "more_body": False})

    async def answer(self, body: bytes, headers: tuple[Header, ...]) -> None:
        """Answer 200 with *body*, which is JSON. Nothing may wrap `send` but `envelope`, unless `is_wrapped`."""
        scope = self._scope
        if not self.is_wrapped:
            id_header: Header = scope["enginehouse.request_id_header"]  # type: ignore[typeddict-item]  # by `envelope`
            head = (b"content-type: application/json", *(b"%b: %b" % header for header in (*headers, id_header)))
            if self._connection.answer(scope, head, body):
                self.is_begun = True
                return
        await self.reply(OK, body, (_JSON, (b"content-length", b"%d" % len(body)), *headers))

    async def begin(self, status: int, headers: Iterable[Header]) -> None:
        """Send the head of an answer."""
        self.is_begun = True
        await self._send({"type": "http.response.start", "status": status, "headers": list(headers)})

    async def write(self, data: bytes, *, is_last: bool = False) -> None:
        """Send more of the body; waits while the client is slow to read."""
        await self._send({"type": "http.response.body", "body": data, "more_body": not is_last})
