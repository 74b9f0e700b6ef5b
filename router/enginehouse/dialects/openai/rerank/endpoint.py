"""`POST …/rerank`: from a body to a call, with the encoder of its answer."""

from __future__ import annotations

from typing import Unpack

from enginehouse.dialects.at_mount import Mounting
from enginehouse.dialects.endpoint import Call
from enginehouse.dialects.openai.openapi import FAILURES, failures
from enginehouse.dialects.openai.plain import Common, PlainEndpoint
from enginehouse.dialects.openai.rerank.encode import Ranking, RerankAnswer
from enginehouse.dialects.openai.rerank.request import RerankBody, rerank_request
from enginehouse.dialects.operation import Operation, json_body, ref
from enginehouse.dialects.vectors import WorkBody, stand_in
from enginehouse.wire.decode import Decoder
from enginehouse_plugin import Profile, Text

_DESCRIPTION = """\
Scores each document from 0 to 1 by how well it answers the query, and tells the best first. The model has the task \
`rerank`; a document that exceeds its context with the query is refused unless `truncate_prompt_tokens` says that it \
may be cut."""


class RerankEndpoint(PlainEndpoint[RerankBody]):
    """Reranking, at the API's path."""

    name = "rerank"
    below = "/rerank"
    decoder = Decoder(RerankBody)
    no_agents = "which leads conversations. Ask a model with the task 'rerank'."
    version = "/v1"
    """In place of the API's own `/v1`."""

    def __init__(self, profile: Profile, /, **mounting: Unpack[Mounting]) -> None:
        super().__init__(profile, **mounting)
        if self.version != "/v1":
            self.path = self.path.removesuffix(self.below).removesuffix("/v1") + self.version + self.below
        self.operation = _operation(self.version)

    def call(self, asked: RerankBody, request_id: str, **common: Unpack[Common]) -> Call:
        """See `PlainEndpoint.call`."""
        request = rerank_request(asked, request_id)
        ranking = Ranking(request, asked.model, top_n=asked.top_n, with_documents=asked.return_documents is True)
        encoder = WorkBody(ranking, ranking.written, self.errors)
        return Call(
            **common,
            request=stand_in(request_id, (Text(request.query), *map(Text, request.documents))),
            encoder=encoder,
            work=encoder.work,
        )


class PlainRerankEndpoint(RerankEndpoint):
    """The same beside the API's path, where Jina's clients and vLLM's have it."""

    version = ""


class SecondRerankEndpoint(RerankEndpoint):
    """The same at the second version of Cohere's API."""

    version = "/v2"


def _operation(version: str) -> Operation:
    example = {
        "model": "bge-reranker",
        "query": "What do pandas eat?",
        "documents": ["Pandas eat bamboo.", "Paris is in France."],
        "top_n": 1,
    }
    document = {
        "operationId": {"/v1": "rerank", "": "rerankPlain", "/v2": "rerankSecond"}[version],
        "summary": "Score documents by how well they answer a query",
        "description": _DESCRIPTION,
        "security": [{}, {"key": []}],
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": ref(RerankBody), "example": example}},
        },
        "responses": {"200": json_body("The documents, the best first.", RerankAnswer), **failures(FAILURES)},
    }
    return Operation(document=document, types=(RerankBody, RerankAnswer))
