"""Lines on their way to a log: whoever adds one never waits, and never fails.

A thread writes them. What comes within `GATHER_S` shares a write. While the log takes nothing (a pipe that nobody
reads, a full disk) lines wait, up to `MAX_WAITING` of them; further ones are lost, counted, and told of as soon as
the log takes lines again.
"""

from __future__ import annotations

import os
import queue
import threading
import time
from collections.abc import Callable
from typing import Final, TextIO

GATHER_S: Final = 0.01
MAX_WAITING: Final = 4096
"""A line has at most `logs.MAX_LINE_BYTES`, so that this bounds memory."""

Write = Callable[[bytes], None]


class Lines:
    """Lines for *out*; *on_lost* is called by the writing thread with the number of lines that were lost."""

    def __init__(self, out: TextIO, on_lost: Callable[[int], None]) -> None:
        self._write = _writer(out)
        self._on_lost = on_lost
        self._lost = 0
        self._told = 0
        self._lock = threading.RLock()
        # Adding must be possible at any point of any thread, also while an object ends in the midst of adding. So
        # lines are appended to a list, which one step does, and a simple queue wakes the thread: it is made for that.
        self._waiting: list[bytes] = []
        self._signals: queue.SimpleQueue[threading.Event | None] = queue.SimpleQueue()
        self._is_awake = False  # it will look at the list again
        self._thread: threading.Thread | None = None

    @property
    def lost(self) -> int:
        """How many lines were lost."""
        return self._lost

    def add(self, line: bytes) -> None:
        """Have *line* written, which has no line break."""
        if len(self._waiting) >= MAX_WAITING:
            self._lose(1)
            return
        self._waiting.append(line)
        if not self._is_awake:
            self._is_awake = True
            self._signals.put(None)
            if self._thread is None:
                self._start()

    def flush(self, timeout_s: float) -> bool:
        """Wait until the lines that were added before are written or lost; returns whether they are."""
        if self._thread is None:
            return True
        written = threading.Event()
        self._signals.put(written)
        return written.wait(timeout_s)

    def _start(self) -> None:
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._write_all, name="log", daemon=True)
                self._thread.start()

    def _lose(self, lines: int) -> None:
        with self._lock:
            self._lost += lines

    def _write_all(self) -> None:
        while True:
            signals = [self._signals.get()]
            if signals[0] is None:
                time.sleep(GATHER_S)
            signals += [self._signals.get_nowait() for _ in range(self._signals.qsize())]
            self._is_awake = False  # before the look: who adds after it signals again
            lines = self._waiting[:]
            del self._waiting[: len(lines)]
            if lines:
                lines.append(b"")
                try:
                    self._write(b"\n".join(lines))
                except (OSError, ValueError):  # a full disk, a broken pipe; a stream that was closed
                    self._lose(len(lines) - 1)
                else:
                    self._tell()
            for signal in signals:
                if signal is not None:
                    signal.set()

    def _tell(self) -> None:
        untold = self._lost - self._told
        if untold:
            self._told += untold
            self._on_lost(untold)


def _writer(out: TextIO) -> Write:
    try:
        descriptor = out.fileno()
    except (OSError, ValueError):  # a stream in memory has none

        def write_text(data: bytes) -> None:
            out.write(data.decode())
            out.flush()

        return write_text

    is_cut = False  # the log ends within a line, whose rest is lost

    def write(data: bytes) -> None:
        # Past the stream: its lock would make others wait who write to standard error while the log is stuck.
        nonlocal is_cut
        rest = memoryview(b"\n" + data if is_cut else data)
        while rest:
            written = os.write(descriptor, rest)
            is_cut = written < len(rest)
            rest = rest[written:]

    return write
