"""A remote model, ready to generate."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, TypeVar

import msgspec

from enginehouse_kit.http.openai import encode
from enginehouse_kit.http.openai_schema import read_error
from enginehouse_kit.text.bounds import check_bias
from enginehouse_plugin import (
    AnyEvent,
    Capabilities,
    Chat,
    EngineLoad,
    ExitReport,
    GenerationRequest,
    Instance,
    Run,
    Sink,
    Text,
    Tokenized,
    TokenizeRequest,
    pulled,
)
from enginehouse_plugin.errors import EngineError, EngineProtocolError, EngineUnavailable, UnsupportedFeature
from enginehouse_plugin.events import UsageReport

from .dialect import UpstreamDialect
from .options import UpstreamOptions
from .raw import RawDialect

if TYPE_CHECKING:
    from .client import Client


_LOAD_HEADER: Final = b"x-enginehouse-load"
_LOAD: Final = re.compile(rb"running=(\d{1,6}), waiting=(\d{1,6})")


class _Tokens(msgspec.Struct, frozen=True):
    count: int
    tokens: tuple[int, ...]
    token_strs: tuple[str, ...] | None = None


class _Prompt(msgspec.Struct, frozen=True):
    prompt: str


_Told = TypeVar("_Told", _Tokens, _Prompt)


class UpstreamInstance(Instance):
    """The model called *model* at the server behind *client*; *name* is the server's in messages."""

    def __init__(
        self,
        client: Client,
        dialect: UpstreamDialect,
        model: str,
        capabilities: Capabilities,
        options: UpstreamOptions,
        health_path: str,
        name: str,
    ) -> None:
        self.capabilities = capabilities
        self._client = client
        self._dialect = dialect
        self._raw = RawDialect(dialect) if dialect.kind.takes_raw else None
        self._model = model
        self._options = options
        self._health_path = health_path
        self._name = name
        self._healthy_at: float | None = None  # None: something has failed since
        self._closed = asyncio.Event()
        self._load = EngineLoad(running=0, waiting=0)
        if options.from_host is not None:
            client.on_head = self._hear_load

    def generate(self, request: GenerationRequest) -> AsyncGenerator[AnyEvent, None]:
        """See `Instance.generate`."""
        return pulled(self.start, request)

    def start(self, request: GenerationRequest, sink: Sink) -> Run:
        """See `Instance.start`."""
        self.refuse_unsupported(request)
        if request.logit_bias and self.capabilities.vocabulary_size is not None:
            check_bias(request, self.capabilities.vocabulary_size)  # some servers ignore what they do not have
        if self._closed.is_set():
            raise EngineUnavailable(f"{self._name} is no longer used.")
        dialect = self._raw if self._raw is not None and type(request.prompt) is not Chat else self._dialect
        body = encode(dialect.body_of(request, self._model))
        heard = _Heard(self, sink)
        return self._client.start(dialect.path, body, dialect.reader(request), heard, is_stream=request.stream)

    async def count_tokens(self, request: GenerationRequest) -> int:
        """See `Instance.count_tokens`: no server counts for everybody, so that one token is asked for."""
        short = msgspec.structs.replace(request, max_tokens=1, stream=False, n=1, output=None, logprobs=False)
        counts = [event.prompt_tokens async for event in self.generate(short) if isinstance(event, UsageReport)]
        return counts[0]

    async def tokenize_prompt(self, wanted: TokenizeRequest) -> Tokenized:
        """See `Tokenizer.tokenize_prompt`, where the server has that."""
        request = wanted.request
        body: dict[str, Any] = {"model": self._model, "return_token_strs": wanted.texts}
        if isinstance(request.prompt, Chat):
            chat = self._dialect.body_of(request, self._model)
            body |= {name: chat[name] for name in ("messages", "tools", "chat_template_kwargs") if name in chat}
        elif isinstance(request.prompt, Text):
            body |= {"prompt": request.prompt.text, "add_special_tokens": wanted.special}
        else:
            return Tokenized(token_ids=request.prompt.token_ids)
        told = await self._asked("/tokenize", body, _Tokens)
        if wanted.texts and (told.token_strs is None or len(told.token_strs) != len(told.tokens)):
            raise EngineProtocolError(f"{self._name} did not tell the texts of the tokens.")
        return Tokenized(token_ids=told.tokens, texts=told.token_strs if wanted.texts else None)

    async def detokenize(self, token_ids: Sequence[int]) -> str:
        """See `Tokenizer.detokenize`, where the server has that."""
        body = {"model": self._model, "tokens": token_ids}
        return (await self._asked("/detokenize", body, _Prompt)).prompt

    async def _asked(self, path: str, body: dict[str, Any], kind: type[_Told]) -> _Told:
        """What the server answers at *path*, beside its API or below it."""
        if self._closed.is_set():
            raise EngineUnavailable(f"{self._name} is no longer used.")
        root = self._dialect.path.removesuffix("/chat/completions").removesuffix("/v1")
        sent = msgspec.json.encode(body)
        reply = await self._client.request("POST", root + path, sent)
        if reply.status == 200:
            # What has another form is another route of this name: llama-server's takes other fields, and tells nothing.
            with suppress(msgspec.DecodeError):
                return msgspec.json.decode(reply.body, type=kind)
        elif reply.status not in (404, 405):
            raise self._dialect.error_of(reply.status, read_error(reply.body))
        told = f"The server of this model has no '{path}' of vLLM's form."
        raise UnsupportedFeature(path.removeprefix("/"), param="model", message=told)

    async def check_ready(self) -> None:
        """See `Instance.check_ready`; asked of the server only after a failure, or when the last answer is old."""
        now = asyncio.get_running_loop().time()
        if self._healthy_at is not None and now < self._healthy_at + self._options.health_interval_s:
            return
        try:
            async with asyncio.timeout(self._options.probe_timeout_s):
                status = (await self._client.request("GET", self._health_path)).status
        except TimeoutError:
            told = f"{self._name} did not answer {self._health_path} within {self._options.probe_timeout_s:g} s."
            raise EngineUnavailable(told) from None
        # One that asks us to come less often is up.
        if status != 200 and status != 429:
            raise EngineUnavailable(f"{self._name} answered {self._health_path} with status {status}.")
        self._healthy_at = now

    async def measure(self) -> EngineLoad:
        """See `Measured.measure`: what another host has told with its last answer."""
        return self._load

    def _hear_load(self, headers: Sequence[tuple[bytes, bytes]]) -> None:
        for name, value in headers:
            if name.lower() == _LOAD_HEADER and (told := _LOAD.fullmatch(value)):
                running, waiting = map(int, told.groups())
                self._load = EngineLoad(running=running, waiting=waiting, told_at=time.monotonic())

    def note_failure(self) -> None:
        """Hear that a request has failed: what was known of the server's health is void."""
        self._healthy_at = None

    async def unload(self) -> None:
        """See `Instance.unload`: the server stays as it is."""
        self._closed.set()
        await self._client.close()

    async def wait_closed(self) -> ExitReport:
        """See `Instance.wait_closed`: a server that is away is found by `check_ready`."""
        await self._closed.wait()
        return ExitReport(is_expected=True, reason="unloaded")


class _Heard:
    """Hands on what goes to *sink*, and tells the instance of failures."""

    __slots__ = ("_instance", "_sink", "events")

    def __init__(self, instance: UpstreamInstance, sink: Sink) -> None:
        self.events = sink.events
        self._instance = instance
        self._sink = sink

    def end(self, error: Exception | None) -> None:
        """See `Sink.end`."""
        if isinstance(error, EngineError):
            self._instance.note_failure()
        self._sink.end(error)
