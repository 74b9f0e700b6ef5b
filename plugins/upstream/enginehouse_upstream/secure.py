"""Requests to an upstream by httpx2: TLS, proxies and private authorities. Imported where one needs these."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Sequence

import httpx2

from enginehouse_kit.http.client import Reply
from enginehouse_kit.http.run import Reader
from enginehouse_kit.http.sse import SSEParser
from enginehouse_plugin.errors import (
    EngineDied,
    EngineError,
    EngineOverloaded,
    EngineProtocolError,
    EngineUnavailable,
    LoadFailed,
)
from enginehouse_plugin.events import AnyEvent
from enginehouse_plugin.run import CoroutineRun, Run, Sink
from enginehouse_plugin.tracing import trace_headers

from .address import Address
from .client import MAX_BODY_BYTES, Headers
from .options import UpstreamOptions

_END_TIMEOUT_S = 1.0  # between `[DONE]` and the end of the answer, which lets the connection be kept
_KEPT_S = 4.0  # many servers close what has been idle for 5 s, and a request that meets that is lost


class SecureClient:
    """Requests by httpx2; *headers* go with every one, and those of the trace that it belongs to."""

    def __init__(self, address: Address, options: UpstreamOptions, headers: Headers) -> None:
        self.name = address.origin
        self.on_head: Callable[[Sequence[tuple[bytes, bytes]]], None] | None = None
        self._client = httpx2.AsyncClient(
            base_url=address.origin,
            headers=[*headers, ("content-type", "application/json"), ("accept-encoding", "identity")],
            verify=_authorities(options),
            proxy=None if options.proxy == "environment" else options.proxy,
            trust_env=options.proxy == "environment",
            timeout=httpx2.Timeout(None, connect=options.connect_timeout_s, pool=options.connect_timeout_s),
            # A few more than run, for questions beside them.
            limits=httpx2.Limits(
                max_connections=options.max_connections + 4,
                max_keepalive_connections=options.max_connections,
                keepalive_expiry=_KEPT_S,
            ),
        )

    def start(self, path: str, body: bytes, reader: Reader, sink: Sink, *, is_stream: bool) -> Run:
        """See `LocalClient.start`."""
        return _SecureRun(self, self.post(path, body), reader, sink, is_stream=is_stream)

    async def request(self, method: str, path: str, body: bytes = b"") -> Reply:
        """See `LocalClient.request`."""
        try:
            async with self._client.stream(method, path, content=body or None, headers=trace_headers.get()) as answer:
                data = await whole(answer)
        except (httpx2.HTTPError, RuntimeError) as problem:
            raise self.error_of(problem, has_begun=False) from problem
        return Reply(answer.status_code, answer.headers.raw, data)

    async def close(self) -> None:
        """Close every connection."""
        await self._client.aclose()

    def post(self, path: str, body: bytes) -> httpx2.Request:
        """A request that is not sent yet."""
        return self._client.build_request("POST", path, content=body, headers=trace_headers.get())

    async def send(self, request: httpx2.Request) -> httpx2.Response:
        """Send *request*; returns at the head of its answer."""
        return await self._client.send(request, stream=True)

    def error_of(self, problem: Exception, *, has_begun: bool) -> EngineError:
        """The contract's error for httpx2's."""
        shown = str(problem) or type(problem).__name__
        if isinstance(problem, httpx2.PoolTimeout):
            return EngineOverloaded(f"All connections to {self.name} are in use.")
        if isinstance(problem, (httpx2.RemoteProtocolError, httpx2.DecodingError)):
            # A connection that closes in mid-answer counts as one, too.
            died = EngineDied if "closed" in shown or "disconnected" in shown else EngineProtocolError
            return died(f"{self.name} broke off its answer: {shown}")
        if has_begun:
            return EngineDied(f"{self.name} closed the connection in the middle of its answer: {shown}")
        return EngineUnavailable(f"{self.name} does not answer: {shown}")


async def whole(answer: httpx2.Response) -> bytes:
    """The body of *answer*.

    Raises:
        EngineProtocolError: it is too long.
    """
    parts, size = [], 0
    async for part in answer.aiter_bytes():
        parts.append(part)
        size += len(part)
        if size > MAX_BODY_BYTES:
            raise EngineProtocolError(f"The server's answer is longer than {MAX_BODY_BYTES} bytes.")
    return b"".join(parts)


def _authorities(options: UpstreamOptions) -> ssl.SSLContext | bool:
    if options.ca is None:
        return True
    try:
        return ssl.create_default_context(cafile=options.ca)
    except (OSError, ssl.SSLError) as problem:
        told = f"The certificates in '{options.ca}' (option ca) cannot be read: {problem}"
        raise LoadFailed(told, retryable=False) from problem


class _SecureRun(CoroutineRun[httpx2.Request]):
    """Reads one answer, and pushes a batch for each read."""

    __slots__ = ("_client", "_is_over", "_is_stream", "_reader")

    def __init__(
        self, client: SecureClient, request: httpx2.Request, reader: Reader, sink: Sink, *, is_stream: bool
    ) -> None:
        self._client = client
        self._is_over = False
        self._is_stream = is_stream
        self._reader = reader
        super().__init__(request, sink)

    def cancel(self) -> None:
        """See `Run.cancel`; the connection is dropped, which ends the server's work."""
        if not self._is_over:
            super().cancel()

    async def work(self, source: httpx2.Request, sink: Sink) -> None:
        """See `CoroutineRun.work`."""
        try:
            await self._ask(source, sink)
        except (Exception, asyncio.CancelledError) as problem:  # noqa: BLE001  # the sink judges what goes wrong
            self._end(sink, problem)

    async def _ask(self, request: httpx2.Request, sink: Sink) -> None:
        has_begun = False
        try:
            answer = await self._client.send(request)
            has_begun = True
            if self._client.on_head is not None:
                self._client.on_head(answer.headers.raw)
            try:
                if answer.status_code != 200:
                    raise self._reader.refusal(answer.status_code, await whole(answer))
                await (self._stream(answer, sink) if self._is_stream else self._body(answer, sink))
            finally:
                await answer.aclose()
        except (httpx2.HTTPError, httpx2.StreamError, RuntimeError) as problem:
            raise self._client.error_of(problem, has_begun=has_begun) from problem

    async def _body(self, answer: httpx2.Response, sink: Sink) -> None:
        events: list[AnyEvent] = []
        data = await whole(answer)
        self._reader.begin(events, answer.headers.raw)
        self._reader.take(data, events)
        self._reader.finish(events)
        self._push(events, sink)
        self._end(sink)

    async def _stream(self, answer: httpx2.Response, sink: Sink) -> None:
        parser, reader = SSEParser(), self._reader
        events: list[AnyEvent] = []
        reader.begin(events, answer.headers.raw)
        parts = answer.aiter_bytes()
        async for data in parts:
            for payload in parser.feed(data):
                if payload == b"[DONE]":
                    reader.finish(events)
                    self._push(events, sink)
                    self._end(sink)
                    await _read_out(parts)
                    return
                reader.take(payload, events)
            if events:
                self._push(events, sink)
                events = []
            if self._resumed is not None:
                await self._resumed
        if not parser.closed_cleanly:
            raise EngineProtocolError("The server's stream ended in the middle of an event.")
        reader.finish(events)
        self._push(events, sink)
        self._end(sink)

    def _push(self, events: list[AnyEvent], sink: Sink) -> None:
        if events and not self._is_cancelled:
            sink.events(events)

    def _end(self, sink: Sink, problem: Exception | asyncio.CancelledError | None = None) -> None:
        if not self._is_over:  # behind `[DONE]` only the connection is at stake
            self._is_over = True
            super()._end(sink, problem)


async def _read_out(parts: AsyncIterator[bytes]) -> None:
    """Read what is left of an answer, so that its connection can be kept."""
    try:
        async with asyncio.timeout(_END_TIMEOUT_S):
            async for _ in parts:
                pass
    except (TimeoutError, httpx2.HTTPError):
        return
