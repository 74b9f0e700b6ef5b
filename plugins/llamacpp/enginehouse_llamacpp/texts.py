"""Models that generate nothing: texts become vectors, or scores against a query."""

from __future__ import annotations

import math
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
    Placement,
    RerankRequest,
    Scores,
)

from . import start
from .gguf import Gguf
from .options import LlamaCppOptions
from .server import Server

_AT_ONCE = 16
"""Texts in one call of the engine, which works on as many as it has slots: others wait no longer than for these."""

_TELL_SHARES = frozenset({"qwen3", "qwen3vl"})
"""Architectures of whose scores the engine makes shares of one (build 11549, `llm_graph_context::build_pooling`)."""


class LlamaCppTexts(TellsTokens, TextInstance):
    """What both have in common: tokens are counted and cut before the engine is asked."""

    engine = "llama.cpp"

    def __init__(
        self, child: Child, server: Server, capabilities: Capabilities, *, longest_token_bytes: int | None
    ) -> None:
        super().__init__(child, server, capabilities)
        self._server = server
        self.longest_token_bytes = longest_token_bytes

    async def measure(self) -> EngineLoad:
        """See `Measured.measure`."""
        return EngineLoad(running=await self.active_requests(), waiting=0)

    async def tokenize(self, text: str) -> Sequence[int]:
        """See `Inspectable.tokenize`."""
        return await self._server.tokenize(text, parse_special=False)

    async def active_requests(self) -> int:
        """See `Inspectable.active_requests`."""
        return sum(slot.is_processing for slot in await self._server.slots())

    async def tokens_of(self, text: str, add_special: bool = True) -> list[int]:
        """See `TextInstance.tokens_of`."""
        return await self._server.tokenize(text, parse_special=True, add_special=add_special)

    async def pieces_of(self, token_ids: Sequence[int]) -> Sequence[bytes]:
        """See `TellsTokens.pieces_of`."""
        return await self._server.pieces(token_ids)


class EmbeddingInstance(LlamaCppTexts):
    """A model that makes vectors."""

    async def embed(self, request: EmbeddingRequest) -> Embeddings:
        """See `Embeds.embed`."""
        limit = self.limit(request.truncate_tokens)
        vectors: list[bytes] = []
        prompt_tokens = 0
        async with self.working():
            inputs = await prepared(request, limit, self.tokens_of, self.longest_token_bytes)
            for first in range(0, len(inputs), _AT_ONCE):
                part = inputs[first : first + _AT_ONCE]
                reply = await self._server.embed(part)
                made = {one.index: one.embedding for one in reply.data}
                vectors += self.vectors_of(made, len(part))
                prompt_tokens += reply.usage.prompt_tokens
        return Embeddings(vectors=tuple(vectors), prompt_tokens=prompt_tokens)


class RerankInstance(LlamaCppTexts):
    """A model that scores; *frame_tokens* are its own beside query and document, and *is_logit* what it tells."""

    def __init__(
        self,
        child: Child,
        server: Server,
        capabilities: Capabilities,
        *,
        longest_token_bytes: int | None,
        frame_tokens: int,
        is_logit: bool,
    ) -> None:
        super().__init__(child, server, capabilities, longest_token_bytes=longest_token_bytes)
        self._frame_tokens = frame_tokens
        self._is_logit = is_logit

    async def rerank(self, request: RerankRequest) -> Scores:
        """See `Reranks.rerank`."""
        scores: list[float] = []
        prompt_tokens = 0
        async with self.working():
            limit = self.limit(request.truncate_tokens)
            documents = await fitting(
                request, limit, self._frame_tokens, self.tokens_of, self._server.detokenize, self.longest_token_bytes
            )
            for first in range(0, len(documents), _AT_ONCE):
                part = documents[first : first + _AT_ONCE]
                reply = await self._server.rerank(request.query, part)
                found = {one.index: one.relevance_score for one in reply.results}
                scores += map(self._score, self.scores_of(found, len(part)))
                prompt_tokens += reply.usage.prompt_tokens
        return Scores(scores=tuple(scores), prompt_tokens=prompt_tokens)

    def _score(self, told: float) -> float:
        if not self._is_logit:
            return told
        return 1.0 / (1.0 + math.exp(-told)) if told >= 0 else math.exp(told) / (1.0 + math.exp(told))


async def text_instance(
    child: Child, server: Server, model: Gguf, placement: Placement, options: LlamaCppOptions
) -> LlamaCppTexts:
    """The instance for *model*, which *server* has loaded; its vectors' length and its frame are asked for."""
    props = await server.props()
    task = start.task_of(placement, model)

    def capabilities(*dimensions: int) -> Capabilities:
        return Capabilities(
            context_tokens=min(start.context_tokens(placement, model), props.default_generation_settings.n_ctx),
            max_concurrent_requests=options.slots,
            tasks=frozenset({task}),
            vocabulary_size=model.vocabulary_size,
            dimensions=dimensions,
        )

    if task == "rerank":
        probe = await server.rerank("a", ["a"])
        own = 2 * len(await server.tokenize("a", parse_special=True))
        frame_tokens = max(probe.usage.prompt_tokens - own, 0)
        is_logit = model.architecture not in _TELL_SHARES
        return RerankInstance(
            child, server, capabilities(),
            longest_token_bytes=model.longest_token_bytes, frame_tokens=frame_tokens, is_logit=is_logit,
        )  # fmt: skip
    made = await server.embed(["a"])
    length = len(made.data[0].embedding) // 4
    return EmbeddingInstance(
        child, server, capabilities(length, *placement.dimensions), longest_token_bytes=model.longest_token_bytes
    )
