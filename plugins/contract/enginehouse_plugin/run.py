"""How the router asks an instance to generate: events are pushed into a `Sink`, a `Run` steers them.

Authors write `Instance.generate`, an async generator, and nothing else: `Instance.start` relays it. An adapter that
hears of its engine in callbacks implements `start` itself, and gets `generate` from `pulled`.
"""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import AsyncGenerator, Callable, Sequence
from typing import Generic, Protocol, TypeVar

from .errors import EngineFailure
from .events import AnyEvent
from .request import GenerationRequest


class Sink(Protocol):
    """Where the events of one request go. Its methods are called on the event loop's thread; they never block."""

    def events(self, batch: Sequence[AnyEvent]) -> None:
        """Take the events that have come together, in their order (S1); never an empty batch."""

    def end(self, error: Exception | None) -> None:
        """Hear that nothing follows and the engine's slot is free; *error* says why it failed (S3), if it did."""


class Run(ABC):
    """One request that an instance works on. All methods are idempotent, and do nothing once it has ended."""

    __slots__ = ()

    @abstractmethod
    def pause(self) -> None:
        """Hold back all events but those that are under way, until `resume` (C3)."""

    @abstractmethod
    def resume(self) -> None:
        """Let events come again."""

    @abstractmethod
    def cancel(self) -> None:
        """End the work at once (C1). The sink hears nothing more, not even its end (C2)."""

    @abstractmethod
    async def wait_released(self) -> None:
        """Wait until the engine's slot is free: at once after the end, within C1's time after `cancel`."""


Start = Callable[[GenerationRequest, Sink], Run]

Source = TypeVar("Source")


class CoroutineRun(Run, Generic[Source]):
    """Has `work` push what it makes of *source* into *sink*, in a task of its own."""

    __slots__ = ("_is_cancelled", "_resumed", "_task")

    def __init__(self, source: Source, sink: Sink) -> None:
        self._is_cancelled = False
        self._resumed: asyncio.Future[None] | None = None  # None: not paused
        self._task = asyncio.get_running_loop().create_task(self.work(source, sink))

    @abstractmethod
    async def work(self, source: Source, sink: Sink) -> None:
        """Push events, and say `_end`, also with what is raised: a failure, or a cancellation.

        None is pushed before `_resumed`, where that is there, nor once `_is_cancelled`: a *source* may swallow that.
        """

    def pause(self) -> None:
        """See `Run.pause`."""
        if self._resumed is None and not self._task.done():
            self._resumed = self._task.get_loop().create_future()

    def resume(self) -> None:
        """See `Run.resume`."""
        resumed, self._resumed = self._resumed, None
        if resumed is not None and not resumed.done():
            resumed.set_result(None)

    def cancel(self) -> None:
        """See `Run.cancel`."""
        self._is_cancelled = True
        self._task.cancel()

    async def wait_released(self) -> None:
        """See `Run.wait_released`."""
        await asyncio.wait([self._task])

    def _end(self, sink: Sink, problem: Exception | asyncio.CancelledError | None = None) -> None:
        """Tell *sink* of the end, and of *problem* as its reason: one that has cancelled this task is raised again."""
        failure = None if problem is None else failure_of(problem, self._task)
        if not self._is_cancelled:
            sink.end(failure)


def failure_of(problem: Exception | asyncio.CancelledError, task: asyncio.Task[None]) -> Exception:
    """What a sink hears of *problem*, which *task* has met; a cancellation of *task* itself is raised again."""
    if not isinstance(problem, asyncio.CancelledError):
        return problem
    if task.cancelling():
        raise problem
    # Nobody has cancelled this task: the backend waited for what was cancelled under its hands.
    failure = EngineFailure("What the backend waited for was cancelled.")
    failure.__cause__ = problem
    return failure


_TURN_S = 0.005
"""Events that have piled up, while a client did not read, are handed on for this long before others have their turn."""


class GeneratedRun(CoroutineRun[AsyncGenerator[AnyEvent, None]]):
    """Relays a generator of events."""

    __slots__ = ("_turn_began_at",)

    async def work(self, source: AsyncGenerator[AnyEvent, None], sink: Sink) -> None:
        """See `CoroutineRun.work`."""
        self._turn_began_at: float | None = None  # None: the loop has gone on since the last event
        try:
            try:
                async for event in source:
                    if self._is_cancelled:  # a generator that swallows cancellation breaks C2 and is left here
                        return
                    sink.events((event,))
                    if self._resumed is not None:
                        await self._resumed
                    elif self._has_had_its_turn():
                        await asyncio.sleep(0)
            finally:
                await source.aclose()
        except (Exception, asyncio.CancelledError) as problem:  # noqa: BLE001  # the sink judges what a backend raises
            self._end(sink, problem)
        else:
            self._end(sink)

    def _has_had_its_turn(self) -> bool:
        """Whether events have been handed on for a while without the generator having waited for any."""
        now = time.monotonic()
        if self._turn_began_at is None:
            self._turn_began_at = now
            self._task.get_loop().call_soon(self._end_turn)
            return False
        return now - self._turn_began_at > _TURN_S

    def _end_turn(self) -> None:
        self._turn_began_at = None


class _Inbox:
    """A sink from which events are pulled one by one; while many wait, their run is paused."""

    MANY = 256

    def __init__(self) -> None:
        self.waiting: deque[AnyEvent] = deque()
        self.is_over = False
        self.error: Exception | None = None
        self.run: Run | None = None
        self.reader: asyncio.Future[None] | None = None

    def events(self, batch: Sequence[AnyEvent]) -> None:
        self.waiting.extend(batch)
        if len(self.waiting) > self.MANY and self.run is not None:
            self.run.pause()
        self._wake()

    def end(self, error: Exception | None) -> None:
        self.is_over = True
        self.error = error
        self._wake()

    def _wake(self) -> None:
        if self.reader is not None and not self.reader.done():
            self.reader.set_result(None)


async def pulled(start: Start, request: GenerationRequest) -> AsyncGenerator[AnyEvent, None]:
    """Yield the events that *start* pushes for *request*; closing it cancels the run and waits for its slot."""
    inbox = _Inbox()
    run = inbox.run = start(request, inbox)
    try:
        while True:
            while inbox.waiting:
                yield inbox.waiting.popleft()
            if inbox.is_over:
                break
            run.resume()
            inbox.reader = asyncio.get_running_loop().create_future()
            await inbox.reader
        if inbox.error is not None:
            raise inbox.error
    finally:
        if not inbox.is_over:
            run.cancel()
            await run.wait_released()
