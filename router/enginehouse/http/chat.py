"""`POST /v1/chat/completions`: the way of a request through HTTP, wire and service.

A raw ASGI route: Litestar's typed handlers would cost more than all the rest of this path together. So method,
media type and body limit are checked here, and `openapi` documents the route.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from urllib.parse import quote

from litestar.types import HTTPScope, Receive, Send

from enginehouse.accounts import Facts, KeyRing
from enginehouse.config import Config
from enginehouse.dialects.endpoint import Call, Encoder, ErrorReply, Header
from enginehouse.dialects.openai import errors
from enginehouse.dialects.openai.chat.endpoint import ChatEndpoint
from enginehouse.dialects.refusals import MethodNotAllowed, UnsupportedEncoding, UnsupportedMediaType
from enginehouse.service import Service
from enginehouse.telemetry import get_logger
from enginehouse_plugin import AnyEvent, GenerationRequest, Profile, Run, Sink, pulled
from enginehouse_plugin.errors import EnginehouseError

from .client import Client, ClientLeft, Refused
from .stream import EventStream

PATH = ChatEndpoint.path
UNKNOWN_FIELDS_HEADER = b"x-enginehouse-unknown-fields"
"""Names what the request held and nobody read, where the configuration says `unknown_fields = "report"`."""

_CLOSE = (b"connection", b"close")

log = get_logger()


class ChatRoute:
    """Answers chat requests from *service*."""

    def __init__(self, config: Config, service: Service, keys: KeyRing) -> None:
        self._server = config.server
        self._endpoint = ChatEndpoint(
            Profile(name="openai"),
            defaults={name: model.defaults for name, model in config.models.items()},
            unknown_fields=config.server.unknown_fields,
        )
        self._is_wrapped = bool(config.server.cors_origins)
        self._service = service
        self._keys = keys

    async def answer(self, scope: HTTPScope, receive: Receive, send: Send) -> None:
        """Answer one request, and account for it however it ends."""
        client = Client(scope, receive, send, is_wrapped=self._is_wrapped)
        facts = self._service.begin(scope["enginehouse.request_id"])  # type: ignore[typeddict-item]  # by `envelope`
        status = errors.CLIENT_LEFT
        try:
            status = await self._respond(scope, client, facts)
        except ClientLeft:
            facts.is_cancelled = True
        except Refused as refused:
            facts.fail(refused.error)
            is_read = await client.discard_body()
            status = await _refuse(client, errors.describe(refused.error), *(() if is_read else (_CLOSE,)))
        except Exception as error:
            facts.fail(error)
            status = await _refuse(client, errors.describe(error))
            if not isinstance(error, EnginehouseError):
                log.exception("request failed", id=facts.request_id)
        except asyncio.CancelledError:
            facts.is_cancelled = True
            raise
        finally:
            self._service.finish(facts, status)

    async def _respond(self, scope: HTTPScope, client: Client, facts: Facts) -> int:
        media_type = authorization = length = encoding = None
        for name, value in scope["headers"]:
            if name == b"content-type":
                media_type = value
            elif name == b"authorization":
                authorization = value
            elif name == b"content-length":
                length = value
            elif name == b"content-encoding":
                encoding = value
        if scope["method"] != "POST":
            raise Refused(MethodNotAllowed(scope["method"], ["POST"]))
        try:
            facts.key = self._keys.check(authorization.decode("latin-1") if authorization else None)
        except EnginehouseError as error:
            raise Refused(error) from None
        if media_type is None or media_type.partition(b";")[0].strip().lower() != b"application/json":
            raise Refused(UnsupportedMediaType(media_type.decode("latin-1") if media_type else None))
        if encoding is not None and encoding.lower() != b"identity":
            raise Refused(UnsupportedEncoding(encoding.decode("latin-1")))
        body = await client.read_body(self._server.max_body_bytes, length)
        call = self._endpoint.decode(body, facts.request_id)
        facts.model = call.model
        facts.recorded = call.recorded
        headers = _unknown_fields_header(call.ignored) if call.ignored else ()
        async with client:
            await self._generate(call, client, facts, _client_name(scope, facts), headers)
        return errors.OK

    async def _generate(
        self,
        call: Call,
        client: Client,
        facts: Facts,
        client_name: str,
        headers: tuple[Header, ...],
    ) -> None:
        def start(request: GenerationRequest, sink: Sink) -> Run:
            return self._service.open(request, call.model, client=client_name, facts=facts, sink=sink)

        events = pulled(start, call.request)
        encoder = call.encoder
        if encoder.is_stream:
            await self._stream(encoder, client, events, facts, headers)
            return
        async with contextlib.aclosing(events):
            async for event in events:
                encoder.events((event,))
        await client.answer(encoder.end(), headers)

    async def _stream(
        self,
        encoder: Encoder,
        client: Client,
        events: AsyncGenerator[AnyEvent, None],
        facts: Facts,
        headers: tuple[Header, ...],
    ) -> None:
        stream = EventStream(
            client,
            encoder,
            keep_alive_s=self._server.keep_alive_s,
            write_timeout_s=self._server.idle_timeout_s,
            headers=headers,
        )
        try:
            async with contextlib.aclosing(events):
                await stream.relay(events)
        except Exception as error:  # the outermost handler of a stream that has begun
            if not client.is_begun:
                raise
            facts.fail(error)
            if not isinstance(error, EnginehouseError):
                log.exception("stream failed", id=facts.request_id)
            await stream.fail(error)
        finally:
            stream.close()


async def _refuse(client: Client, reply: ErrorReply, *headers: Header) -> int:
    await client.reply(
        reply.status, reply.body, (*reply.headers, (b"content-length", b"%d" % len(reply.body)), *headers)
    )
    return reply.status


def _client_name(scope: HTTPScope, facts: Facts) -> str:
    """Who takes turns in a queue: a key's holder, or an address where keys are not asked for."""
    address = scope.get("client")
    return f"{facts.key}@{address[0]}" if address else str(facts.key)


def _unknown_fields_header(names: tuple[str, ...]) -> tuple[Header, ...]:
    shown = ", ".join(quote(name[:64], safe="") for name in names[:32])
    return ((UNKNOWN_FIELDS_HEADER, shown.encode()),)
