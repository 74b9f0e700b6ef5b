"""llama-server's HTTP API as typed calls: the one wire, whichever way the engine was started."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import AsyncGenerator, Sequence
from typing import Any, TypeVar

import msgspec

from enginehouse_kit.http.client import LocalClient
from enginehouse_kit.http.run import Reader
from enginehouse_kit.http.sse import SSEParser
from enginehouse_plugin import Run, Sink
from enginehouse_plugin.errors import (
    ContextTooLong,
    EngineFailure,
    EnginehouseError,
    EngineOverloaded,
    EngineProtocolError,
    EngineUnavailable,
    InvalidRequest,
)

_Reply = TypeVar("_Reply")
JSON = (("content-type", "application/json"),)
_TAGS = 2**31  # the engine's integers
_MOST_BYTES_OF_ONE = 65_536
"""Of a token among alternatives: its text, and its bytes as numbers."""


class Progress(msgspec.Struct, frozen=True, gc=False):
    """How much of the prompt has been computed; `cache` tokens of it came from the prefix cache."""

    total: int = 0
    cache: int = 0
    processed: int = 0


class Probability(msgspec.Struct, frozen=True, gc=False):
    """A token and its logprob, from raw logits."""

    id: int
    logprob: float
    bytes: list[int] = []
    top_logprobs: list[Probability] = []


class Failure(msgspec.Struct, frozen=True):
    """An error of the engine, in its own shape."""

    message: str = ""
    type: str = ""
    code: int = 500
    n_prompt_tokens: int = 0
    n_ctx: int = 0


class Chunk(msgspec.Struct, frozen=True, gc=False):
    """One event of a `/completion` stream."""

    index: int = 0
    content: str = ""
    tokens: list[int] = []
    stop: bool = False
    tokens_predicted: int = 0
    tokens_evaluated: int = 0
    stop_type: str = "none"
    stopping_word: str = ""
    prompt_progress: Progress | None = None
    completion_probabilities: list[Probability] = []
    error: Failure | None = None


FINAL_FIELDS = ["index", "stop", "stop_type", "stopping_word", "tokens_predicted", "tokens_evaluated"]
"""What the last chunk of a choice carries; without this list it repeats the whole prompt."""


class Caps(msgspec.Struct, frozen=True):
    """What the engine found out about the chat template."""

    supports_tools: bool = False
    supports_tool_calls: bool = False
    supports_reasoning_effort: bool = False


class _Settings(msgspec.Struct, frozen=True):
    n_ctx: int


class Props(msgspec.Struct, frozen=True):
    """Of `GET /props`, what the adapter needs."""

    default_generation_settings: _Settings
    total_slots: int
    chat_template: str = ""
    chat_template_caps: Caps = Caps()


class _Parameters(msgspec.Struct, frozen=True):
    n_discard: int = 0


class Slot(msgspec.Struct, frozen=True):
    """Of `GET /slots`, what the adapter needs."""

    is_processing: bool
    n_ctx: int
    n_prompt_tokens: int | None = None  # in its cache: those of the prompt that were read, and of the answer
    params: _Parameters = _Parameters()


class _ErrorBody(msgspec.Struct, frozen=True):
    error: Failure = Failure()


class _Prompt(msgspec.Struct, frozen=True):
    prompt: str


class _Tokens(msgspec.Struct, frozen=True):
    tokens: list[int]


class _Content(msgspec.Struct, frozen=True):
    content: str


class _Vector(msgspec.Struct, frozen=True):
    index: int
    embedding: bytes  # in base64


class _Score(msgspec.Struct, frozen=True):
    index: int
    relevance_score: float


class _Used(msgspec.Struct, frozen=True):
    prompt_tokens: int


class VectorsReply(msgspec.Struct, frozen=True):
    """Vectors in any order."""

    data: list[_Vector]
    usage: _Used


class ScoresReply(msgspec.Struct, frozen=True):
    """Scores in any order."""

    results: list[_Score]
    usage: _Used


class _Piece(msgspec.Struct, frozen=True):
    id: int
    piece: str | list[int]


class _Pieces(msgspec.Struct, frozen=True):
    tokens: list[_Piece]


class _Banned(msgspec.Struct, frozen=True):
    token: int


class _Biases(msgspec.Struct, frozen=True):
    logit_bias: list[_Banned] = msgspec.field(name="generation_settings/logit_bias", default_factory=list)


_encoder = msgspec.json.Encoder()
_chunks = msgspec.json.Decoder(Chunk)
_errors = msgspec.json.Decoder(_ErrorBody)
_first = json.JSONDecoder()  # decodes one value, and leaves what follows


class Server:
    """Calls of one llama-server. A connection serves one call: idle ones would each hold a server thread."""

    def __init__(self, address: str | tuple[str, int]) -> None:
        self._client = LocalClient(address, keep_alive=False)
        self._tags = itertools.count(1)

    async def close(self) -> None:
        """Close what is open."""
        await self._client.close()

    async def is_healthy(self) -> bool:
        """Whether the model is loaded and the engine answers: slots are listed by its loop, between two steps.

        `/health` is answered beside it, also while it hangs.
        """
        try:
            return (await self._client.request("GET", "/slots")).status == 200
        except EngineUnavailable:
            return False

    async def props(self) -> Props:
        """What was loaded."""
        return msgspec.json.decode(await self._get("/props"), type=Props)

    async def slots(self) -> list[Slot]:
        """The state of each slot."""
        return msgspec.json.decode(await self._get("/slots"), type=list[Slot])

    async def metrics(self) -> str:
        """Prometheus text."""
        return (await self._get("/metrics")).decode()

    async def apply_template(self, body: dict[str, Any]) -> str:  # Any: JSON
        """Render the chat template.

        Raises:
            InvalidRequest: the template refuses these messages.
        """
        return (await self._post("/apply-template", body, _Prompt, param="messages")).prompt

    async def tokenize(
        self, content: str | Sequence[str | int], *, parse_special: bool, add_special: bool = False
    ) -> list[int]:
        """Token ids of *content*, in which ids may stand between texts."""
        body = {"content": content, "parse_special": parse_special, "add_special": add_special}
        return (await self._post("/tokenize", body, _Tokens)).tokens

    async def pieces(self, token_ids: Sequence[int]) -> list[bytes]:
        """The bytes of each token."""
        answer = await self._answer("/tokenize", {"content": list(token_ids), "with_pieces": True})
        return await asyncio.to_thread(_pieces, answer)  # of a whole vocabulary it takes a tenth of a second

    async def ending_ids(self) -> frozenset[int]:
        """The tokens that end an answer: those that the engine bans where it is told to go on."""
        body = {
            "prompt": [0],
            "n_predict": 1,
            "ignore_eos": True,
            "response_fields": ["generation_settings/logit_bias"],
        }
        found = await self._post("/completion", body, _Biases)
        return frozenset(banned.token for banned in found.logit_bias)

    def tag(self) -> dict[str, int]:
        """Something for the body of a completion by which its slot is known again.

        The engine discards no context (`--no-context-shift`), but lists how much it would, with the slot.
        """
        return {"n_discard": next(self._tags) % _TAGS}

    async def released(self, body: dict[str, Any]) -> None:  # Any: JSON
        """Wait until the slot of the tagged *body*, whose stream was closed, is free.

        Before that whatever is asked for would go to another slot, where nothing of it is in the cache.
        """
        tag = body["n_discard"]
        while any(slot.is_processing and slot.params.n_discard == tag for slot in await self.slots()):
            pass  # the engine lists its slots between two steps

    async def alternatives(self, body: dict[str, Any]) -> list[Probability]:  # Any: JSON
        """The likeliest tokens at the first place of the completion that *body* asks for."""
        answer = await self._answer("/completion", body)
        return [top for token in _chunks.decode(answer).completion_probabilities for top in token.top_logprobs]

    async def alternative(self, body: dict[str, Any], token_id: int) -> Probability | None:  # Any: JSON
        """*token_id* among what `alternatives` gives, which may be a whole vocabulary; None: it is not there."""
        return _alternative(await self._answer("/completion", body), token_id)

    async def embed(self, inputs: Sequence[str | Sequence[int]]) -> VectorsReply:
        """Make a vector of each of *inputs*, text or token ids."""
        body = {"input": inputs, "encoding_format": "base64"}
        return await self._post("/v1/embeddings", body, VectorsReply)

    async def rerank(self, query: str, documents: Sequence[str]) -> ScoresReply:
        """Score each of *documents*."""
        return await self._post("/v1/rerank", {"query": query, "documents": documents}, ScoresReply)

    async def detokenize(self, token_ids: Sequence[int]) -> str:
        """The text of *token_ids*."""
        return (await self._post("/detokenize", {"tokens": token_ids}, _Content)).content

    def start(self, body: dict[str, Any], reader: Reader, sink: Sink) -> Run:  # Any: JSON
        """Generate; the events that *reader* finds in the stream are pushed into *sink*."""
        return self._client.start("/completion", _encoder.encode(body), reader, sink, is_stream=True)

    async def complete(
        self, body: dict[str, Any], blame: str | None = None
    ) -> AsyncGenerator[Chunk, None]:  # Any: JSON
        """Generate; closing the generator ends the work in the engine. *blame* is the field of the grammar.

        Raises:
            RequestError, EngineError: the engine's refusal or failure, translated.
        """
        exchange = await self._client.send("POST", "/completion", _encoder.encode(body), JSON)
        try:
            if exchange.status != 200:
                raise failure(error_of(await exchange.body()), blame=blame)
            parser = SSEParser()
            while data := await exchange.read():
                for payload in parser.feed(data):
                    chunk = decode_chunk(payload)
                    if chunk.error is not None:
                        raise failure(chunk.error)
                    yield chunk
        finally:
            exchange.close()

    async def _get(self, path: str) -> bytes:
        reply = await self._client.request("GET", path)
        if reply.status != 200:
            raise failure(error_of(reply.body))
        return reply.body

    async def _post(self, path: str, body: dict[str, Any], kind: type[_Reply], param: str | None = None) -> _Reply:
        return msgspec.json.decode(await self._answer(path, body, param), type=kind)

    async def _answer(self, path: str, body: dict[str, Any], param: str | None = None) -> bytes:  # Any: JSON
        reply = await self._client.request("POST", path, _encoder.encode(body), JSON)
        if reply.status != 200:
            raise failure(error_of(reply.body), param=param)
        return reply.body


def _pieces(body: bytes) -> list[bytes]:
    found = msgspec.json.decode(body, type=_Pieces)
    return [bytes(t.piece) if isinstance(t.piece, list) else t.piece.encode() for t in found.tokens]


def _alternative(body: bytes, token_id: int) -> Probability | None:
    # Decoding megabytes for one token would stop all threads meanwhile. Within a text the quotes would be escaped.
    at = body.find(b'{"id":%d,' % token_id, body.find(b'"top_logprobs"'))
    if at < 0:
        return None
    found, _ = _first.raw_decode(body[at : at + _MOST_BYTES_OF_ONE].decode(errors="replace"))
    return msgspec.convert(found, Probability)


def decode_chunk(payload: bytes) -> Chunk:
    """Decode one event.

    Raises:
        EngineProtocolError: it is not what llama-server sends.
    """
    try:
        return _chunks.decode(payload)
    except msgspec.MsgspecError as error:
        raise EngineProtocolError(f"llama.cpp sent an event that cannot be read: {error}") from error


def error_of(body: bytes) -> Failure:
    """The error in a body, whatever it is."""
    try:
        return _errors.decode(body).error
    except msgspec.MsgspecError:
        return Failure(message=body[:200].decode(errors="replace"))


def failure(error: Failure, param: str | None = None, blame: str | None = None) -> EnginehouseError:
    """Translate the engine's error; *param* is the field that the call depended on, *blame* that of a grammar."""
    if error.type == "exceed_context_size_error":
        return ContextTooLong(prompt_tokens=error.n_prompt_tokens, limit_tokens=error.n_ctx)
    if "failed to parse grammar" in error.message:
        return InvalidRequest(
            "The JSON schema cannot be enforced: its counts, one in another, come to more than llama.cpp allows.",
            param=blame,
            code="unsupported_schema",
        )
    if error.type in ("invalid_request_error", "not_supported_error") or param is not None:
        return InvalidRequest(f"llama.cpp refuses the request: {error.message}", param=param)
    if error.type == "unavailable_error":
        return EngineUnavailable(f"llama.cpp takes no requests now: {error.message}")
    if error.code == 429:
        return EngineOverloaded(f"llama.cpp is overloaded: {error.message}")
    return EngineFailure(f"llama.cpp failed: {error.message}")
