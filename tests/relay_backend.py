"""A plugin for siege and bench: a backend that relays to an upstream on loopback through the kit, as real ones do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from typing import TypeVar

import msgspec

from enginehouse_kit.http.client import LocalClient
from enginehouse_kit.http.openai import OpenAIDialect
from enginehouse_plugin import (
    AnyEvent,
    Backend,
    BackendType,
    Capabilities,
    Chat,
    Device,
    EmbeddingRequest,
    Embeddings,
    ExitReport,
    GenerationRequest,
    Instance,
    OnProgress,
    Placement,
    ProbeReport,
    RerankRequest,
    Run,
    Scores,
    Sink,
    Task,
    Text,
    Tokenized,
    TokenizeRequest,
    UserMessage,
    hookimpl,
    pulled,
)

enginehouse_api = "2.0"
_MOST_IDLE = 512
_JSON = (("content-type", "application/json"),)
_Answer = TypeVar("_Answer")


class _Used(msgspec.Struct, frozen=True):
    prompt_tokens: int


class _Vector(msgspec.Struct, frozen=True):
    embedding: bytes  # in base64


class _Vectors(msgspec.Struct, frozen=True):
    data: tuple[_Vector, ...]
    usage: _Used


class _Score(msgspec.Struct, frozen=True):
    index: int
    relevance_score: float


class _Scored(msgspec.Struct, frozen=True):
    results: tuple[_Score, ...]
    usage: _Used


class _Tokens(msgspec.Struct, frozen=True):
    tokens: tuple[int, ...]


class _Content(msgspec.Struct, frozen=True):
    content: str


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where the upstream listens on loopback, how many requests it takes at a time, and what they may ask for."""

    port: int
    slots: int = 256
    tasks: tuple[Task, ...] = ("chat",)


class RelayInstance(Instance):
    def __init__(self, options: Options) -> None:
        self.capabilities = Capabilities(
            context_tokens=1 << 20,
            max_concurrent_requests=options.slots,
            features=frozenset({"streaming"}),
            tasks=frozenset(options.tasks),
        )
        self._client = LocalClient(("127.0.0.1", options.port), max_idle=min(options.slots, _MOST_IDLE))
        self._dialect = OpenAIDialect()
        self._closed = asyncio.Event()

    def generate(self, request: GenerationRequest) -> AsyncGenerator[AnyEvent, None]:
        return pulled(self.start, request)

    def start(self, request: GenerationRequest, sink: Sink) -> Run:
        self.refuse_unsupported(request)
        if isinstance(request.prompt, Text):  # which an upstream that has chat alone is asked as what a user says
            request = msgspec.structs.replace(request, prompt=Chat((UserMessage(request.prompt.text),)))
        return self._dialect.start(self._client, request, "relay", sink)

    async def count_tokens(self, request: GenerationRequest) -> int:
        return 1

    async def check_ready(self) -> None:
        await self._client.request("GET", "/v1/models")

    async def unload(self) -> None:
        await self._client.close()
        self._closed.set()

    async def wait_closed(self) -> ExitReport:
        await self._closed.wait()
        return ExitReport(is_expected=True, reason="unloaded")


class RelayTexts(RelayInstance):
    """What has vectors, scores and tokens, too, as servers have them."""

    async def embed(self, request: EmbeddingRequest) -> Embeddings:
        inputs = [part.text if isinstance(part, Text) else part.token_ids for part in request.inputs]
        found = await self._ask("/v1/embeddings", {"input": inputs, "encoding_format": "base64"}, _Vectors)
        return Embeddings(vectors=tuple(one.embedding for one in found.data), prompt_tokens=found.usage.prompt_tokens)

    async def rerank(self, request: RerankRequest) -> Scores:
        body = {"query": request.query, "documents": request.documents}
        found = await self._ask("/v1/rerank", body, _Scored)
        scores = {one.index: one.relevance_score for one in found.results}
        return Scores(
            scores=tuple(scores[at] for at in range(len(request.documents))), prompt_tokens=found.usage.prompt_tokens
        )

    async def tokenize_prompt(self, wanted: TokenizeRequest) -> Tokenized:
        found = await self._ask("/tokenize", {"content": str(wanted.request.prompt)}, _Tokens)
        return Tokenized(token_ids=found.tokens)

    async def detokenize(self, token_ids: Sequence[int]) -> str:
        return (await self._ask("/detokenize", {"tokens": token_ids}, _Content)).content

    async def _ask(self, path: str, body: dict[str, object], kind: type[_Answer]) -> _Answer:
        reply = await self._client.request("POST", path, msgspec.json.encode(body), _JSON)
        return msgspec.json.decode(reply.body, type=kind)


class RelayBackend(Backend):
    async def probe(self, python: str | None = None) -> ProbeReport:
        return ProbeReport(available=True, engine="relay")

    async def load(self, placement: Placement, devices: tuple[Device, ...], progress: OnProgress) -> Instance:
        options = placement.options
        instance = RelayInstance(options) if options.tasks == ("chat",) else RelayTexts(options)
        await instance.check_ready()
        return instance


@hookimpl
def enginehouse_backends() -> list[BackendType]:
    return [BackendType(name="relay", version="0", create=RelayBackend, options=Options, kinds=(), needs_weights=False)]
