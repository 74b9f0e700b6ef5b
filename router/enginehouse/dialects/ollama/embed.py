"""`POST /api/embed` and the older `POST /api/embeddings`: vectors of texts."""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import partial
from typing import Annotated, Any, ClassVar, Unpack

import msgspec
from msgspec import Meta

from enginehouse.dialects.at_mount import Mounting
from enginehouse.dialects.endpoint import Call, Errors
from enginehouse.dialects.ollama.endpoint import WithTags
from enginehouse.dialects.ollama.errors import PREFIX, ErrorBody, OllamaErrors, failures
from enginehouse.dialects.ollama.request import INT32_MAX, KeepAlive, Model, Options, Strict
from enginehouse.dialects.operation import Json, Operation, json_body, ref
from enginehouse.dialects.vectors import Vectors, WorkBody, floats, stand_in
from enginehouse.wire.decode import Decoder
from enginehouse_plugin import EmbeddingRequest, Profile, Text

MOST_INPUTS = 2048
_Input = Annotated[str, Meta(min_length=1)]
_Options = Annotated[Options | None, Meta(description="Recorded: none of them changes a vector.")]
_KeepAlive = Annotated[KeepAlive, Meta(description="Recorded: a model stays as its configuration says.")]


class EmbedRequest(Strict, frozen=True, kw_only=True):
    """A request to `POST /api/embed`."""

    model: Model
    input: Annotated[
        _Input | Annotated[tuple[_Input, ...], Meta(min_length=1, max_length=MOST_INPUTS)],
        Meta(description="A text, or several; none is empty."),
    ]
    truncate: Annotated[bool, Meta(description="Cut texts that exceed the context; true unless given.")] | None = None
    dimensions: Annotated[int, Meta(ge=1, le=INT32_MAX, description="One of those that the model has.")] | None = None
    options: _Options = None
    keep_alive: _KeepAlive | None = None


class OlderEmbedRequest(Strict, frozen=True, kw_only=True):
    """A request to `POST /api/embeddings`."""

    model: Model
    prompt: _Input
    options: _Options = None
    keep_alive: _KeepAlive | None = None


class Embedded(msgspec.Struct, frozen=True, kw_only=True):
    """Vectors in the texts' order, each of length one. Durations are in nanoseconds."""

    model: str
    embeddings: list[list[float]]
    total_duration: int
    load_duration: int = 0
    prompt_eval_count: int


class OlderEmbedded(msgspec.Struct, frozen=True, kw_only=True):
    """One vector, of length one."""

    embedding: list[float]


_encode = msgspec.json.Encoder().encode
_embed = Decoder(EmbedRequest).decode
_older = Decoder(OlderEmbedRequest).decode


class EmbedEndpoint(WithTags):
    """Vectors of one or several texts."""

    name = "ollama_embed"
    below = "/embed"
    _types: ClassVar[tuple[type, type]] = (EmbedRequest, Embedded)

    def __init__(self, profile: Profile, /, **mounting: Unpack[Mounting]) -> None:
        super().__init__(profile, **mounting)
        self.errors: Errors = OllamaErrors(profile)
        self.operation = _operation(self.name, *self._types)

    def decode(self, body: bytes, request_id: str, named: Mapping[bytes, bytes], key: str = "") -> Call:  # noqa: ARG002
        """See `Endpoint.decode`.

        Raises:
            ModelNotFound: the body names no model that is known by this name.
        """
        asked, ignored = _embed(body, unknown_fields=self._unknown_fields)
        texts = (asked.input,) if isinstance(asked.input, str) else asked.input
        request = EmbeddingRequest(
            id=request_id,
            inputs=tuple(map(Text, texts)),
            truncate_tokens=None if asked.truncate is False else INT32_MAX,
        )
        is_list = not isinstance(asked.input, str)
        vectors = Vectors(request, (lambda at: f"input[{at}]") if is_list else lambda _: "input", asked.dimensions)
        write = partial(_written, asked.model, vectors, time.perf_counter())
        encoder = WorkBody(vectors, write, self.errors)
        return self._call(asked, encoder, request, ignored)

    def _call(
        self,
        asked: EmbedRequest | OlderEmbedRequest,
        encoder: WorkBody,
        request: EmbeddingRequest,
        ignored: tuple[str, ...],
    ) -> Call:
        model = self.model_meant_by(asked.model, "which makes no vectors.")
        recorded: dict[str, Any] = {}
        if asked.options is not None:
            recorded["options"] = msgspec.to_builtins(asked.options)
        if asked.keep_alive is not None:
            recorded["keep_alive"] = asked.keep_alive
        return Call(
            model=model,
            request=stand_in(request.id, request.inputs),
            encoder=encoder,
            work=encoder.work,
            recorded=recorded or None,
            ignored=ignored,
            profile=self.label,
        )


class OlderEmbedEndpoint(EmbedEndpoint):
    """The vector of one text, in the form before `/api/embed`."""

    name = "ollama_embeddings"
    below = "/embeddings"
    _types: ClassVar[tuple[type, type]] = (OlderEmbedRequest, OlderEmbedded)

    def decode(self, body: bytes, request_id: str, named: Mapping[bytes, bytes], key: str = "") -> Call:  # noqa: ARG002
        """See `Endpoint.decode`.

        Raises:
            ModelNotFound: the body names no model that is known by this name.
        """
        asked, ignored = _older(body, unknown_fields=self._unknown_fields)
        request = EmbeddingRequest(id=request_id, inputs=(Text(asked.prompt),), truncate_tokens=INT32_MAX)
        vectors = Vectors(request, lambda _: "prompt")
        write = partial(_older_written, vectors)
        encoder = WorkBody(vectors, write, self.errors)
        return self._call(asked, encoder, request, ignored)


def _written(model: str, vectors: Vectors, began_at: float) -> bytes:
    return _encode(
        Embedded(
            model=model,
            embeddings=[floats(one).tolist() for one in vectors.made],
            total_duration=int((time.perf_counter() - began_at) * 1e9),
            prompt_eval_count=vectors.prompt_tokens,
        )
    )


def _older_written(vectors: Vectors) -> bytes:
    return _encode(OlderEmbedded(embedding=floats(vectors.made[0]).tolist()))


def _operation(name: str, wanted: type, answer: type) -> Operation:
    is_older = wanted is OlderEmbedRequest
    document: Json = {
        "operationId": "ollamaEmbeddings" if is_older else "ollamaEmbed",
        "summary": "Make a vector of a text" if is_older else "Make vectors of texts",
        "description": f"Ollama's own form ({name}); vectors are of length one.",
        "security": [{}, {"key": []}],
        "requestBody": {"required": True, "content": {"application/json": {"schema": ref(wanted, PREFIX)}}},
        "responses": {
            "200": json_body("The vectors.", answer, PREFIX),
            **failures(),
        },
    }
    return Operation(document=document, types=(wanted, answer, ErrorBody), prefix=PREFIX)
