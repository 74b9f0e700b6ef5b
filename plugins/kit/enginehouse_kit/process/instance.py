"""What instances have in common whose engine is a server in a supervised process."""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import ClassVar, Protocol

from enginehouse_plugin.backend import ExitReport, Instance
from enginehouse_plugin.errors import EngineDied, EngineError, EngineUnavailable
from enginehouse_plugin.events import AnyEvent
from enginehouse_plugin.request import GenerationRequest
from enginehouse_plugin.run import Run, Sink, failure_of, pulled

from .child import Child


class EngineServer(Protocol):
    """The server's side that every engine has."""

    async def is_healthy(self) -> bool:
        """Whether the model is loaded and the engine behind the server answers, between two of its steps."""
        ...

    async def close(self) -> None:
        """Close what is open."""


Begin = Callable[[Sink], Run]
"""Begins a run whose request is prepared; returns before the sink is called."""


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
    async def prepare(self, request: GenerationRequest) -> Begin:
        """Do what must be awaited before the engine is asked, as tokenizing the prompt; what the instance does not have
        is refused already.
        """

    def start(self, request: GenerationRequest, sink: Sink) -> Run:
        """See `Instance.start`."""
        self.refuse_unsupported(request)
        if self._is_unloading:
            raise EngineUnavailable("The model is being unloaded.")
        return _Supervised(self, request, sink)

    def generate(self, request: GenerationRequest) -> AsyncGenerator[AnyEvent, None]:
        """See `Instance.generate`."""
        return pulled(self.start, request)

    async def check(self, request: GenerationRequest) -> None:
        """See `Instance.check`."""
        self.refuse_unsupported(request)
        await self.prepare(request)

    def count(self, change: int) -> None:
        """Count runs that begin and end."""
        self._running += change
        if self._running:
            self._idle.clear()
        else:
            self._idle.set()

    @asynccontextmanager
    async def working(self) -> AsyncIterator[None]:
        """Count the block as a request that runs, for tasks that no run does; its failure is explained.

        Raises:
            EngineUnavailable: the model is being unloaded.
        """
        if self._is_unloading:
            raise EngineUnavailable("The model is being unloaded.")
        self.count(1)
        try:
            yield
        except EngineError as error:
            raise await self.explained(error) from error
        finally:
            self.count(-1)

    async def explained(self, error: EngineError) -> EngineError:
        """Return *error*, or where the process has ended, that: *error* is then only how it was noticed."""
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
            raise await self.explained(EngineUnavailable(f"{self.engine} does not answer its health check."))

    @property
    def process_ids(self) -> tuple[int, ...]:
        """See `Resident.process_ids`."""
        return (self._child.pid,)

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


class _Supervised(Run):
    """A request to *instance*: prepared in a task, then a run of its own kind, for which it is the sink.

    Events go straight on; a failure is explained where the process has ended.
    """

    __slots__ = ("_instance", "_is_over", "_is_paused", "_preparing", "_run", "_sink", "_tasks", "events")

    def __init__(self, instance: ProcessInstance, request: GenerationRequest, sink: Sink) -> None:
        self.events = sink.events
        self._instance = instance
        self._sink = sink
        self._run: Run | None = None
        self._is_over = False
        self._is_paused = False
        instance.count(1)
        self._preparing = asyncio.ensure_future(self._prepare(request))
        self._tasks = [self._preparing]

    def pause(self) -> None:
        """See `Run.pause`."""
        self._is_paused = True
        if self._run is not None:
            self._run.pause()

    def resume(self) -> None:
        """See `Run.resume`."""
        self._is_paused = False
        if self._run is not None:
            self._run.resume()

    def cancel(self) -> None:
        """See `Run.cancel`."""
        if self._is_over:
            return
        self._is_over = True
        if self._run is not None:
            self._run.cancel()
        for task in self._tasks:
            task.cancel()
        self._tasks.append(asyncio.ensure_future(self._leave(self._run, tuple(self._tasks))))

    async def wait_released(self) -> None:
        """See `Run.wait_released`."""
        await asyncio.wait([self._preparing])
        if self._run is not None:
            await self._run.wait_released()
        await asyncio.wait(self._tasks)

    def end(self, error: Exception | None) -> None:
        """See `Sink.end`."""
        if isinstance(error, EngineError):
            self._tasks.append(asyncio.ensure_future(self._explain(error)))
        else:
            self._end(error)

    def _end(self, error: Exception | None) -> None:
        self._is_over = True
        self._instance.count(-1)
        self._sink.end(error)

    async def _prepare(self, request: GenerationRequest) -> None:
        try:
            self._run = (await self._instance.prepare(request))(self)
        except (Exception, asyncio.CancelledError) as problem:  # noqa: BLE001  # the sink judges what a backend raises
            self.end(failure_of(problem, self._preparing))
            return
        if self._is_paused:
            self._run.pause()

    async def _explain(self, error: EngineError) -> None:
        self._end(await self._instance.explained(error))

    async def _leave(self, run: Run | None, ending: tuple[asyncio.Task[None], ...]) -> None:
        await asyncio.wait(ending)
        if run is not None:
            await run.wait_released()
        self._instance.count(-1)
