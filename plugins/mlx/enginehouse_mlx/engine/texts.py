"""One loaded model that makes vectors of texts."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import mlx.core as mx

from enginehouse_kit.text.inputs import cut
from enginehouse_plugin import (
    Capabilities,
    EmbeddingRequest,
    Embeddings,
    GenerationRequest,
    Run,
    Sink,
    Text,
    Tokens,
)
from enginehouse_plugin.errors import InputTooLong, LoadFailed, UnsupportedFeature

from .instance import MlxInstance
from .loading import LoadedModel
from .owner import Owner
from .settings import Settings


class MlxTexts(MlxInstance):
    """A model whose last layer is pooled as *pooling* says; texts take turns."""

    def __init__(
        self, owner: Owner, model: LoadedModel, settings: Settings, pooling: str, dimensions: tuple[int, ...]
    ) -> None:
        super().__init__(owner, model, settings)
        self._pooling = pooling
        self.capabilities = Capabilities(
            context_tokens=settings.context_tokens,
            max_concurrent_requests=settings.slots,
            tasks=frozenset({"embed"}),
            vocabulary_size=model.vocabulary.size,
            dimensions=dimensions,
        )

    def start(self, request: GenerationRequest, sink: Sink) -> Run:  # noqa: ARG002  # none is served
        """See `Instance.start`: it cannot."""
        told = "This model has the task 'embed' and cannot generate."
        raise UnsupportedFeature("chat", param="model", message=told)

    async def check(self, request: GenerationRequest) -> None:
        """See `Instance.check`: nothing is generated, so that no default can be wrong."""

    async def active_requests(self) -> int:
        """See `Inspectable.active_requests`."""
        self._check_alive()
        return self._running

    async def embed(self, request: EmbeddingRequest) -> Embeddings:
        """See `Embeds.embed`."""
        self._check_alive()
        limit = self.capabilities.context_tokens
        limit = limit if request.truncate_tokens is None else min(request.truncate_tokens, limit)
        vectors: list[bytes] = []
        tokens = 0
        with self._counted():
            inputs = [
                await self._apart(functools.partial(self._ids, at, one, limit, request.truncate_tokens is not None))
                for at, one in enumerate(request.inputs)
            ]
            for ids in inputs:
                vectors.append(await self._owner.apart(functools.partial(vector, ids=ids, pooling=self._pooling)))
                tokens += len(ids)
        return Embeddings(vectors=tuple(vectors), prompt_tokens=tokens)

    def _ids(self, at: int, given: Text | Tokens, limit: int, is_cut: bool) -> Sequence[int]:
        tokenizer = self._model.tokenizer
        ids: Sequence[int] = given.token_ids if isinstance(given, Tokens) else tokenizer.encode(given.text)
        if len(ids) <= limit:
            return ids
        if not is_cut:
            raise InputTooLong(at, tokens=len(ids), limit_tokens=limit)
        if isinstance(given, Tokens):
            return ids[:limit]
        return cut(ids, tokenizer.encode(given.text, add_special_tokens=False), limit)


def inner(model: LoadedModel) -> Any:  # Any: mlx_lm has no types
    """What makes a model's last states, without the part that makes logits of them.

    Raises:
        LoadFailed: it has no such part.
    """
    found = getattr(model.model, "model", None) or getattr(getattr(model.model, "language_model", None), "model", None)
    if found is None:
        raise LoadFailed(
            "mlx_lm keeps the last states of this architecture to itself: no vectors can be made of them.",
            retryable=False,
            code="unknown_architecture",
        )
    return found


def vector(model: LoadedModel, ids: Sequence[int], pooling: str) -> bytes:
    """The vector of *ids*; runs on the thread that owns the model."""
    states = inner(model)(mx.array([list(ids)]))[0].astype(mx.float32)
    pooled = states.mean(axis=0) if pooling == "mean" else states[-1 if pooling == "last" else 0]
    length = mx.maximum(mx.linalg.norm(pooled), 1e-12)
    made = pooled / length
    mx.eval(made)
    return bytes(memoryview(made))
