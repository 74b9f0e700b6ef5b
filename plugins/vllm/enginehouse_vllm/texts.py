"""Models that generate nothing: texts become vectors, or scores against a query."""

from __future__ import annotations

from collections.abc import Sequence

from enginehouse_kit.process.child import Child
from enginehouse_kit.process.instance import Begin, ProcessInstance
from enginehouse_kit.text.inputs import prepared
from enginehouse_plugin import (
    Capabilities,
    EmbeddingRequest,
    Embeddings,
    EngineLoad,
    GenerationRequest,
    RerankRequest,
    Scores,
    Text,
    Tokens,
)
from enginehouse_plugin.errors import EngineProtocolError, UnsupportedFeature

from .server import Server

_AT_ONCE = 32
"""Texts in one call of the engine: others wait no longer than for these."""


class TextInstance(ProcessInstance):
    """What both have in common."""

    engine = "vLLM"
    stop_grace_s = 10.0

    def __init__(self, child: Child, server: Server, capabilities: Capabilities) -> None:
        super().__init__(child, server)
        self.capabilities = capabilities
        self._server = server

    async def prepare(self, request: GenerationRequest) -> Begin:  # noqa: ARG002  # none is served
        """See `ProcessInstance.prepare`."""
        (task,) = self.capabilities.tasks
        told = f"This model has the task '{task}' and cannot generate."
        raise UnsupportedFeature("chat", param="model", message=told)

    async def check(self, request: GenerationRequest) -> None:
        """See `Instance.check`: nothing is generated, so that no default can be wrong."""

    async def count_tokens(self, request: GenerationRequest) -> int:
        """See `Instance.count_tokens`."""
        prompt = request.prompt
        if isinstance(prompt, Tokens):
            return len(prompt.token_ids)
        return len(await self._tokens(prompt.text if isinstance(prompt, Text) else "", True))

    async def measure(self) -> EngineLoad:
        """See `Measured.measure`."""
        load = await self._server.load()
        return EngineLoad(running=load.running, waiting=load.waiting, cache_used=load.cache_used)

    async def tokenize(self, text: str) -> Sequence[int]:
        """See `Inspectable.tokenize`."""
        return await self._tokens(text, False)

    async def active_requests(self) -> int:
        """See `Inspectable.active_requests`."""
        load = await self._server.load()
        return load.running + load.waiting

    async def _tokens(self, text: str, add_special: bool) -> list[int]:
        return await self._server.tokenize(text, add_special=add_special)


class EmbeddingInstance(TextInstance):
    """A model that makes vectors."""

    async def embed(self, request: EmbeddingRequest) -> Embeddings:
        """See `Embeds.embed`."""
        most = self.capabilities.context_tokens
        limit = most if request.truncate_tokens is None else min(request.truncate_tokens, most)
        vectors: list[bytes] = []
        prompt_tokens = 0
        async with self.working():
            inputs = await prepared(request, limit, self._tokens)
            if not all(isinstance(one, str) for one in inputs):  # a call holds one kind
                inputs = [await self._tokens(one, True) if isinstance(one, str) else one for one in inputs]
            for first in range(0, len(inputs), _AT_ONCE):
                part = inputs[first : first + _AT_ONCE]
                reply = await self._server.embed(part)
                made = {one.index: one.embedding for one in reply.data}
                if made.keys() != set(range(len(part))):
                    raise EngineProtocolError(f"vLLM made {len(made)} vectors of {len(part)} texts.")
                vectors += (made[at] for at in range(len(part)))
                prompt_tokens += reply.usage.total_tokens
        return Embeddings(vectors=tuple(vectors), prompt_tokens=prompt_tokens)


class RerankInstance(TextInstance):
    """A model that scores."""

    async def rerank(self, request: RerankRequest) -> Scores:
        """See `Reranks.rerank`."""
        most = self.capabilities.context_tokens
        limit = None if request.truncate_tokens is None else min(request.truncate_tokens, most)
        scores: list[float] = []
        prompt_tokens = 0
        async with self.working():
            for first in range(0, len(request.documents), _AT_ONCE):
                part = request.documents[first : first + _AT_ONCE]
                reply = await self._server.rerank(request.query, part, limit)
                found = {one.index: one.relevance_score for one in reply.results}
                if found.keys() != set(range(len(part))):
                    raise EngineProtocolError(f"vLLM scored {len(found)} of {len(part)} documents.")
                scores += (found[at] for at in range(len(part)))
                prompt_tokens += reply.usage.total_tokens
        return Scores(scores=tuple(scores), prompt_tokens=prompt_tokens)
