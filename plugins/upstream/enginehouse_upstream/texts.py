"""Remote models that make vectors or scores."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from enginehouse_kit.http.openai_schema import read_error
from enginehouse_kit.text.inputs import unit_vector
from enginehouse_plugin import (
    EmbeddingRequest,
    Embeddings,
    GenerationRequest,
    RerankRequest,
    Run,
    Scores,
    Sink,
    Tokens,
)
from enginehouse_plugin.errors import EngineError, EngineProtocolError, EngineUnavailable, UnsupportedFeature

from .instance import UpstreamInstance

if TYPE_CHECKING:
    from .servers import ServerKind

_Reply = TypeVar("_Reply", bound=msgspec.Struct)
_TRUNCATE = frozenset({"enginehouse", "vllm"})
"""Kinds of servers that know `truncate_prompt_tokens`."""
_ALL = 2**31 - 1


class _Vector(msgspec.Struct, frozen=True):
    index: int
    embedding: list[float]


class _Score(msgspec.Struct, frozen=True):
    index: int
    relevance_score: float


class _Used(msgspec.Struct, frozen=True):
    prompt_tokens: int | None = None
    total_tokens: int = 0

    @property
    def tokens(self) -> int:
        """Those of the prompt, which is all there is."""
        return self.total_tokens if self.prompt_tokens is None else self.prompt_tokens


class _Vectors(msgspec.Struct, frozen=True):
    data: list[_Vector]
    usage: _Used = _Used()


class _Scores(msgspec.Struct, frozen=True):
    results: list[_Score]
    usage: _Used = _Used()


_encode = msgspec.json.Encoder().encode


class UpstreamTexts(UpstreamInstance):
    """What both have in common: one call, whose answer is read whole."""

    def start(self, request: GenerationRequest, sink: Sink) -> Run:  # noqa: ARG002  # none is served
        """See `Instance.start`: it cannot."""
        (task,) = self.capabilities.tasks
        raise UnsupportedFeature("chat", param="model", message=f"This model has the task '{task}'.")

    async def check(self, request: GenerationRequest) -> None:
        """See `Instance.check`: nothing is generated, so that no default can be wrong."""

    async def ask(self, route: str, body: dict[str, Any], kind: type[_Reply]) -> _Reply:  # Any: JSON
        """Post *body* to *route*, and read the answer.

        Raises:
            RequestError, EngineError: what the server says, translated, or that it cannot be read.
        """
        if self._closed.is_set():
            raise EngineUnavailable(f"{self._name} is no longer used.")
        path = self._dialect.path.removesuffix("/chat/completions") + route
        try:
            reply = await self._client.request("POST", path, _encode({"model": self._model, **body}))
            if reply.status != 200:
                raise self._dialect.error_of(reply.status, read_error(reply.body))
            return msgspec.json.decode(reply.body, type=kind)
        except (msgspec.MsgspecError, UnicodeDecodeError) as problem:
            self.note_failure()
            raise EngineProtocolError(f"{self._name} answered what cannot be read: {problem}") from problem
        except EngineError:
            self.note_failure()
            raise

    def cutting(self, truncate_tokens: int | None) -> dict[str, int]:
        """What asks the server to cut texts.

        Raises:
            UnsupportedFeature: its kind is not known for it.
        """
        if truncate_tokens is None:
            return {}
        kind: ServerKind = self._dialect.kind
        if kind.name not in _TRUNCATE:
            told = f"{kind.shown} is not known to cut texts. Leave 'truncate_prompt_tokens' out."
            raise UnsupportedFeature("truncation", param="truncate_prompt_tokens", message=told)
        return {"truncate_prompt_tokens": -1 if truncate_tokens >= _ALL else truncate_tokens}


class UpstreamEmbedding(UpstreamTexts):
    """A remote model that makes vectors."""

    async def embed(self, request: EmbeddingRequest) -> Embeddings:
        """See `Embeds.embed`. Vectors are made of length one where the server does not."""
        given = [list(one.token_ids) if isinstance(one, Tokens) else one.text for one in request.inputs]
        body = {"input": given, "encoding_format": "float", **self.cutting(request.truncate_tokens)}
        reply = await self.ask("/embeddings", body, _Vectors)
        made = {one.index: one.embedding for one in reply.data}
        if made.keys() != set(range(len(given))):
            raise EngineProtocolError(f"{self._name} made {len(made)} vectors of {len(given)} texts.")
        vectors = tuple(unit_vector(made[at]) for at in range(len(given)))
        return Embeddings(vectors=vectors, prompt_tokens=reply.usage.tokens)


class UpstreamRerank(UpstreamTexts):
    """A remote model that scores documents."""

    async def rerank(self, request: RerankRequest) -> Scores:
        """See `Reranks.rerank`."""
        body = {"query": request.query, "documents": request.documents, **self.cutting(request.truncate_tokens)}
        reply = await self.ask("/rerank", body, _Scores)
        found = {one.index: one.relevance_score for one in reply.results}
        if found.keys() != set(range(len(request.documents))):
            raise EngineProtocolError(f"{self._name} scored {len(found)} of {len(request.documents)} documents.")
        scores = tuple(found[at] for at in range(len(request.documents)))
        return Scores(scores=scores, prompt_tokens=reply.usage.tokens)
