"""A remote server that speaks the OpenAI wire, over an HTTP client with TLS and proxies."""

import asyncio
import os
from collections.abc import AsyncGenerator

import enginehouse_markov as markov
import httpx2
import msgspec

import enginehouse_plugin as eh
from enginehouse_kit.http.openai import OpenAIDialect
from enginehouse_kit.http.sse import SSEParser
from enginehouse_plugin.errors import EngineUnavailable, LoadFailed

DIALECT = OpenAIDialect()
encode = msgspec.json.Encoder().encode


class RemoteOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    model: str = "parrot"
    key_variable: str | None = None  # the environment variable that holds the server's key


class RemoteInstance(eh.Instance):
    def __init__(self, client: httpx2.AsyncClient, model: str, context_tokens: int) -> None:
        self._client = client
        self._model = model
        self._closed = asyncio.Event()
        features = frozenset({"streaming", "seed"})
        self.capabilities = eh.Capabilities(context_tokens=context_tokens, max_concurrent_requests=8, features=features)

    async def generate(self, request: eh.GenerationRequest) -> AsyncGenerator[eh.AnyEvent, None]:
        self.refuse_unsupported(request)
        body = encode(DIALECT.body_of(msgspec.structs.replace(request, stream=True), self._model))
        reader, parser, events = DIALECT.reader(request), SSEParser(), []
        try:
            async with self._client.stream("POST", DIALECT.path, content=body) as answer:
                if answer.status_code != 200:
                    raise reader.refusal(answer.status_code, await answer.aread())
                async for data in answer.aiter_raw():
                    for payload in parser.feed(data):
                        if payload != b"[DONE]":
                            reader.take(payload, events)
                    while events:
                        yield events.pop(0)
        except httpx2.TransportError as error:
            raise EngineUnavailable(f"{self._client.base_url} does not answer: {error!r}") from error
        reader.finish(events)
        for event in events:
            yield event

    async def count_tokens(self, request: eh.GenerationRequest) -> int:
        return len(markov.words_of(request))

    async def check_ready(self) -> None:
        try:
            answer = await self._client.get("/health")
        except httpx2.TransportError as error:
            raise EngineUnavailable(f"{self._client.base_url} does not answer: {error!r}") from error
        if answer.status_code != 200:
            raise EngineUnavailable(f"{self._client.base_url} answered {answer.status_code}.")

    async def unload(self) -> None:
        await self._client.aclose()
        self._closed.set()

    async def wait_closed(self) -> eh.ExitReport:
        await self._closed.wait()
        return eh.ExitReport(is_expected=True, reason="unloaded")


class RemoteBackend(eh.Backend):
    async def probe(self, python=None) -> eh.ProbeReport:
        return eh.ProbeReport(available=True, engine="markov")

    async def load(self, placement, devices, progress) -> RemoteInstance:
        options = placement.options
        headers = {"content-type": "application/json"}
        if options.key_variable is not None:
            headers["authorization"] = f"Bearer {os.environ[options.key_variable]}"
        client = httpx2.AsyncClient(base_url=placement.source, headers=headers, timeout=httpx2.Timeout(5.0, read=None))
        instance = RemoteInstance(client, options.model, placement.context_tokens or 512)
        try:
            await instance.check_ready()
        except EngineUnavailable as error:
            await instance.unload()
            raise LoadFailed(error.message) from error
        return instance
