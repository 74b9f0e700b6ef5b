"""One streamed answer: events to chunks, comments while the engine is silent, and one end.

The head is sent with the first chunk, so that an error before it still has its own status. A stream that stays
silent for `keep_alive_s` is begun by a comment; from then on an error is an event.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from enginehouse.dialects.endpoint import Encoder, Header
from enginehouse.dialects.openai.errors import OK
from enginehouse_plugin import AnyEvent

from .client import Client

_HEADERS: tuple[Header, ...] = (
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),  # nginx in front would hold chunks back
)


class EventStream:
    """Sends one answer to *client*; one timer serves comments and the limit on a client that reads no more."""

    def __init__(
        self,
        client: Client,
        encoder: Encoder,
        *,
        keep_alive_s: float,
        write_timeout_s: float,
        headers: tuple[Header, ...] = (),
    ) -> None:
        self._client = client
        self._encoder = encoder
        self._headers = ((b"content-type", encoder.content_type), *_HEADERS, *headers)
        self._keep_alive_s = keep_alive_s
        self._write_timeout_s = write_timeout_s
        self._loop = client.loop
        self._wrote_at = self._loop.time()
        self._writes_since: float | None = None
        self._comment: asyncio.Task[None] | None = None
        self._timer = self._loop.call_later(keep_alive_s, self._on_timer)

    async def relay(self, events: AsyncIterator[AnyEvent]) -> None:
        """Send *events* to their end.

        Raises:
            EnginehouseError: what the events raise; the stream has not ended then.
        """
        async for event in events:
            if data := self._encoder.events((event,)):
                await self._write(data)
        await self._write(self._encoder.end(), is_last=True)

    async def fail(self, error: Exception) -> None:
        """End a stream that has begun with *error*."""
        await self._write(self._encoder.fail(error), is_last=True)

    def close(self) -> None:
        """Stop the timer; nothing is sent after this."""
        self._timer.cancel()
        if self._comment is not None:
            self._comment.cancel()

    async def _write(self, data: bytes, *, is_last: bool = False) -> None:
        self._writes_since = self._loop.time()
        if not self._client.is_begun:
            await self._client.begin(OK, self._headers)
        await self._client.write(data, is_last=is_last)
        self._wrote_at = self._loop.time()
        self._writes_since = None

    def _on_timer(self) -> None:
        # Three cases: the client does not read, the engine is silent, or neither.
        now = self._loop.time()
        if self._writes_since is not None:
            if now - self._writes_since >= self._write_timeout_s:
                self._client.drop()
                return
        elif now - self._wrote_at >= self._keep_alive_s:
            self._comment = self._loop.create_task(self._write(self._encoder.keep_alive))
            self._wrote_at = now
        self._timer = self._loop.call_later(min(self._keep_alive_s, self._write_timeout_s), self._on_timer)
