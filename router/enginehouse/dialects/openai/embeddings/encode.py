"""The answer to a request for embeddings."""

from __future__ import annotations

from typing import Literal

import msgspec

from enginehouse.dialects.vectors import Vectors, floats

_encode = msgspec.json.Encoder().encode


class EmbeddingsUsage(msgspec.Struct, frozen=True):
    """Tokens of all inputs."""

    prompt_tokens: int
    total_tokens: int


class Embedding(msgspec.Struct, frozen=True, kw_only=True):
    """The vector of the input at *index*, of length one; bytes are written in base64."""

    object: Literal["embedding"] = "embedding"
    index: int
    embedding: list[float] | bytes


class EmbeddingList(msgspec.Struct, frozen=True, kw_only=True):
    """The vectors in the inputs' order."""

    object: Literal["list"] = "list"
    data: list[Embedding]
    model: str
    usage: EmbeddingsUsage


def written(model: str, vectors: Vectors, *, as_base64: bool) -> bytes:
    """The answer, whole, for a client that calls the model *model*."""
    tokens = vectors.prompt_tokens
    return _encode(
        EmbeddingList(
            data=[
                Embedding(index=at, embedding=one if as_base64 else floats(one).tolist())
                for at, one in enumerate(vectors.made)
            ],
            model=model,
            usage=EmbeddingsUsage(prompt_tokens=tokens, total_tokens=tokens),
        )
    )
