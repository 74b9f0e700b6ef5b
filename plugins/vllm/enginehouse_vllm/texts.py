"""Models that generate nothing: texts become vectors, or scores against a query."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from enginehouse_kit.process.child import Child
from enginehouse_kit.process.texts import TextInstance
from enginehouse_kit.text.inputs import fitting, prepared
from enginehouse_kit.text.tokens import TellsTokens
from enginehouse_plugin import (
    Capabilities,
    EmbeddingRequest,
    Embeddings,
    EngineLoad,
    RerankRequest,
    Scores,
)

from .server import Server
from .vocabulary import Vocabulary

_AT_ONCE = 32
"""Texts in one call of the engine: others wait no longer than for these."""


class VllmTexts(TellsTokens, TextInstance):
    """What both have in common."""

    engine = "vLLM"
    stop_grace_s = 10.0

    def __init__(self, child: Child, server: Server, capabilities: Capabilities, vocabulary: Vocabulary) -> None:
        super().__init__(child, server, capabilities)
        self._server = server
        self._vocabulary = vocabulary

    async def measure(self) -> EngineLoad:
        """See `Measured.measure`."""
        load = await self._server.load()
        return EngineLoad(running=load.running, waiting=load.waiting, cache_used=load.cache_used)

    async def tokenize(self, text: str) -> Sequence[int]:
        """See `Inspectable.tokenize`."""
        return await self.tokens_of(text, add_special=False)

    async def active_requests(self) -> int:
        """See `Inspectable.active_requests`."""
        load = await self._server.load()
        return load.running + load.waiting

    async def tokens_of(self, text: str, add_special: bool = True) -> list[int]:
        """See `TextInstance.tokens_of`."""
        return await self._server.tokenize(text, add_special=add_special)

    async def pieces_of(self, token_ids: Sequence[int]) -> Sequence[bytes]:
        """See `TellsTokens.pieces_of`."""
        return await asyncio.to_thread(lambda: [self._vocabulary.piece(token_id) for token_id in token_ids])


class EmbeddingInstance(VllmTexts):
    """A model that makes vectors."""

    async def embed(self, request: EmbeddingRequest) -> Embeddings:
        """See `Embeds.embed`."""
        limit = self.limit(request.truncate_tokens)
        vectors: list[bytes] = []
        prompt_tokens = 0
        async with self.working():
            inputs = await prepared(request, limit, self.tokens_of)
            if not all(isinstance(one, str) for one in inputs):  # a call holds one kind
                inputs = [await self.tokens_of(one) if isinstance(one, str) else one for one in inputs]
            for first in range(0, len(inputs), _AT_ONCE):
                part = inputs[first : first + _AT_ONCE]
                reply = await self._server.embed(part)
                made = {one.index: one.embedding for one in reply.data}
                vectors += self.vectors_of(made, len(part))
                prompt_tokens += reply.usage.total_tokens
        return Embeddings(vectors=tuple(vectors), prompt_tokens=prompt_tokens)


class RerankInstance(VllmTexts):
    """A model that scores; *frame_tokens* are its own beside query and document."""

    def __init__(
        self, child: Child, server: Server, capabilities: Capabilities, vocabulary: Vocabulary, *, frame_tokens: int
    ) -> None:
        super().__init__(child, server, capabilities, vocabulary)
        self._frame_tokens = frame_tokens

    async def rerank(self, request: RerankRequest) -> Scores:
        """See `Reranks.rerank`. Documents are cut here: the engine would cut without a word, and the query too."""
        limit = self.limit(request.truncate_tokens)
        scores: list[float] = []
        prompt_tokens = 0
        async with self.working():
            documents = await fitting(request, limit, self._frame_tokens, self.tokens_of, self._server.detokenize)
            for first in range(0, len(documents), _AT_ONCE):
                part = documents[first : first + _AT_ONCE]
                reply = await self._server.rerank(request.query, part)
                found = {one.index: one.relevance_score for one in reply.results}
                scores += self.scores_of(found, len(part))
                prompt_tokens += reply.usage.total_tokens
        return Scores(scores=tuple(scores), prompt_tokens=prompt_tokens)


async def rerank_instance(
    child: Child, server: Server, capabilities: Capabilities, vocabulary: Vocabulary
) -> RerankInstance:
    """The instance for the reranker that *server* has loaded, whose own tokens are counted with a request."""
    probe = await server.rerank("a", ["a"])
    own = 2 * len(await server.tokenize("a"))
    frame_tokens = max(probe.usage.total_tokens - own, 0)
    return RerankInstance(child, server, capabilities, vocabulary, frame_tokens=frame_tokens)
