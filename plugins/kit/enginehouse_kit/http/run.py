"""One request to an engine's server whose events are pushed: from the socket's callback to the sink, without a task."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from enginehouse_plugin.errors import EngineDied, EngineError, EnginehouseError, EngineProtocolError
from enginehouse_plugin.events import AnyEvent
from enginehouse_plugin.run import Run, Sink

from .exchange import Incoming, too_long
from .sse import SSEParser

if TYPE_CHECKING:
    from .client import LocalClient

_NO_PARSER = SSEParser()  # of a whole answer
_END_TIMEOUT_S = 1.0  # between `[DONE]` and the end of the answer, which lets the connection be kept


class Reader(Protocol):
    """Finds the events in one answer of an engine. Its methods raise errors of the contract."""

    def begin(self, events: list[AnyEvent], headers: Sequence[tuple[bytes, bytes]]) -> None:
        """Add what is known as soon as the engine has taken the request to *events*; *headers* are the answer's."""

    def take(self, payload: bytes, events: list[AnyEvent]) -> None:
        """Add the events of one payload of a stream, or of a whole answer, to *events*."""

    def finish(self, events: list[AnyEvent]) -> None:
        """Add the last events to *events*: nothing more comes."""

    def refusal(self, status: int, body: bytes) -> EnginehouseError:
        """Return the contract's error for the engine's, with which it answered instead."""
        ...


class HttpRun(Incoming, Run):
    """Pushes the events that *reader* finds in the answer to *request* into *sink*, one batch for each read."""

    __slots__ = (
        "_client",
        "_is_begun",
        "_is_kept",
        "_is_over",
        "_is_paused",
        "_is_stream",
        "_lost",
        "_opening",
        "_over",
        "_parser",
        "_reader",
        "_request",
        "_sink",
    )  # fmt: skip

    def __init__(self, client: LocalClient, request: bytes, reader: Reader, sink: Sink, *, is_stream: bool) -> None:
        super().__init__()
        self._client = client
        self._request = request
        self._reader = reader
        self._sink = sink
        self._is_stream = is_stream
        self._parser = SSEParser() if is_stream else _NO_PARSER
        self._is_begun = False  # the reader has begun
        self._is_over = False
        self._is_paused = False
        self._opening: asyncio.Task[None] | None = None
        self._lost: asyncio.Future[None] | None = None
        self._over: asyncio.Future[None] | None = None
        connection = client.kept()
        self._is_kept = connection is not None
        if connection is not None:
            connection.begin(request, self)
        else:
            self._open(was_dropped=False)

    # ---- Run ----

    def pause(self) -> None:
        """See `Run.pause`."""
        self._is_paused = True
        if self.connection is not None and not self._is_over:
            self.connection.pause_reading()

    def resume(self) -> None:
        """See `Run.resume`."""
        self._is_paused = False
        if self.connection is not None:
            self.connection.resume_reading()

    def cancel(self) -> None:
        """See `Run.cancel`; the connection is dropped at once, which ends the engine's work."""
        if self._is_over:
            return
        self._set_over()
        if self._opening is not None:
            self._opening.cancel()
        self._drop()

    async def wait_released(self) -> None:
        """See `Run.wait_released`."""
        if not self._is_over:
            if self._over is None:
                self._over = asyncio.get_running_loop().create_future()
            await asyncio.shield(self._over)
        if self._opening is not None:
            await asyncio.wait([self._opening])
        if self._lost is not None:
            await asyncio.shield(self._lost)

    # ---- Incoming ----

    def advance(self) -> None:
        """See `Incoming.advance`."""
        if self._is_over:
            self.chunks.clear()
        elif self._is_stream and self.status == 200:
            self._take(is_last=False)
        elif self.buffered_bytes > self._client.max_body_bytes:
            self._end(too_long(self._client.max_body_bytes))

    def complete(self) -> None:
        """See `Incoming.complete`."""
        self.connection = None
        self.is_complete = True
        if not self._is_over:
            self._take(is_last=True)

    def fail(self, error: EngineError) -> None:
        """See `Incoming.fail`; a kept connection that the engine closed while it was idle is replaced."""
        self.connection = None
        if self._is_over:
            return
        if self._is_kept and not self.has_answer and isinstance(error, EngineDied):
            self._is_kept = False
            self._open(was_dropped=True)
        else:
            self._end(error)

    # ---- inside ----

    def _open(self, *, was_dropped: bool) -> None:
        self._opening = asyncio.get_running_loop().create_task(self._open_and_send(was_dropped=was_dropped))

    async def _open_and_send(self, *, was_dropped: bool) -> None:
        try:
            connection = await self._client.connect(was_dropped=was_dropped)
        except Exception as error:  # noqa: BLE001  # whatever goes wrong is for the sink to judge
            self._end(error)
            return
        connection.begin(self._request, self)
        if self._is_paused:
            connection.pause_reading()

    def _take(self, *, is_last: bool) -> None:
        """Push what has come; *is_last*: the answer is whole."""
        events: list[AnyEvent] = []
        error: Exception | None = None
        try:
            is_end = self._read(events, is_last=is_last)
        except Exception as failure:  # noqa: BLE001  # a fault of a reader must not cost the connection's callbacks
            error = failure
            is_end = True
        if events:
            self._sink.events(events)
        if is_end and not self._is_over:  # the sink may have cancelled
            self._end(error)

    def _read(self, events: list[AnyEvent], *, is_last: bool) -> bool:
        """Add what the bytes that have come tell to *events*; returns whether nothing follows."""
        data = self.take_chunks()
        reader = self._reader
        if self.status != 200:
            raise reader.refusal(self.status, data)
        if not self._is_begun:
            self._is_begun = True
            if self._client.on_head is not None:
                self._client.on_head(self.raw_headers)
            reader.begin(events, self.raw_headers)
        if not self._is_stream:
            if len(data) > self._client.max_body_bytes:
                raise too_long(self._client.max_body_bytes)
            reader.take(data, events)
            reader.finish(events)
            return True
        parser = self._parser
        for payload in parser.feed(data):
            if payload == b"[DONE]":
                reader.finish(events)
                return True
            reader.take(payload, events)
        if not is_last:
            return False
        if not parser.closed_cleanly:
            raise EngineProtocolError("The engine's stream ended in the middle of an event.")
        reader.finish(events)
        return True

    def _end(self, error: Exception | None) -> None:
        self._set_over()
        connection = self.connection
        if connection is not None:  # the answer goes on
            if error is None:
                connection.resume_reading()
                connection.loop.call_later(_END_TIMEOUT_S, self._drop)
            else:
                self._drop()
        self._sink.end(error)

    def _set_over(self) -> None:
        self._is_over = True
        if self._over is not None:
            self._over.set_result(None)

    def _drop(self) -> None:
        connection = self.connection
        if connection is not None:
            self.connection = None
            self._lost = connection.lost
            connection.abort()
