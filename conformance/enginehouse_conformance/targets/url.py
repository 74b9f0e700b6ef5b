"""A target at a URL: chat requests over HTTP, hooks where the declaration names them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from urllib.parse import urlencode, urlsplit

import msgspec

from enginehouse_conformance.answer import Answer, Delta
from enginehouse_conformance.declared import Declared
from enginehouse_conformance.reading import read_answer, read_chunk
from enginehouse_conformance.wire.client import Connection, Head, Header, Request
from enginehouse_conformance.wire.faults import BrokenAnswer, Unreachable
from enginehouse_conformance.wire.sse import SSEEvent, SSEParser
from enginehouse_conformance.wire.transcript import Exchange, Redactor
from enginehouse_plugin import FEATURES

from .base import (
    Body,
    Busy,
    LiveStream,
    Misdirected,
    Recording,
    Target,
    TargetFacts,
    TargetHooks,
    failure_of,
    now_s,
)
from .card import declared_at_models
from .http_hooks import HttpHooks
from .pace import Pace
from .replies import Reply, StreamTrace, decode_json, error_of, read_refusal

_TRIES = 4
_BACKOFF_S = (0.2, 0.5, 1.0)
_MAX_RETRY_AFTER_S = 10.0


class UrlTarget(Target):
    """Chat completions at *base_url* (the part before `/chat/completions`).

    Without *declared* it is what the target says at `/models`, and where it says nothing, everything is claimed.
    """

    scopes = frozenset({"wire", "generation"})

    def __init__(
        self,
        base_url: str,
        *,
        model: str,
        key: str | None = None,
        headers: Sequence[Header] = (),
        query: Mapping[str, str] | None = None,
        extra_body: Body | None = None,
        declared: Declared | None = None,
        timeout_s: float = 60.0,
        hardware: str | None = None,
    ) -> None:
        self.base_url = base_url.rstrip("/").removesuffix("/chat/completions")
        self.model = model
        self.key = key
        self.query = dict(query or {})
        self.extra_body = dict(extra_body or {})
        self.declared = declared or Declared()
        self._may_learn = declared is None
        self.timeout_s = timeout_s
        self.pace = Pace(timeout_s, self.declared.context_tokens)
        self.redactor = Redactor((key or "",))
        self._headers = tuple((name.lower(), value) for name, value in headers)
        self._server: str | None = None
        self._hardware = hardware

    @property
    def hooks(self) -> TargetHooks:
        """What the declaration names."""
        return HttpHooks(self.declared, self.timeout_s)

    # ---- requests as bytes ----

    def url(self, path: str, query: Mapping[str, str] | None = None, *, base: str | None = None) -> str:
        """The address of *path* under *base*, else the base URL; *query* in place of the target's own."""
        pairs = self.query if query is None else query
        return f"{base or self.base_url}{path}" + (f"?{urlencode(pairs)}" if pairs else "")

    def headers(self, *, with_key: bool = True) -> tuple[Header, ...]:
        """The headers of every request."""
        named = {name for name, _ in self._headers}
        added: list[Header] = []
        if "content-type" not in named:
            added.append(("content-type", "application/json"))
        if self.key and with_key and "authorization" not in named:
            added.append(("authorization", f"Bearer {self.key}"))
        return (*added, *self._headers)

    @property
    def host_url(self) -> str:
        """The base URL without its version: some APIs have their routes there."""
        return self.base_url.removesuffix("/v1")

    def encode(self, body: Body) -> bytes:
        """*body* with the model and the target's extra fields; fields of *body* win, and None drops `model`."""
        return msgspec.json.encode({"model": self.model, **self.extra_body, **body})

    def chat_request(self, body: Body) -> Request:
        """The POST that sends *body*."""
        return Request(method="POST", url=self.url("/chat/completions"), headers=self.headers(), body=self.encode(body))

    async def exchange(
        self, request: Request, recording: Recording, *, timeout_s: float | None = None, is_refusal: bool = False
    ) -> Reply:
        """Send *request* as it is and read the whole answer. No retries; raises WireFault.

        With *is_refusal* only the beginning of a success is read: it may go on for long, and nobody wants it.
        """
        record = self.record(request, recording)
        began = now_s()
        try:
            async with Connection(request, timeout_s=timeout_s or self._time_for(request, recording)) as connection:
                recording.connections += 1
                await connection.send()
                head = await connection.head()
                self.note_head(record, head)
                body = bytearray()
                try:
                    async for piece in connection.pieces(head):
                        body += piece
                        if is_refusal and head.status == 200:
                            break
                finally:
                    record.response_body = self.redactor.text(body.decode("utf-8", "replace"))
        except Exception as exc:
            record.fault = str(exc)
            raise
        finally:
            record.duration_s = now_s() - began
        return Reply(head=head, body=bytes(body))

    async def trace(self, request: Request, recording: Recording, *, pause_s: float = 0.0) -> StreamTrace:
        """Send *request* and keep its whole stream, faults included; *pause_s* after each read makes a slow reader."""
        record = self.record(request, recording)
        began = now_s()
        parser = SSEParser()
        received = bytearray()
        limit_s = self._time_for(request, recording)
        async with Connection(request, timeout_s=limit_s, read_buffer_bytes=2048 if pause_s else 2**16) as conn:
            await conn.send()
            head = await conn.head()
            self.note_head(record, head)
            trace = StreamTrace(head=head, problems=parser.problems, comments=parser.comments)
            try:
                async for piece in conn.pieces(head):
                    received += piece
                    trace.keep(parser.feed(piece), now_s() - began)
                    if pause_s:
                        await asyncio.sleep(pause_s)
                parser.finish()
            except BrokenAnswer as exc:
                trace.fault = record.fault = str(exc)
            finally:
                record.response_body = self.redactor.text(received.decode("utf-8", "replace"))
                record.duration_s = now_s() - began
        return trace

    def record(self, request: Request, recording: Recording) -> Exchange:
        """Keep *request* in *recording*, without secrets; its answer is added as it arrives."""
        body = request.body if request.chunks is None else b"".join(request.chunks)
        return recording.add(
            Exchange(
                method=request.method,
                url=self.redactor.text(request.url),
                request_headers=self.redactor.headers(request.headers),
                request_body=self.redactor.body(body),
            )
        )

    def _time_for(self, request: Request, recording: Recording) -> float:
        """Seconds to wait for *request*; where the target is that slow, its check may take as long."""
        limit_s = self.pace.time_for(request.body)
        if limit_s > self.timeout_s:
            recording.allow(limit_s)
        return limit_s

    def note_head(self, record: Exchange, head: Head) -> None:
        """Add the head of the answer to *record*."""
        record.status = head.status
        record.response_headers = self.redactor.headers(head.headers)
        self._server = head.get("server") or self._server

    # ---- the interface of a target ----

    async def preflight(self, recording: Recording) -> str | None:
        """Ask for one token."""
        request = self.chat_request({"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 1})
        try:
            reply = await self.exchange(request, recording)
        except BrokenAnswer as exc:
            return str(exc)  # something answers, wrongly: the rules will say how
        if reply.status in (401, 403):
            raise Misdirected(f"{request.url} answered {reply.status}: check the key ({reply.body[:200]!r})")
        if reply.status in (404, 405) or 300 <= reply.status < 400:
            meant = f"what comes before /chat/completions{self._hint()}"
            raise Misdirected(
                f"{request.url} answered {reply.status}: check the URL ({meant}) and the model ({reply.body[:200]!r})"
            )
        if reply.status in (429, 503):
            return None
        kind = reply.head.get("content-type") or "no content type"
        is_answer = reply.status == 200 and b'"choices"' in reply.body
        if is_answer:
            self.pace.note(request.body, 1, recording.exchanges[-1].duration_s)
        return None if is_answer else f"status {reply.status}, {kind}: {reply.body[:200]!r}"

    def _hint(self) -> str:
        return "" if self.base_url.endswith("/v1") else f", mostly with /v1: {self.base_url}/v1"

    async def learn(self) -> str | None:
        """Ask for the list of models."""
        told = await declared_at_models(self) if self._may_learn else None
        if told is None:
            return None
        self.declared = told
        self.pace.context_tokens = told.context_tokens
        absent = ", ".join(sorted(name for name in FEATURES if told.denies(name))) or "none"
        return f"features as the target declares them in {urlsplit(self.url('/models')).path} (absent: {absent})"

    async def ask(self, body: Body, recording: Recording) -> Answer:
        """Ask without streaming."""
        request = self.chat_request({**body, "stream": False} if "stream" in body else body)
        reply = await self.served(request, recording)
        answer = read_answer(reply.json())
        count = answer.usage.completion_tokens if answer.usage else None
        self.pace.note(request.body, count or 0, recording.exchanges[-1].duration_s)
        return answer

    async def served(self, request: Request, recording: Recording) -> Reply:
        """The answer to *request* with status 200; transport faults, 429 and 503 are retried, on record.

        Raises:
            Refused, ServerFailure, Busy, BrokenAnswer, TransportFault
        """
        reasons: list[str] = []
        while True:
            try:
                reply = await self.exchange(request, recording)
            except Unreachable as exc:
                await _pause_or_raise(reasons, exc, None)
                continue
            finally:
                recording.exchanges[-1].retries = reasons[-1:]
            if reply.status in (429, 503):
                await _pause_or_raise(reasons, Busy(f"{reply.status} after {_TRIES} tries"), reply.head)
                continue
            if reply.status != 200:
                raise error_of(reply.status, reply.body)
            return reply

    async def open_stream(self, body: Body, recording: Recording) -> LiveStream:
        """Begin a stream."""
        request = self.chat_request({**body, "stream": True})
        reasons: list[str] = []
        while True:
            stream = UrlStream(self, request, recording, self._time_for(request, recording))
            try:
                busy = await stream.begin()
            except Unreachable as exc:
                await _pause_or_raise(reasons, exc, None)
                continue
            finally:
                recording.exchanges[-1].retries = reasons[-1:]
            if busy is None:
                return stream
            await _pause_or_raise(reasons, Busy(f"{busy.status} after {_TRIES} tries"), busy)

    def facts(self) -> TargetFacts:
        """Kind, address and model."""
        return TargetFacts(
            kind="url",
            address=self.base_url,
            model=self.model,
            server=self._server,
            hardware=self._hardware,
            query={name: self.redactor.text(value) for name, value in self.query.items()},
        )


class UrlStream(LiveStream):
    """A stream over HTTP while it runs."""

    def __init__(self, target: UrlTarget, request: Request, recording: Recording, limit_s: float) -> None:
        self._target = target
        self._record = target.record(request, recording)
        self._connection = Connection(request, timeout_s=limit_s)
        self._head: Head | None = None
        self._began = now_s()

    async def begin(self) -> Head | None:
        """Send and read the head; returns the head where the target is busy, else raises what was refused."""
        try:
            await self._connection.__aenter__()
            await self._connection.send()
            head = await self._connection.head()
            self._target.note_head(self._record, head)
            if head.status == 200:
                self._head = head
                return None
            body = b"".join([piece async for piece in self._connection.pieces(head)])
            self._record.response_body = self._target.redactor.text(body.decode("utf-8", "replace"))
        except BaseException as exc:
            self._record.fault = str(exc)
            self._connection.drop()
            raise
        self._connection.drop()
        if head.status in (429, 503):
            return head
        raise error_of(head.status, body)

    async def __aiter__(self) -> AsyncIterator[Delta]:
        if self._head is None:
            raise RuntimeError("begin the stream first")
        parser = SSEParser()
        received = bytearray()
        try:
            async for piece in self._connection.pieces(self._head):
                received += piece
                for event in parser.feed(piece):
                    if event.data == "[DONE]":
                        return
                    for delta in self._deltas(event):
                        yield delta
        finally:
            self._record.response_body = self._target.redactor.text(received.decode("utf-8", "replace"))
            self._record.duration_s = now_s() - self._began
            self._connection.drop()
        raise BrokenAnswer("the stream ended without [DONE]")

    def _deltas(self, event: SSEEvent) -> list[Delta]:
        chunk = decode_json(event.data.encode(), "a data line of the stream")
        if isinstance(chunk, dict) and chunk.get("error") is not None:
            raise failure_of(read_refusal(None, chunk, event.data))
        return read_chunk(chunk, now_s() - self._began)

    async def drop(self) -> None:
        """Leave."""
        self._connection.drop()


async def _pause_or_raise(reasons: list[str], fault: Exception, head: Head | None) -> None:
    """Wait before the next try, or give up with *fault*; each try is kept in *reasons*."""
    if len(reasons) + 1 >= _TRIES:
        raise fault
    wait_s = _BACKOFF_S[len(reasons)]
    with contextlib.suppress(ValueError):
        wait_s = min(_MAX_RETRY_AFTER_S, max(wait_s, float((head and head.get("retry-after")) or 0)))
    reasons.append(str(fault) if head is None else f"status {head.status}")
    await asyncio.sleep(wait_s)
