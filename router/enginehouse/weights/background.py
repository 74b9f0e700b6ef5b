"""Weights for the event loop: `resolve` in a thread, cancellable, its progress told on the loop."""

from __future__ import annotations

import asyncio
import threading

from enginehouse.telemetry import get_logger
from enginehouse_plugin import LoadProgress, OnProgress

from .errors import InvalidSource
from .progress import Progress

log = get_logger()


async def resolve_in_background(source: str, on_progress: OnProgress) -> str:
    """The path of the weights of *source*, fetched if they are not here. *on_progress* is called on the loop.

    Cancelling ends the fetch at its next sign of progress and leaves nothing half done.

    Raises:
        LoadError: as `enginehouse.weights.resolve`; also for a source without local weights.
    """
    from . import resolve

    told = _ToLoop(source, on_progress)
    try:
        path = await asyncio.to_thread(resolve, source, progress=told)
    finally:
        told.cancel()
    if path is None:
        raise InvalidSource(
            source, problem="a server has no weights to load here", fix="Use a backend for remote servers, or a path."
        )
    return str(path)


class _Cancelled(Exception):
    """Nobody waits for the weights any more."""


class _ToLoop(Progress):
    def __init__(self, source: str, on_progress: OnProgress) -> None:
        self._source = source
        self._on_progress = on_progress
        self._loop = asyncio.get_running_loop()
        self._is_cancelled = threading.Event()

    def cancel(self) -> None:
        self._is_cancelled.set()

    def note(self, text: str) -> None:
        self._check()
        log.info("weights", source=self._source, note=text)

    def advance(self, stage: str, done_bytes: int, total_bytes: int | None) -> None:
        self._check()
        fraction = min(1.0, done_bytes / total_bytes) if total_bytes else None
        self._loop.call_soon_threadsafe(self._tell, LoadProgress(stage=stage, fraction=fraction))

    def _tell(self, progress: LoadProgress) -> None:
        if not self._is_cancelled.is_set():
            self._on_progress(progress)

    def _check(self) -> None:
        if self._is_cancelled.is_set():
            raise _Cancelled
