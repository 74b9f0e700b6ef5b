"""The struct of a request to rerank, and what it becomes."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from enginehouse.dialects.openai.chat.messages import Strict
from enginehouse.dialects.openai.chat.request import INT32_MAX
from enginehouse.dialects.openai.embeddings.request import MOST_INPUTS, truncate_tokens
from enginehouse.dialects.openai.plain import PlainBody
from enginehouse_plugin import RerankRequest
from enginehouse_plugin.errors import InvalidRequest

_Cut = Annotated[
    int,
    Meta(
        ge=-1,
        le=INT32_MAX,
        description="Documents that have more tokens with the query are cut at their end; -1: those that exceed the "
        "context, else refused.",
    ),
]


class Document(Strict, frozen=True):
    """A document as an object."""

    text: Annotated[str, Meta(description="Its text.")]


class RerankBody(PlainBody, frozen=True, kw_only=True):
    """A request to `POST /v1/rerank`."""

    query: Annotated[str, Meta(description="What the documents are to answer.", min_length=1)]
    documents: Annotated[
        tuple[str | Document, ...],
        Meta(
            description=f"Texts, or objects that have one: at most {MOST_INPUTS}, none of them empty.",
            min_length=1,
            max_length=MOST_INPUTS,
        ),
    ]
    top_n: (
        Annotated[int, Meta(ge=1, le=INT32_MAX, description="Only the best so many are told; all unless said.")] | None
    ) = None
    return_documents: Annotated[bool, Meta(description="Tell each document's text, too.")] | None = None
    truncate_prompt_tokens: _Cut | None = None


def rerank_request(asked: RerankBody, request_id: str) -> RerankRequest:
    """Build what an instance is asked.

    Raises:
        InvalidRequest: a document is empty, or nothing would be left of any.
    """
    documents = tuple(one if isinstance(one, str) else one.text for one in asked.documents)
    for at, text in enumerate(documents):
        if not text:
            place = f"documents[{at}]" if isinstance(asked.documents[at], str) else f"documents[{at}].text"
            raise InvalidRequest(f"Invalid '{place}': it is empty.", param=place)
    cut = truncate_tokens(asked.truncate_prompt_tokens)
    return RerankRequest(id=request_id, query=asked.query, documents=documents, truncate_tokens=cut)
