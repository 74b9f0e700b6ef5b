"""The weights of a placement: whether they are here, and how they come here."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from enginehouse.config import Config
from enginehouse.telemetry import get_logger
from enginehouse.weights import Disk, LocalSource, Progress, RemoteSource, locate, parse, resolve
from enginehouse_plugin import BackendType, LoadProgress, OnProgress
from enginehouse_plugin.errors import LoadError

Fetch = Callable[[BackendType, str, OnProgress], Awaitable[str | None]]
"""Returns the local path of the weights of a source for a backend, fetched if need be; None: it needs none.

Raises:
    LoadError: there are no such weights.
"""

_NO_LIMIT = Disk()

log = get_logger()


class NotFetched(LoadError):
    """The weights can be fetched, and have not been yet."""

    code = "weights_absent"

    def __init__(self) -> None:
        super().__init__("its weights are not here yet")


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


def disk_of(config: Config) -> Disk:
    """What *config* says of weights on the disk; the sources that it names stay."""
    sources = (placement.source for model in config.models.values() for placement in model.placements)
    return Disk(limit_bytes=config.weights.disk_bytes, stays=frozenset(sources))


def find_weights(backend: BackendType, source: str) -> str | None:
    """The local path of the weights of *source* for *backend*, which are never fetched; None: it needs none.

    Raises:
        NotFetched: they are not here yet, and loading would fetch them.
        LoadError: there are no such weights; see `enginehouse.weights.resolve`.
    """
    if not backend.needs_weights:
        return None
    match parse(source):
        case RemoteSource():
            return None
        case LocalSource():
            path = resolve(source)
        case _:
            path = locate(source)
            if path is None:
                raise NotFetched
    return str(path)


def fetch_weights(backend: BackendType, source: str, progress: Progress, disk: Disk = _NO_LIMIT) -> str | None:
    """The local path of the weights of *source* for *backend*, fetched if need be; None: it needs none. Blocks.

    They stay while this process runs; what is fetched keeps within the limit of *disk*.

    Raises:
        LoadError: see `enginehouse.weights.resolve`.
    """
    path = resolve(source, progress=progress, disk=disk, is_used=True) if backend.needs_weights else None
    return None if path is None else str(path)


async def fetch_in_thread(
    backend: BackendType, source: str, on_progress: OnProgress, disk: Disk = _NO_LIMIT
) -> str | None:
    """Do as `fetch_weights` in a thread, so that the event loop goes on.

    Raises:
        LoadError: see `enginehouse.weights.resolve`.
    """
    reporter = _Reporter(on_progress)
    fetch = asyncio.ensure_future(asyncio.to_thread(fetch_weights, backend, source, reporter, disk))
    try:
        return await asyncio.shield(fetch)
    except asyncio.CancelledError:
        reporter.is_cancelled = True
        # A thread cannot be interrupted: it ends at its next report, and nobody waits for what it says.
        fetch.add_done_callback(lambda done: done.cancelled() or done.exception())
        raise
