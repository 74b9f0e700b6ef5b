"""The stub as an HTTP server: the chat route, the models routes, and hooks for the suite."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncGenerator

import msgspec

from enginehouse_conformance.rules import PROFILES
from enginehouse_conformance.targets.translate import to_request
from enginehouse_plugin import AnyEvent
from enginehouse_plugin.errors import EnginehouseError, RequestError

from . import http, vocabulary
from .behaviour import Behaviour
from .desk import Desk
from .dialects import DIALECTS, Dialect, Plain
from .encode import Encoder
from .engine import CONTEXT_TOKENS, GROWTH_S, STUB_FEATURES, Armed, ArmedFault, StubInstance
from .fields import Body
from .listener import Listener
from .wire_parts import Rejected

_ROOTS = ("/v1", "/api/v1")
_CHAT = "/chat/completions"
_OF_OLLAMA = ("/api/version", "/api/tags", "/api/show")


class StubServer:
    """Serves one stub model on a free port of the loopback interface. Use as an async context manager."""

    def __init__(
        self,
        behaviour: Behaviour | None = None,
        *,
        profile: str = "openai",
        key: str | None = None,
        features: frozenset[str] = STUB_FEATURES,
        slots: int = 4,
        growth_s: float = GROWTH_S,
        seed: int = 0,
    ) -> None:
        self.behaviour = behaviour or Behaviour()
        self.profile = PROFILES[profile]
        self.instance = StubInstance(self.behaviour, features=features, slots=slots, growth_s=growth_s, seed=seed)
        self._desk = Desk(self.behaviour, self.instance)
        self._key = key
        self._numbers = itertools.count(1)
        self._listener = Listener(self._serve)
        self.port = 0

    @property
    def url(self) -> str:
        """The base URL of the chat route."""
        return f"http://127.0.0.1:{self.port}/v1"

    @property
    def hooks_url(self) -> str:
        """The base URL of the hooks."""
        return f"http://127.0.0.1:{self.port}/hooks"

    async def __aenter__(self) -> StubServer:
        self.port = await self._listener.start()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._listener.close()

    async def stop_listening(self) -> None:
        """Take no further connection; those that are open go on."""
        await self._listener.stop_listening()

    # ---- connections ----

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            request = await http.read_request(reader, self.behaviour.max_body_bytes)
        except http.TooLarge:
            rejected = Rejected("The body is too large.", code="request_too_large", status=413)
            writer.write(self._rejected(rejected, is_of_chat=True))
            await writer.drain()
            return
        if request is None:
            return
        # A client that leaves ends the work for it, whatever that is waiting for.
        work = asyncio.create_task(self._answer(request, writer))
        gone = asyncio.create_task(reader.read(1))
        try:
            await asyncio.wait((work, gone), return_when=asyncio.FIRST_COMPLETED)
        finally:
            gone.cancel()
            if not work.done():
                work.cancel()
            await asyncio.gather(work, gone, return_exceptions=True)
        if not work.cancelled() and (fault := work.exception()) is not None:
            raise fault

    async def _answer(self, request: http.HttpRequest, writer: asyncio.StreamWriter) -> None:
        try:
            reply = await self._route(request, writer)
        except Rejected as exc:
            reply = self._rejected(exc, is_of_chat=request.path.endswith(_CHAT))
        except EnginehouseError as exc:
            reply = self._failed(exc)
        if reply is not None:
            writer.write(reply)
        await writer.drain()

    async def _route(self, request: http.HttpRequest, writer: asyncio.StreamWriter) -> bytes | None:
        if request.path.startswith("/hooks/"):
            return http.whole(200, msgspec.json.encode(await self._hook(request)))
        root = next((root for root in _ROOTS if request.path.startswith(root)), None)
        if (dialect := self._desk.dialect_at(request.path, root)) is not None:
            return await self._at_desk(dialect, request)
        if request.path in _OF_OLLAMA:
            return await self._at_desk(DIALECTS["ollama"], request)
        if root is None:
            raise Rejected("There is nothing here.", code="not_found", status=404)
        path = request.path.removeprefix(root)
        self.behaviour.check_key(request.headers.get("authorization"), self._key)
        if path == _CHAT:
            if request.method != "POST":
                raise Rejected("The method is not allowed.", code="method_not_allowed", status=405)
            return await self._chat(request, writer)
        if path == "/models":
            return http.whole(200, msgspec.json.encode(self.behaviour.models()))
        if path == f"/models/{self.behaviour.model}":
            return http.whole(200, msgspec.json.encode(self.behaviour.model_card()))
        raise Rejected("There is nothing here.", code="not_found", status=404)

    async def _at_desk(self, dialect: Dialect | Plain, request: http.HttpRequest) -> bytes:
        below = request.path.partition(dialect.path)[2].removeprefix("/")
        try:
            key = self.behaviour.dialect_key(dialect.name, request.headers)
            self.behaviour.check_key(key, self._key)
            about = self._desk.about_models(request)
            return about if about is not None else await self._desk.answer(dialect, request, below)
        except Rejected as exc:
            status = exc.status
            headers: list[tuple[str, str]] = []
            error = {"message": exc.message, "type": "invalid_request_error", "param": exc.param, "code": exc.code}
        except EnginehouseError as exc:
            status, whole, headers = self._error(exc)
            error = whole["error"]
            place = dialect.places.get(error["param"], error["param"])
            error |= {"param": place, "message": error["message"].replace(str(error["param"]), str(place))}
        told = self.behaviour.dialect_error(dialect.name, dialect.error({"error": error}, status))
        return http.whole(status, msgspec.json.encode(told), [("content-type", "application/json"), *headers])

    # ---- chat ----

    async def _chat(self, request: http.HttpRequest, writer: asyncio.StreamWriter) -> bytes | None:
        parts = self.behaviour
        parts.check_media_type(request.headers.get("content-type"))
        body = parts.decode(request.body)
        parts.check_query(request.query, self.profile)
        parts.check_fields(body, self.profile)
        prepared = parts.prepare(parts.within(body, self.profile))
        number = next(self._numbers)
        stream = bool(prepared.get("stream"))
        events = self.instance.generate(to_request(prepared, request_id=str(number), stream=stream))
        encoder = Encoder(
            parts, prepared, f"chatcmpl-{number}", usage_on_last=self.profile.stream_usage == "last_chunk"
        )
        try:
            if not stream:
                answer = encoder.answer([event async for event in events])
                return http.whole(200, msgspec.json.encode(answer))
            await self._stream(events, encoder, writer)
            return None
        finally:
            await events.aclose()

    async def _stream(
        self, events: AsyncGenerator[AnyEvent, None], encoder: Encoder, writer: asyncio.StreamWriter
    ) -> None:
        # What fails before the first event is still answered with its status.
        first = await anext(events)
        writer.write(http.head(200, [*self.behaviour.stream_headers(), ("transfer-encoding", "chunked")]))
        await self._send(encoder.chunks(first), writer)
        try:
            async for event in events:
                await self._send(encoder.chunks(event), writer)
        except EnginehouseError as exc:
            _, error, _ = self._error(exc)
            _send_raw(writer, self.behaviour.stream_error(error))
        else:
            _send_raw(writer, self.behaviour.stream_end())
        writer.write(http.chunk(b""))

    async def _send(self, chunks: list[Body], writer: asyncio.StreamWriter) -> None:
        for chunk in chunks:
            _send_raw(writer, self.behaviour.event(msgspec.json.encode(chunk)))
        await writer.drain()

    # ---- errors ----

    def _rejected(self, exc: Rejected, *, is_of_chat: bool) -> bytes:
        kind = "authentication_error" if exc.status == 401 else "invalid_request_error"
        error = {"error": {"message": exc.message, "type": kind, "param": exc.param, "code": exc.code}}
        status = self.behaviour.status_of(exc.status, self.profile) if is_of_chat else exc.status
        return self._encode_error(status, error, [])

    def _failed(self, exc: EnginehouseError) -> bytes:
        status, error, headers = self._error(exc)
        return self._encode_error(status, error, headers)

    def _error(self, exc: EnginehouseError) -> tuple[int, Body, list[tuple[str, str]]]:
        status = 400 if isinstance(exc, RequestError) else exc.status if isinstance(exc, ArmedFault) else 500
        kind = "invalid_request_error" if status < 500 else "server_error"
        error = {"error": {"message": exc.message, "type": kind, "param": exc.param, "code": exc.code}}
        retry = [("retry-after", f"{exc.retry_after_s:g}")] if exc.retry_after_s and status in (429, 503) else []
        return status, error, retry

    def _encode_error(self, status: int, error: Body, headers: list[tuple[str, str]]) -> bytes:
        message = f"{self.behaviour.words_of(status, self.profile)}{error['error']['message']}"
        error = {"error": {**error["error"], "message": message}}
        headers = [("content-type", "application/json"), *headers]
        status, error, headers = self.behaviour.error(status, error, headers)
        return http.whole(status, msgspec.json.encode(error), headers)

    # ---- hooks ----

    async def _hook(self, request: http.HttpRequest) -> Body:
        arguments = msgspec.json.decode(request.body or b"{}", type=dict[str, object])
        name = request.path.removeprefix("/hooks/")
        if name == "tokenize":
            return {"tokens": list(await self.instance.tokenize(str(arguments.get("text", ""))))}
        if name == "active_requests":
            return {"active": await self.instance.active_requests()}
        if name == "eos_ids":
            return {"tokens": [vocabulary.EOS, vocabulary.END_TURN]}
        if name == "context_size":
            return {"tokens": CONTEXT_TOKENS}
        if name == "fault":
            self.instance.armed.append(msgspec.convert(arguments, Armed))
            return {}
        raise Rejected(f"no hook {name!r}", code="not_found", status=404)


def _send_raw(writer: asyncio.StreamWriter, data: bytes) -> None:
    if data:
        writer.write(http.chunk(data))
