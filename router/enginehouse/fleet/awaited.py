"""Work that is awaited once, as a run."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from enginehouse_plugin import Run, Sink, UsageReport
from enginehouse_plugin.errors import EngineFailure


class AwaitedRun(Run):
    """Awaits *ask* in a task of its own; what that has used is the one event for *sink*."""

    __slots__ = ("_resumed", "_sink", "_task")

    def __init__(self, ask: Callable[[], Awaitable[UsageReport]], sink: Sink) -> None:
        self._sink = sink
        self._resumed: asyncio.Future[None] | None = None  # None: not paused
        self._task = asyncio.get_running_loop().create_task(self._relay(ask))

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
        self._task.cancel()

    async def wait_released(self) -> None:
        """See `Run.wait_released`."""
        await asyncio.wait([self._task])

    async def _relay(self, ask: Callable[[], Awaitable[UsageReport]]) -> None:
        task, sink = self._task, self._sink
        error: Exception | None = None
        try:
            report = await ask()
            while self._resumed is not None:
                await self._resumed
            if task.cancelling():  # what swallows cancellation breaks C2, and nobody hears of it
                return
            sink.events((report,))
        except Exception as failure:  # noqa: BLE001  # whatever a backend raises is for the sink to judge
            error = failure
        except asyncio.CancelledError as cancelled:
            if task.cancelling():
                raise
            # Nobody has cancelled this task: the backend waited for what was cancelled under its hands.
            error = EngineFailure("What the backend waited for was cancelled.")
            error.__cause__ = cancelled
        if not task.cancelling():
            sink.end(error)
