"""Notices that the event loop is blocked, and says by what: a line of the log, and metrics.

A timer on the loop beats. A beat that comes late, while the loop's thread has computed, tells of a block; that is
measured as the thread's processor time, so that a machine with other work to do blocks nothing. A second thread looks
whether the beat stays away, and then at what the loop's thread is doing. Python's collector of cycles runs wherever an
object is made, so what it takes is told beside that; it stops the loop from other threads too, and is counted there.
"""

from __future__ import annotations

import asyncio
import gc
import os
import sys
import threading
import time
from types import FrameType
from typing import Any

import msgspec

from .logs import get_logger

LIMIT_VARIABLE = "ENGINEHOUSE_BLOCKED_LOOP_MS"
"""Sets the limit; the tests of this project set it to 50 and fail on any block."""

_LIMIT_S = 0.1
_LEAST_LIMIT_S, _MOST_LIMIT_S = 0.001, 3600.0
_LATE_S = 2.0
"""A loop that is this late without computing waits for something, or gets no processor."""
_FRAMES = 6
_INNER = ("importlib.", "typing")  # of an import it matters who imports what

log = get_logger()


class Blocks(msgspec.Struct):
    """What has been noticed in this process: how often the loop was blocked, and for how long in all."""

    count: int = 0
    total_s: float = 0.0


BLOCKS = Blocks()


class Sample(msgspec.Struct, frozen=True):
    """What the loop's thread was doing: for which request, and where, innermost first."""

    request_id: str | None
    where: tuple[str, ...]


class Watchdog:
    """Watches the running event loop from `start` to `stop`."""

    def __init__(self, limit_s: float | None = None) -> None:
        self._limit_s = limit_s if limit_s is not None else _limit_s()
        self._beat_s = self._limit_s / 5
        self._thread_id = threading.get_ident()
        self._beats = 0
        self._sample: tuple[int, Sample] | None = None  # with the beat that stayed away
        self._collecting_since_s = self._collected_s = self._collected_elsewhere_s = 0.0
        self._ends = threading.Event()
        self._watching = threading.Thread(target=self._watch, name="watchdog", daemon=True)

    def start(self) -> None:
        """Begin, on the loop's thread."""
        self._loop = asyncio.get_running_loop()
        self._wait()
        gc.callbacks.append(self._collects)
        self._watching.start()

    def stop(self) -> None:
        """End."""
        self._timer.cancel()
        gc.callbacks.remove(self._collects)
        self._ends.set()
        self._watching.join()

    # ---- on the loop's thread ----

    def _wait(self) -> None:
        self._beats += 1
        self._due_at = self._loop.time() + self._beat_s
        self._computed_s = time.thread_time()
        self._collected_s = self._collected_elsewhere_s = 0.0
        self._timer = self._loop.call_at(self._due_at, self._beat)

    def _beat(self) -> None:
        late_s = self._loop.time() - self._due_at
        if late_s >= self._limit_s:
            blocked_s = min(late_s, time.thread_time() - self._computed_s + self._collected_elsewhere_s)
            if blocked_s >= self._limit_s:
                BLOCKS.count += 1
                BLOCKS.total_s += blocked_s
                log.warning("event loop blocked", **self._told(blocked_s, late_s))
            elif late_s >= _LATE_S:
                log.warning("event loop late", **self._told(blocked_s, late_s))
        self._wait()

    def _told(self, blocked_s: float, late_s: float) -> dict[str, Any]:  # Any: values of a log line
        beats, sample = self._sample or (0, None)
        if sample is None or beats != self._beats:
            sample = Sample(None, ())
        return {
            "computed_s": round(blocked_s, 3),
            "late_s": round(late_s, 3),
            "collecting_s": round(self._collected_s, 3),
            "id": sample.request_id,
            "where": list(sample.where),
        }

    # ---- on whatever thread the collector runs, one at a time ----

    def _collects(self, phase: str, _: dict[str, int]) -> None:
        if phase == "start":
            self._collecting_since_s = time.thread_time()
            return
        took_s = time.thread_time() - self._collecting_since_s
        self._collected_s += took_s
        if threading.get_ident() != self._thread_id:
            self._collected_elsewhere_s += took_s

    # ---- on a thread of its own ----

    def _watch(self) -> None:
        heard, is_late = -1, False
        while not self._ends.wait(self._limit_s / 2):
            beats = self._beats
            # The second look at the same beat: it has stayed away for half of the limit at least.
            if beats == heard and not is_late and (frame := sys._current_frames().get(self._thread_id)):
                self._sample = beats, _sampled(frame)
                is_late = True
            elif beats != heard:
                heard, is_late = beats, False


def _limit_s() -> float:
    try:
        limit_s = float(os.environ.get(LIMIT_VARIABLE, "")) / 1000
    except ValueError:
        return _LIMIT_S
    return limit_s if _LEAST_LIMIT_S <= limit_s <= _MOST_LIMIT_S else _LIMIT_S  # also what is no number of seconds


def _sampled(frame: FrameType) -> Sample:
    where: list[str] = []
    request_id: str | None = None
    at: FrameType | None = frame
    while at is not None:
        module = str(at.f_globals.get("__name__"))
        if len(where) < _FRAMES and not module.startswith(_INNER):
            where.append(f"{module}.{at.f_code.co_name}:{at.f_lineno}")
        request_id = request_id or _request_id(at)
        at = at.f_back
    return Sample(request_id, tuple(where))


def _request_id(frame: FrameType) -> str | None:
    """The id of the request that *frame* works on: its `self`, exchange or facts know it."""
    for name in ("self", "exchange", "facts"):
        held = frame.f_locals.get(name)
        for known in (held, getattr(held, "_exchange", None)):
            found = getattr(known, "request_id", None)
            if isinstance(found, str) and found:
                return found
        found = getattr(getattr(held, "_request", None), "id", None)
        if isinstance(found, str):
            return found
    return None
