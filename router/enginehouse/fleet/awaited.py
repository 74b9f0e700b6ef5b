"""Work that is awaited once, as a run."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from enginehouse_plugin import CoroutineRun, Sink, UsageReport


class AwaitedRun(CoroutineRun[Callable[[], Awaitable[UsageReport]]]):
    """Awaits what it is given to ask; what that has used is the one event."""

    __slots__ = ()

    async def work(self, source: Callable[[], Awaitable[UsageReport]], sink: Sink) -> None:
        """See `CoroutineRun.work`."""
        try:
            report = await source()
            while self._resumed is not None:
                await self._resumed
            if not self._is_cancelled:
                sink.events((report,))
        except (Exception, asyncio.CancelledError) as problem:  # noqa: BLE001  # the sink judges what a backend raises
            self._end(sink, problem)
        else:
            self._end(sink)
