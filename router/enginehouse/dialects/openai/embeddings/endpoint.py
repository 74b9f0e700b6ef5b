"""`POST …/embeddings`: from a body to a call, with the encoder of its answer."""

from __future__ import annotations

from functools import partial
from typing import Unpack

from enginehouse.dialects.at_mount import Mounting
from enginehouse.dialects.endpoint import Call
from enginehouse.dialects.openai.embeddings.encode import EmbeddingList, written
from enginehouse.dialects.openai.embeddings.request import EmbeddingsRequest, embedding_request
from enginehouse.dialects.openai.openapi import FAILURES, failures
from enginehouse.dialects.openai.plain import Common, PlainEndpoint
from enginehouse.dialects.operation import Operation, ref
from enginehouse.dialects.vectors import Vectors, WorkBody, stand_in
from enginehouse.wire.decode import Decoder
from enginehouse_plugin import Profile

_DESCRIPTION = """\
Makes a vector of each text, of length one, in the order of the texts. The model has the task `embed`; a text that \
exceeds its context is refused unless `truncate_prompt_tokens` says that it may be cut."""


class EmbeddingsEndpoint(PlainEndpoint[EmbeddingsRequest]):
    """Embeddings of the OpenAI dialect."""

    name = "embeddings"
    below = "/embeddings"
    decoder = Decoder(EmbeddingsRequest)
    no_agents = "which leads conversations. Ask a model with the task 'embed'."

    def __init__(self, profile: Profile, /, **mounting: Unpack[Mounting]) -> None:
        super().__init__(profile, **mounting)
        self.operation = _operation()

    def call(self, asked: EmbeddingsRequest, request_id: str, **common: Unpack[Common]) -> Call:
        """See `PlainEndpoint.call`."""
        request, is_list = embedding_request(asked, request_id)
        vectors = Vectors(request, (lambda at: f"input[{at}]") if is_list else lambda _: "input", asked.dimensions)
        write = partial(written, asked.model, vectors, as_base64=asked.encoding_format == "base64")
        encoder = WorkBody(vectors, write, self.errors)
        return Call(
            **common,
            request=stand_in(request_id, request.inputs),
            encoder=encoder,
            work=encoder.work,
        )


def _operation() -> Operation:
    example = {"model": "minilm", "input": ["The fox is quick.", "The dog is lazy."]}
    document = {
        "operationId": "createEmbedding",
        "summary": "Make vectors of texts",
        "description": _DESCRIPTION,
        "security": [{}, {"key": []}],
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": ref(EmbeddingsRequest), "example": example}},
        },
        "responses": {
            "200": {"description": "The vectors.", "content": {"application/json": {"schema": ref(EmbeddingList)}}},
            **failures(FAILURES),
        },
    }
    return Operation(document=document, types=(EmbeddingsRequest, EmbeddingList))
