"""Weights for an instance that loads: fetched in a thread, so that the event loop goes on."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from enginehouse.telemetry import get_logger
from enginehouse.weights import Progress, resolve
from enginehouse_plugin import LoadProgress, OnProgress

ResolveSource = Callable[[str, OnProgress], Awaitable[str | None]]
"""Turns a source of weights into a local path (None: it has none here); it may download.

Raises:
    LoadError: there are no such weights.
"""

log = get_logger()


class _Cancelled(Exception):
    """The load that wanted the weights was cancelled."""


class _Reporter(Progress):
    """Hands a fetch's progress from its thread to the event loop; ends the fetch once `is_cancelled`."""

    def __init__(self, on_progress: OnProgress) -> None:
        self.is_cancelled = False
        self._on_progress = on_progress
        self._loop = asyncio.get_running_loop()
        self._last: tuple[str, int] | None = None

    def note(self, text: str) -> None:
        self._refuse_cancelled()
        log.info("weights", note=text)

    def advance(self, stage: str, done_bytes: int, total_bytes: int | None) -> None:
        self._refuse_cancelled()
        fraction = done_bytes / total_bytes if total_bytes else None
        step = (stage, int((fraction or 0.0) * 100))
        if step != self._last:  # at most a hundred calls into the loop for each stage
            self._last = step
            self._loop.call_soon_threadsafe(self._on_progress, LoadProgress(stage=stage, fraction=fraction))

    def _refuse_cancelled(self) -> None:
        if self.is_cancelled:
            raise _Cancelled


async def resolve_source(source: str, on_progress: OnProgress) -> str | None:
    """The local path of the weights of *source*, fetched if need be.

    Raises:
        LoadError: see `enginehouse.weights.resolve`.
    """
    reporter = _Reporter(on_progress)
    fetch = asyncio.ensure_future(asyncio.to_thread(resolve, source, progress=reporter))
    try:
        path = await asyncio.shield(fetch)
    except asyncio.CancelledError:
        reporter.is_cancelled = True
        # A thread cannot be interrupted: it ends at its next report, and nobody waits for what it says.
        fetch.add_done_callback(lambda done: done.cancelled() or done.exception())
        raise
    return None if path is None else str(path)
