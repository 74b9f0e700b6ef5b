"""One loaded model."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import aclosing

from enginehouse_plugin import (
    AnyEvent,
    EngineLoad,
    ExitReport,
    GenerationRequest,
    Instance,
    Started,
    TokenLogprob,
    TopLogprob,
    UsageReport,
)
from enginehouse_plugin.errors import EngineDied, EngineError, EngineProtocolError, EngineUnavailable
from enginehouse_plugin.hosting.child import Child

from . import translate
from .calls import call_reader
from .model import Model
from .prompt import Prompter
from .read import ChoiceReader
from .server import Chunk, Server
from .vocabulary import Vocabulary

_WAITING = re.compile(r"^llamacpp:requests_deferred (\S+)", re.MULTILINE)
_LOGPROB_FLOOR = -9999.0  # for probabilities that a 32-bit float cannot hold


class LlamaCppInstance(Instance):
    """A model that llama.cpp has loaded, in a process of its own."""

    def __init__(self, child: Child, server: Server, model: Model) -> None:
        self.capabilities = model.capabilities
        self._child = child
        self._server = server
        self._model = model
        self._prompter = Prompter(server, model.template, model.control_tokens, model.vocabulary_size)
        self._vocabulary = Vocabulary(server, model.vocabulary_size)
        self._control_ids = frozenset(model.control_tokens.values())
        self._running = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._is_unloading = False

    async def generate(self, request: GenerationRequest) -> AsyncGenerator[AnyEvent, None]:
        """See `Instance.generate`."""
        self.refuse_unsupported(request)
        if self._is_unloading:
            raise EngineUnavailable("The model is being unloaded.")
        self._running += 1
        self._idle.clear()
        try:
            async with aclosing(self._generate(request)) as events:
                async for event in events:
                    yield event
        except EngineError as error:
            raise await self._explained(error) from error
        finally:
            self._running -= 1
            if not self._running:
                self._idle.set()

    async def _generate(self, request: GenerationRequest) -> AsyncGenerator[AnyEvent, None]:
        bias = translate.checked_bias(request, self._model.vocabulary_size)
        prompt_ids = await self._prompter.token_ids(request)
        max_tokens = translate.room_for(request, len(prompt_ids), self._model.context_tokens)
        if request.logprobs:
            await self._vocabulary.load()
        body = translate.completion_body(
            request,
            prompt_ids,
            max_tokens=max_tokens,
            context_tokens=self._model.context_tokens,
            seed=translate.engine_seed(request.seed),
            bias=bias,
            prefix_cache=self._model.prefix_cache,
        )
        readers = [ChoiceReader(choice, calls=call_reader(request)) for choice in range(request.n)]
        cached_tokens: int | None = None
        async with aclosing(self._server.complete(body)) as chunks:
            async for chunk in chunks:
                if cached_tokens is None:
                    cached_tokens = chunk.prompt_progress.cache if chunk.prompt_progress else 0
                    yield Started(len(prompt_ids), cached_tokens)
                reader = readers[chunk.index]
                if chunk.stop:
                    for event in reader.finish(chunk):
                        yield event
                elif chunk.tokens_predicted:
                    for event in reader.read(chunk.content, chunk.tokens_predicted, self._logprobs(chunk, request)):
                        yield event
        if not all(reader.is_finished for reader in readers):
            raise EngineProtocolError("llama.cpp ended the stream before the answer was complete.")
        yield UsageReport(
            prompt_tokens=len(prompt_ids),
            completion_tokens=sum(reader.completion_tokens for reader in readers),
            cached_tokens=cached_tokens or 0,
        )

    def _logprobs(self, chunk: Chunk, request: GenerationRequest) -> Iterable[TokenLogprob]:
        for token in chunk.completion_probabilities:
            if token.id not in self._control_ids:
                piece = self._vocabulary.piece(token.id)
                yield TokenLogprob(
                    token=piece.decode(errors="replace"),
                    token_id=token.id,
                    token_bytes=piece,
                    logprob=max(token.logprob, _LOGPROB_FLOOR),
                    top=tuple(
                        TopLogprob(
                            token=bytes(top.bytes).decode(errors="replace"),
                            token_id=top.id,
                            token_bytes=bytes(top.bytes),
                            logprob=max(top.logprob, _LOGPROB_FLOOR),
                        )
                        for top in token.top_logprobs[: request.top_logprobs]
                    ),
                )

    async def _explained(self, error: EngineError) -> EngineError:
        """If the process has ended, say so with its last words; *error* is only how it was noticed."""
        closed = asyncio.ensure_future(self._child.wait_closed())
        done, _ = await asyncio.wait({closed}, timeout=0.5)
        if not done:
            closed.cancel()
            return error
        report = closed.result()
        return EngineDied(f"llama.cpp ended: {report.reason}", last_words=report.last_words)

    async def count_tokens(self, request: GenerationRequest) -> int:
        """See `Instance.count_tokens`."""
        return len(await self._prompter.token_ids(request))

    async def check_ready(self) -> None:
        """See `Instance.check_ready`."""
        if not await self._server.is_healthy():
            raise await self._explained(EngineUnavailable("llama.cpp does not answer its health check."))

    async def drain(self, timeout_s: float) -> None:
        """See `Instance.drain`."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._idle.wait()
        except TimeoutError:
            return

    async def unload(self) -> None:
        """See `Instance.unload`."""
        self._is_unloading = True
        await self._server.close()
        await self._child.stop()

    async def wait_closed(self) -> ExitReport:
        """See `Instance.wait_closed`."""
        return await self._child.wait_closed()

    async def measure(self) -> EngineLoad:
        """See `Measured.measure`."""
        deferred = _WAITING.search(await self._server.metrics())
        return EngineLoad(
            running=await self.active_requests(), waiting=int(float(deferred.group(1))) if deferred else 0
        )

    async def tokenize(self, text: str) -> Sequence[int]:
        """See `Inspectable.tokenize`."""
        return await self._server.tokenize(text, parse_special=False)

    async def active_requests(self) -> int:
        """See `Inspectable.active_requests`."""
        return sum(slot.is_processing for slot in await self._server.slots())
