"""The work of a request to rerank, and its answer."""

from __future__ import annotations

import math
from typing import ClassVar, TypeGuard

import msgspec

from enginehouse.dialects.openai.rerank.request import Document
from enginehouse.dialects.vectors import too_long
from enginehouse_plugin import Instance, RerankRequest, Reranks, Task, UsageReport
from enginehouse_plugin.errors import EngineProtocolError, InputTooLong

_FRAME_TOKENS = 64
"""About as many tokens of its own as a model has around each pair."""

_encode = msgspec.json.Encoder().encode


class RerankUsage(msgspec.Struct, frozen=True):
    """Tokens of all documents, each with the query."""

    prompt_tokens: int
    total_tokens: int


class Ranked(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The document at `index` of the request, and how well it answers the query: from 0 to 1."""

    index: int
    relevance_score: float
    document: Document | None = None


class RerankAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The documents, the best first; of equal ones that which came first."""

    id: str
    model: str
    results: list[Ranked]
    usage: RerankUsage


class Ranking:
    """The scores of *request*, once an instance has made them, for a client that calls the model *model*."""

    task: ClassVar[Task] = "rerank"

    def __init__(self, request: RerankRequest, model: str, *, top_n: int | None, with_documents: bool) -> None:
        self._request = request
        self._model = model
        self._top_n = top_n
        self._with_documents = with_documents
        self._scores: tuple[float, ...] = ()
        self._prompt_tokens = 0
        documents = request.documents  # with each the query counts
        each = len(request.query.encode()) + _FRAME_TOKENS
        self.prompt_bytes: int | None = sum(len(one.encode()) for one in documents) + each * len(documents)

    @property
    def size_bytes(self) -> int:
        """About as many bytes as the answer has."""
        return 64 * len(self._scores) + (sum(map(len, self._request.documents)) if self._with_documents else 0)

    async def make(self, instance: Instance) -> UsageReport:
        """See `Made.make`."""
        if not _reranks(instance):
            raise EngineProtocolError("This model says that it scores documents, and its backend has no way to.")
        try:
            made = await instance.rerank(self._request)
        except InputTooLong as error:
            raise too_long(error, f"documents[{error.index}]") from error
        if len(made.scores) != len(self._request.documents):
            told = f"The engine gave {len(made.scores)} scores for {len(self._request.documents)} documents."
            raise EngineProtocolError(told)
        wrong = next((one for one in made.scores if not 0 <= one <= 1), None)
        if wrong is not None:
            is_number = math.isfinite(wrong)
            raise EngineProtocolError(
                f"The engine gave {wrong:g} as a score, which is {'not from 0 to 1' if is_number else 'no number'}."
            )
        self._scores, self._prompt_tokens = made.scores, made.prompt_tokens
        return UsageReport(prompt_tokens=made.prompt_tokens, completion_tokens=0)

    def written(self) -> bytes:
        """The answer, whole."""
        documents = self._request.documents
        best = sorted(range(len(documents)), key=lambda at: -self._scores[at])[: self._top_n]
        return _encode(
            RerankAnswer(
                id=self._request.id,
                model=self._model,
                results=[
                    Ranked(
                        index=at,
                        relevance_score=self._scores[at],
                        document=Document(documents[at]) if self._with_documents else None,
                    )
                    for at in best
                ],
                usage=RerankUsage(prompt_tokens=self._prompt_tokens, total_tokens=self._prompt_tokens),
            )
        )


def _reranks(instance: Instance) -> TypeGuard[Reranks]:
    """Whether it is a `Reranks`; before Python 3.12 `isinstance` takes longer to tell than the instance to choose."""
    return hasattr(instance, "rerank")
