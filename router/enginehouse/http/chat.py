"""`POST /v1/chat/completions`: the way of a request through HTTP, wire and service.

A raw ASGI route: Litestar's typed handlers would cost more than all the rest of this path together. So method,
media type and body limit are checked here, and `openapi` documents the route.
"""

from __future__ import annotations

import asyncio
import time
from urllib.parse import quote

from litestar.types import HTTPScope, Receive, Send

from enginehouse.accounts import Facts, KeyRing
from enginehouse.config import Config
from enginehouse.dialects.openai import errors
from enginehouse.dialects.openai.chat.decode import decode_chat
from enginehouse.dialects.openai.chat.encode import AnswerHead, ChatBody, ChatStream, new_completion_id
from enginehouse.dialects.openai.chat.generation import generation_request
from enginehouse.dialects.openai.chat.recorded import recorded
from enginehouse.dialects.openai.chat.request import ChatRequest
from enginehouse.service import Generation, Service
from enginehouse.telemetry import get_logger
from enginehouse_plugin import GenerationRequest, Profile
from enginehouse_plugin.errors import EnginehouseError

from .client import Client, ClientLeft, Header, Refused
from .stream import EventStream

PATH = "/v1/chat/completions"
UNKNOWN_FIELDS_HEADER = b"x-enginehouse-unknown-fields"
"""Names what the request held and nobody read, where the configuration says `unknown_fields = "report"`."""

_CLOSE = (b"connection", b"close")
_PROFILE = Profile(name="openai")

log = get_logger()


class ChatRoute:
    """Answers chat requests from *service*."""

    def __init__(self, config: Config, service: Service, keys: KeyRing) -> None:
        self._server = config.server
        self._models = config.models
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
            facts.error_code = refused.reply.code
            is_read = await client.discard_body()
            status = await _refuse(client, refused.reply, *(() if is_read else (_CLOSE,)))
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
            raise Refused(errors.method_not_allowed(scope["method"], ["POST"]))
        try:
            facts.key = self._keys.check(authorization.decode("latin-1") if authorization else None)
        except EnginehouseError as error:
            facts.fail(error)
            raise Refused(errors.describe(error)) from None
        if media_type is None or media_type.partition(b";")[0].strip().lower() != b"application/json":
            raise Refused(errors.unsupported_media_type(media_type.decode("latin-1") if media_type else None))
        if encoding is not None and encoding.lower() != b"identity":
            raise Refused(errors.unsupported_encoding(encoding.decode("latin-1")))
        body = await client.read_body(self._server.max_body_bytes, length)
        chat, unknown = decode_chat(body, unknown_fields=self._server.unknown_fields)
        facts.model = chat.model
        facts.recorded = recorded(chat)
        model = self._models.get(chat.model)
        request = generation_request(
            chat, request_id=facts.request_id, profile=_PROFILE, defaults=model.defaults if model else None
        )
        headers = _unknown_fields_header(unknown) if unknown else ()
        async with client:
            await self._generate(chat, request, client, facts, _client_name(scope, facts), headers)
        return errors.OK

    async def _generate(
        self,
        chat: ChatRequest,
        request: GenerationRequest,
        client: Client,
        facts: Facts,
        client_name: str,
        headers: tuple[Header, ...],
    ) -> None:
        head = AnswerHead(
            id=new_completion_id(),
            created=int(time.time()),
            model=chat.model,
            service_tier="default" if chat.service_tier else None,
        )
        generation = self._service.open(request, chat.model, client=client_name, facts=facts)
        if request.stream:
            options = chat.stream_options
            chunks = ChatStream(
                head,
                n=request.n,
                logprobs=request.logprobs,
                usage=bool(options and options.include_usage),
                obfuscation=bool(options and options.include_obfuscation),
            )
            await self._stream(chunks, client, generation, facts, headers)
            return
        body = ChatBody(head, n=request.n, logprobs=request.logprobs)
        async with generation as events:
            async for event in events:
                body.add(event)
        await client.answer(body.encode(), headers)

    async def _stream(
        self,
        chunks: ChatStream,
        client: Client,
        generation: Generation,
        facts: Facts,
        headers: tuple[Header, ...],
    ) -> None:
        stream = EventStream(
            client,
            chunks,
            keep_alive_s=self._server.keep_alive_s,
            write_timeout_s=self._server.idle_timeout_s,
            headers=headers,
        )
        try:
            async with generation as events:
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


async def _refuse(client: Client, reply: errors.ErrorReply, *headers: Header) -> int:
    await client.reply(reply.status, reply.body, (*reply.headers, *headers))
    return reply.status


def _client_name(scope: HTTPScope, facts: Facts) -> str:
    """Who takes turns in a queue: a key's holder, or an address where keys are not asked for."""
    address = scope.get("client")
    return f"{facts.key}@{address[0]}" if address else str(facts.key)


def _unknown_fields_header(names: tuple[str, ...]) -> tuple[Header, ...]:
    shown = ", ".join(quote(name[:64], safe="") for name in names[:32])
    return ((UNKNOWN_FIELDS_HEADER, shown.encode()),)
