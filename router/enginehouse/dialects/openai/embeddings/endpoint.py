"""`POST …/embeddings`: from a body to a call, with the encoder of its answer."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Unpack

from enginehouse.dialects.at_mount import AtMount, Mounting
from enginehouse.dialects.endpoint import Call, Errors
from enginehouse.dialects.openai.embeddings.encode import EmbeddingList, written
from enginehouse.dialects.openai.embeddings.request import EmbeddingsRequest, embedding_request
from enginehouse.dialects.openai.errors import ProfileErrors
from enginehouse.dialects.openai.openapi import FAILURES, failures
from enginehouse.dialects.operation import Operation, ref
from enginehouse.dialects.vectors import Vectors, WorkBody, stand_in
from enginehouse.wire.decode import Decoder
from enginehouse_plugin import Profile

_NO_HEADERS: Mapping[bytes, bytes] = {}
_DESCRIPTION = """\
Makes a vector of each text, of length one, in the order of the texts. The model has the task `embed`; a text that \
exceeds its context is refused unless `truncate_prompt_tokens` says that it may be cut."""

_decode = Decoder(EmbeddingsRequest).decode


class EmbeddingsEndpoint(AtMount):
    """Embeddings of the OpenAI dialect."""

    name = "embeddings"
    below = "/embeddings"

    def __init__(self, profile: Profile, /, **mounting: Unpack[Mounting]) -> None:
        super().__init__(profile, **mounting)
        self.errors: Errors = ProfileErrors(profile)
        self.operation = _operation()

    def decode(
        self,
        body: bytes,
        request_id: str,
        named: Mapping[bytes, bytes] = _NO_HEADERS,  # noqa: ARG002  # no header matters
        key: str = "",  # noqa: ARG002  # nothing is kept
    ) -> Call:
        """See `Endpoint.decode`.

        Raises:
            ModelNotFound: the body names no model that is known by this name.
        """
        asked, ignored = _decode(body, unknown_fields=self._unknown_fields)
        model = self.model_meant_by(asked.model, "which leads conversations. Ask a model with the task 'embed'.")
        request, is_list = embedding_request(asked, request_id)
        vectors = Vectors(request, (lambda at: f"input[{at}]") if is_list else lambda _: "input", asked.dimensions)
        write = partial(written, asked.model, vectors, as_base64=asked.encoding_format == "base64")
        encoder = WorkBody(vectors.work, write, lambda: vectors.size_bytes, self.errors)
        return Call(
            model=model,
            request=stand_in(request_id, request.inputs),
            encoder=encoder,
            work=encoder.work,
            recorded={"user": asked.user} if asked.user is not None else None,
            ignored=ignored,
            profile=self.label,
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
