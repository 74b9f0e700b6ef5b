"""Usage that outlives the process: one row for each request that reached an engine.

The event loop only puts rows into a queue. A thread takes all that have come and commits them together, so that one
commit serves many requests under load. Requests that run longer than `CHECKPOINT_S` are noted with their counts so
far, again and again while these change: when a router is killed, at most the last second of its streams is missing.
"""

from __future__ import annotations

import queue
import threading
import time
from contextlib import suppress
from typing import Final

from enginehouse.telemetry import get_logger

from .facts import Facts
from .store import CHECKPOINT_S, TIMES, Row, Store, StoreError, row

SETTLE_S: Final = 30.0
"""How often a router looks for others that are gone."""
GATHER_S: Final = 0.02
"""How long a row waits for others: a commit takes the interpreter's lock from the event loop, so there are few of them.
A router that is killed may lose what ended within this time."""
_RETRY_S: Final = 1.0
_MAX_BATCH: Final = 1000

log = get_logger()


class Ledger:
    """Keeps usage in *store*, which it closes at its end."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = threading.Lock()  # a request is either in `_running` or in the queue, and never in both
        self._running: dict[Facts, int] = {}
        self._serial = 0
        self._noted: dict[int, Row] = {}
        self._noted_at = self._settled_at = time.monotonic()
        self._rows: queue.SimpleQueue[tuple[int, Row] | threading.Event | None] = queue.SimpleQueue()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._write_all, name="usage ledger", daemon=True)
        self._thread.start()

    def track(self, facts: Facts) -> None:
        """Follow a request that is on its way to an engine, until it is added."""
        with self._lock:
            if facts not in self._running:
                self._serial += 1
                self._running[facts] = self._serial

    def add(self, facts: Facts) -> None:
        """Keep a request that has ended, if it reached an engine; returns at once."""
        with self._lock:
            serial = self._running.pop(facts, None)
            if facts.instance_id is not None:
                if serial is None:
                    serial = self._serial = self._serial + 1
                self._rows.put((serial, row(facts)))

    def flush(self, timeout_s: float) -> bool:
        """Wait until everything added before is committed; returns whether it is."""
        committed = threading.Event()
        self._rows.put(committed)
        return committed.wait(timeout_s)

    def close(self) -> None:
        """Commit what is left and close the store. Blocks; call it once, when nothing is added any more."""
        self._closing.set()
        self._rows.put(None)
        self._thread.join()

    def _write_all(self) -> None:
        is_last = False
        while not is_last:
            ended: dict[int, Row] = {}
            waiting: list[threading.Event] = []
            with suppress(queue.Empty):
                item = self._rows.get(timeout=CHECKPOINT_S)
                if isinstance(item, tuple):
                    self._closing.wait(GATHER_S)
                while True:
                    if item is None:
                        is_last = True
                    elif isinstance(item, threading.Event):
                        waiting.append(item)
                    else:
                        ended[item[0]] = item[1]
                    if is_last or len(ended) >= _MAX_BATCH:
                        break
                    item = self._rows.get_nowait()
            self._commit(ended)
            for event in waiting:
                event.set()
        self._store.close()

    def _notes(self) -> dict[int, Row]:
        """Rows of requests that run and have changed since they were noted, once in `CHECKPOINT_S`."""
        now = time.monotonic()
        if now - self._noted_at < CHECKPOINT_S:
            return {}
        self._noted_at = now
        with self._lock:
            running = list(self._running.items())
        rows = {
            serial: row(facts) for facts, serial in running if facts.instance_id and facts.duration_s > CHECKPOINT_S
        }
        return {serial: note for serial, note in rows.items() if self._noted.get(serial) != note[TIMES:]}

    def _commit(self, ended: dict[int, Row]) -> None:
        """Keep *ended* and notes; while that fails (a full disk) try again, but do not hold up the process's end."""
        is_reported = False
        while True:
            notes = self._notes()
            try:
                self._store.commit(ended, notes)
                self._settle()
            except StoreError as error:
                self._noted.clear()  # what was noted may be gone with the file
                if self._closing.is_set():
                    if ended:
                        log.error("usage lost", rows=len(ended), problem=str(error))
                    return
                if not is_reported:
                    log.error("usage cannot be written and is kept in memory", problem=str(error))
                    is_reported = True
                self._closing.wait(_RETRY_S)
            else:
                break
        if is_reported:
            log.info("usage is written again")
        self._noted.update((serial, note[TIMES:]) for serial, note in notes.items())
        for serial in ended:
            self._noted.pop(serial, None)

    def _settle(self) -> None:
        now = time.monotonic()
        if now - self._settled_at >= SETTLE_S:
            self._settled_at = now
            settled = self._store.settle()
            if settled:
                log.warning("requests of a router that is gone are usage now", requests=settled)
