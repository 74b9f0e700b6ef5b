"""One loaded model."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from enginehouse_plugin import (
    AnyEvent,
    EngineLoad,
    ExitReport,
    GenerationRequest,
    Instance,
)
from enginehouse_plugin.errors import EngineDied, EngineError, EngineUnavailable
from enginehouse_plugin.hosting.child import Child

from . import translate
from .generation import Generation
from .model import Model
from .prompt import Prompter
from .server import Server
from .vocabulary import Vocabulary

_WAITING = re.compile(r"^llamacpp:requests_deferred (\S+)", re.MULTILINE)


class LlamaCppInstance(Instance):
    """A model that llama.cpp has loaded, in a process of its own."""

    def __init__(self, child: Child, server: Server, model: Model) -> None:
        self.capabilities = model.capabilities
        self._child = child
        self._server = server
        self._model = model
        self._prompter = Prompter(server, model)
        self._vocabulary = Vocabulary(server, model.vocabulary_size, model.control_ids)
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
        translate.check(request, self._model.vocabulary_size)
        prompt = await self._prompter.prompt(request)
        generation = Generation(self._server, self._vocabulary, self._model, request, prompt)
        async with aclosing(generation.events()) as events:
            async for event in events:
                yield event

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
        return len((await self._prompter.prompt(request)).token_ids)

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
