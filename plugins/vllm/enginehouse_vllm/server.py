"""The HTTP interface of `vllm serve`: the calls that the adapter makes, and the events of `/v1/completions`."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Sequence
from typing import Any, TypeVar

import msgspec

from enginehouse_kit.http.client import Exchange, LocalClient
from enginehouse_kit.http.openai_schema import WireError, WireUsage, read_error
from enginehouse_kit.http.run import Reader
from enginehouse_kit.http.sse import SSEParser
from enginehouse_plugin import Run, Sink
from enginehouse_plugin.errors import (
    EngineFailure,
    EnginehouseError,
    EngineOverloaded,
    EngineProtocolError,
    EngineUnavailable,
    InvalidRequest,
)

_Reply = TypeVar("_Reply", bound=msgspec.Struct)
Body = dict[str, Any]  # JSON

_GAUGE = re.compile(
    r"^vllm:(num_requests_running|num_requests_waiting|kv_cache_usage_perc|gpu_cache_usage_perc)(?:\{[^}]*\})? (\S+)$",
    re.MULTILINE,
)


class Logprobs(msgspec.Struct, frozen=True, gc=False):
    """Of a chunk: a token as `token_id:N`, its logprob, and the likeliest with theirs."""

    tokens: list[str] = []
    token_logprobs: list[float | None] = []
    top_logprobs: list[dict[str, float] | None] | None = None


class Choice(msgspec.Struct, frozen=True):
    """More of a choice. `token_ids` are the tokens that are new."""

    index: int = 0
    text: str = ""
    logprobs: Logprobs | None = None
    finish_reason: str | None = None
    token_ids: list[int] | None = None


class Chunk(msgspec.Struct, frozen=True):
    """One event of a `/v1/completions` stream; `usage` counts for the choice, in the last event for all."""

    choices: list[Choice] = []
    usage: WireUsage | None = None
    error: WireError | None = None


class Load(msgspec.Struct, frozen=True):
    """The engine's own figures."""

    running: int = 0
    waiting: int = 0
    cache_used: float | None = None


class _Tokens(msgspec.Struct, frozen=True):
    tokens: list[int]


class _Text(msgspec.Struct, frozen=True):
    prompt: str


class _Vector(msgspec.Struct, frozen=True):
    index: int
    embedding: bytes  # in base64


class _Score(msgspec.Struct, frozen=True):
    index: int
    relevance_score: float


class _Used(msgspec.Struct, frozen=True):
    total_tokens: int


class VectorsReply(msgspec.Struct, frozen=True):
    """Vectors in any order."""

    data: list[_Vector]
    usage: _Used


class ScoresReply(msgspec.Struct, frozen=True):
    """Scores in any order."""

    results: list[_Score]
    usage: _Used


class _Sleeping(msgspec.Struct, frozen=True):
    is_sleeping: bool


_encode = msgspec.json.Encoder().encode
_chunks = msgspec.json.Decoder(Chunk)


class Server:
    """Calls of one vLLM server, which serves one model called *model*."""

    def __init__(self, address: str | tuple[str, int], model: str) -> None:
        self.client = LocalClient(address)
        self.model = model

    async def close(self) -> None:
        """Close what is open."""
        await self.client.close()

    async def is_healthy(self) -> bool:
        """Whether the model is loaded and all of the engine answers, its workers too, which it does between two steps.

        `/health` is answered in front of it, also while it hangs.
        """
        try:
            if (await self.client.request("GET", "/health")).status != 200:
                return False
            return (await self.client.request("POST", "/collective_rpc", b'{"method":"check_health"}')).status == 200
        except EngineUnavailable:
            return False

    async def tokenize_chat(self, body: Body) -> list[int]:
        """Render the chat template and return its token ids.

        Raises:
            InvalidRequest: the template refuses these messages.
        """
        return (await self._post("/tokenize", {**body, "model": self.model}, _Tokens, param="messages")).tokens

    async def tokenize(self, text: str, *, add_special: bool = False) -> list[int]:
        """Token ids of *text*, in which control tokens act as such."""
        body = {"model": self.model, "prompt": text, "add_special_tokens": add_special}
        return (await self._post("/tokenize", body, _Tokens)).tokens

    async def detokenize(self, token_ids: Sequence[int]) -> str:
        """The text of *token_ids*, control tokens included."""
        return (await self._post("/detokenize", {"model": self.model, "tokens": token_ids}, _Text)).prompt

    async def load(self) -> Load:
        """Ask for the load, of all engines where there are several."""
        reply = await self.client.request("GET", "/metrics")
        if reply.status != 200:
            raise error_of(reply.status, read_error(reply.body))
        return read_load(reply.body.decode())

    async def sleep(self) -> None:
        """Give the GPU's memory back; weights stay in the host's."""
        await self._call("/sleep?level=1&mode=wait")

    async def wake(self) -> None:
        """Take the memory again."""
        await self._call("/wake_up")

    async def is_sleeping(self) -> bool:
        """Whether it sleeps."""
        reply = await self.client.request("GET", "/is_sleeping")
        return reply.status == 200 and msgspec.json.decode(reply.body, type=_Sleeping).is_sleeping

    async def embed(self, inputs: Sequence[str | Sequence[int]]) -> VectorsReply:
        """Make a vector of each of *inputs*, all texts or all token ids."""
        body = {"model": self.model, "input": inputs, "encoding_format": "base64"}
        return await self._post("/v1/embeddings", body, VectorsReply)

    async def rerank(self, query: str, documents: Sequence[str]) -> ScoresReply:
        """Score each of *documents*."""
        body: Body = {"model": self.model, "query": query, "documents": documents}
        return await self._post("/v1/rerank", body, ScoresReply, param="documents")

    def start(self, body: Body, reader: Reader, sink: Sink) -> Run:
        """Generate; the events that *reader* finds in the stream are pushed into *sink*."""
        encoded = _encode({**body, "model": self.model})
        return self.client.start("/v1/completions", encoded, reader, sink, is_stream=True)

    async def complete(self, body: Body, blame: str | None = None) -> AsyncGenerator[Chunk, None]:
        """Generate; closing the generator ends the work in the engine. *blame* is the field of the grammar.

        The first chunk is empty: it tells that the engine has taken the request.

        Raises:
            RequestError, EngineError: the engine's refusal or failure, translated.
        """
        exchange = await self.client.send("POST", "/v1/completions", _encode({**body, "model": self.model}))
        try:
            if exchange.status != 200:
                raise error_of(exchange.status, read_error(await exchange.body()), blame=blame)
            yield Chunk()
            parser = SSEParser()
            while data := await exchange.read():
                for payload in parser.feed(data):
                    if payload == b"[DONE]":
                        await _finish(exchange)
                        return
                    yield decode_chunk(payload, blame)
        finally:
            exchange.close()

    async def _call(self, path: str) -> None:
        reply = await self.client.request("POST", path)
        if reply.status != 200:
            raise error_of(reply.status, read_error(reply.body))

    async def _post(self, path: str, body: Body, kind: type[_Reply], param: str | None = None) -> _Reply:
        reply = await self.client.request("POST", path, _encode(body))
        if reply.status != 200:
            raise error_of(reply.status, read_error(reply.body), param=param)
        return msgspec.json.decode(reply.body, type=kind)


def read_load(metrics: str) -> Load:
    """Take the load from Prometheus text: requests are summed over engines, of their caches it is the mean."""
    found: dict[str, list[float]] = {}
    for name, value in _GAUGE.findall(metrics):
        found.setdefault(name, []).append(float(value))
    shares = found.get("kv_cache_usage_perc") or found.get("gpu_cache_usage_perc")
    return Load(
        running=int(sum(found.get("num_requests_running", ()))),
        waiting=int(sum(found.get("num_requests_waiting", ()))),
        cache_used=sum(shares) / len(shares) if shares else None,
    )


def error_of(status: int, error: WireError, param: str | None = None, blame: str | None = None) -> EnginehouseError:
    """Translate the engine's error; *param* is the field that the call depended on, *blame* that of a grammar."""
    message = error.message or f"status {status}"
    if status in (400, 413, 422):
        if "grammar" in message.lower() or "structural" in message.lower():
            return InvalidRequest(
                f"The JSON schema cannot be enforced: {message}", param=blame, code="unsupported_schema"
            )
        return InvalidRequest(f"vLLM refuses the request: {message}", param=param or error.param)
    if status == 429:
        return EngineOverloaded(f"vLLM is overloaded: {message}")
    if status == 503:
        return EngineUnavailable(f"vLLM takes no requests now: {message}")
    return EngineFailure(f"vLLM failed: {message}")


def decode_chunk(payload: bytes, blame: str | None) -> Chunk:
    """Decode one event of a stream; *blame* is the field of the grammar.

    Raises:
        EnginehouseError: what the engine reports in it, or that it cannot be read.
    """
    try:
        chunk = _chunks.decode(payload)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise EngineProtocolError(f"vLLM sent an event that cannot be read: {error}") from error
    if chunk.error is not None:
        code = chunk.error.code
        raise error_of(code if isinstance(code, int) else 500, chunk.error, blame=blame)
    return chunk


async def _finish(exchange: Exchange) -> None:
    """Read what is left, which lets the connection be kept."""
    while not exchange.is_complete and await exchange.read():
        pass
