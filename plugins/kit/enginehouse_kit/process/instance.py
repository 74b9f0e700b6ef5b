"""What instances have in common whose engine is a server in a supervised process."""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import ClassVar, Protocol

from enginehouse_plugin.backend import ExitReport, Instance
from enginehouse_plugin.errors import EngineDied, EngineError, EngineUnavailable
from enginehouse_plugin.events import AnyEvent
from enginehouse_plugin.request import GenerationRequest

from .child import Child


class EngineServer(Protocol):
    """The server's side that every engine has."""

    async def is_healthy(self) -> bool:
        """Whether the model is loaded and the server answers."""
        ...

    async def close(self) -> None:
        """Close what is open."""


class ProcessInstance(Instance):
    """An instance that lives as long as *child*: it counts what runs, and tells why the process ended."""

    engine: ClassVar[str]
    """The engine's name in messages."""
    stop_grace_s: ClassVar[float] = 5.0

    def __init__(self, child: Child, server: EngineServer) -> None:
        self._child = child
        self._process_server = server
        self._running = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._is_unloading = False

    @abstractmethod
    def answer(self, request: GenerationRequest) -> AsyncGenerator[AnyEvent, None]:
        """Generate; what the instance does not have is refused already."""

    async def generate(self, request: GenerationRequest) -> AsyncGenerator[AnyEvent, None]:
        """See `Instance.generate`."""
        self.refuse_unsupported(request)
        if self._is_unloading:
            raise EngineUnavailable("The model is being unloaded.")
        self._running += 1
        self._idle.clear()
        try:
            async with aclosing(self.answer(request)) as events:
                async for event in events:
                    yield event
        except EngineError as error:
            raise await self._explained(error) from error
        finally:
            self._running -= 1
            if not self._running:
                self._idle.set()

    async def _explained(self, error: EngineError) -> EngineError:
        """If the process has ended, say so with its last words; *error* is only how it was noticed."""
        closed = asyncio.ensure_future(self._child.wait_closed())
        done, _ = await asyncio.wait({closed}, timeout=0.5)
        if not done:
            closed.cancel()
            return error
        report = closed.result()
        return EngineDied(f"{self.engine} ended: {report.reason}", last_words=report.last_words)

    async def check_ready(self) -> None:
        """See `Instance.check_ready`."""
        if not await self._process_server.is_healthy():
            raise await self._explained(EngineUnavailable(f"{self.engine} does not answer its health check."))

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
        await self._process_server.close()
        await self._child.stop(self.stop_grace_s)

    async def wait_closed(self) -> ExitReport:
        """See `Instance.wait_closed`."""
        return await self._child.wait_closed()
