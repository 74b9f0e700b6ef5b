"""The answer to a request for embeddings."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Sequence
from typing import Literal

import msgspec

from enginehouse.dialects.endpoint import Errors, Origin
from enginehouse.dialects.vectors import Vectors, floats
from enginehouse.fleet import Work
from enginehouse_plugin import AnyEvent, Instance, UsageReport

_AT_ONCE_BYTES = 64 * 1024
"""What is written on the event loop; more numbers are written by a thread, and nobody waits for them."""

_encode = msgspec.json.Encoder().encode


class EmbeddingsUsage(msgspec.Struct, frozen=True):
    """Tokens of all inputs."""

    prompt_tokens: int
    total_tokens: int


class Embedding(msgspec.Struct, frozen=True, kw_only=True):
    """The vector of the input at *index*, of length one."""

    object: Literal["embedding"] = "embedding"
    index: int
    embedding: list[float] | str


class EmbeddingList(msgspec.Struct, frozen=True, kw_only=True):
    """The vectors in the inputs' order."""

    object: Literal["list"] = "list"
    data: list[Embedding]
    model: str
    usage: EmbeddingsUsage


class EmbeddingsBody:
    """Writes the vectors in one body."""

    content_type = b"application/json"
    is_stream = False
    keep_alive = b""

    def __init__(self, model: str, vectors: Vectors, errors: Errors, *, as_base64: bool) -> None:
        self.origin: Origin | None = None
        self._model = model
        self._vectors = vectors
        self._errors = errors
        self._as_base64 = as_base64
        self._body = b""

    @property
    def work(self) -> Work:
        """Makes the vectors, and writes them."""
        making = self._vectors.work

        async def do(instance: Instance) -> UsageReport:
            report = await making.do(instance)
            made = self._vectors.made
            large = len(made) * len(made[0]) > _AT_ONCE_BYTES
            self._body = await asyncio.to_thread(self._written) if large else self._written()
            return report

        return Work(making.task, do)

    def _written(self) -> bytes:
        written = (
            base64.b64encode(one).decode() if self._as_base64 else floats(one).tolist() for one in self._vectors.made
        )
        tokens = self._vectors.prompt_tokens
        return _encode(
            EmbeddingList(
                data=[Embedding(index=at, embedding=one) for at, one in enumerate(written)],
                model=self._model,
                usage=EmbeddingsUsage(prompt_tokens=tokens, total_tokens=tokens),
            )
        )

    def events(self, batch: Sequence[AnyEvent]) -> bytes:  # noqa: ARG002  # the work has what matters
        """See `Encoder.events`."""
        return b""

    def end(self) -> bytes:
        """See `Encoder.end`."""
        return self._body

    def fail(self, error: BaseException) -> bytes:
        """See `Encoder.fail`."""
        return self._errors.describe(error).body
