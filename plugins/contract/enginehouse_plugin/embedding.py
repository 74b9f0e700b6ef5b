"""What texts mean, as numbers: what the router asks of an instance whose task is `embed` or `rerank`, and what it gets.

One such request takes one of the instance's slots, however many texts it has. A coroutine answers it; cancelling that
frees the engine as `Run.cancel` does (C1).
"""

from __future__ import annotations

from typing import Literal, Protocol, runtime_checkable

import msgspec

from .request import Text, Tokens

Task = Literal["chat", "embed", "rerank"]
"""What a model is for: `chat` generates, `embed` makes vectors of texts, `rerank` scores texts against a query."""
TASKS: tuple[Task, ...] = ("chat", "embed", "rerank")


class EmbeddingRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Make a vector of each of *inputs*, in their order.

    Control tokens in a text act as such, and the model's own ones are put around it; token ids go to the model as they
    are. An input of more tokens than the context is refused; with `truncate_tokens` one of more than those, or than
    the context, is cut at its end, and keeps the model's own tokens around it.
    """

    id: str
    inputs: tuple[Text | Tokens, ...]
    truncate_tokens: int | None = None


class Embeddings(msgspec.Struct, frozen=True, kw_only=True):
    """A vector for each input: numbers of 32 bits, little-endian, of length one. `prompt_tokens` counts all inputs."""

    vectors: tuple[bytes, ...]
    prompt_tokens: int


class RerankRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Score each of *documents* by how well it answers *query*; see `EmbeddingRequest` for `truncate_tokens`.

    Query and document share the context; of the two the document is cut.
    """

    id: str
    query: str
    documents: tuple[str, ...]
    truncate_tokens: int | None = None


class Scores(msgspec.Struct, frozen=True, kw_only=True):
    """A score from 0 to 1 for each document; `prompt_tokens` counts all of them, each with the query."""

    scores: tuple[float, ...]
    prompt_tokens: int


@runtime_checkable
class Embeds(Protocol):
    """An instance with the task `embed`."""

    async def embed(self, request: EmbeddingRequest) -> Embeddings:
        """Make the vectors.

        Raises:
            InputTooLong, InvalidRequest, EngineError: see `enginehouse_plugin.errors`.
        """
        ...


@runtime_checkable
class Reranks(Protocol):
    """An instance with the task `rerank`."""

    async def rerank(self, request: RerankRequest) -> Scores:
        """Score the documents. Raises as `Embeds.embed`."""
        ...
