"""Usage that outlives the process: one row for each request that reached an engine, in SQLite.

The event loop only puts records into a queue. A thread takes all that have come and commits them together, so
that one commit serves many requests under load. With a write-ahead log a commit survives the end of the
process in any way, `kill -9` included; after a power failure the last ones may be missing.

Requests that run longer than `CHECKPOINT_S` are noted with their counts so far, again and again. What a process that
was killed has noted becomes usage when the file is next opened: at most the last second of its streams is missing.
"""

from __future__ import annotations

import os
import queue
import sqlite3
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec
import psutil  # type: ignore[import-untyped]

from enginehouse.config import ConfigError
from enginehouse.telemetry import get_logger
from enginehouse_plugin import RequestFacts

from .facts import Facts

CHECKPOINT_S: Final = 1.0
KILLED: Final = "router_ended"
"""Error code of a request whose router ended before it did."""

_VERSION: Final = 1
_SCHEMA: Final = """
CREATE TABLE usage (
    id INTEGER PRIMARY KEY,
    ended_at REAL NOT NULL,
    request_id TEXT NOT NULL,
    key TEXT,
    model TEXT NOT NULL,
    instance_id TEXT NOT NULL,
    status INTEGER NOT NULL,
    is_cancelled INTEGER NOT NULL,
    duration_s REAL NOT NULL,
    prompt_tokens INTEGER NOT NULL,
    cached_tokens INTEGER NOT NULL,
    completion_tokens INTEGER NOT NULL,
    error_code TEXT
) STRICT;
CREATE INDEX usage_ended_at ON usage (ended_at);
"""
_COLUMNS: Final = (
    "ended_at, request_id, key, model, instance_id, status, is_cancelled, duration_s, prompt_tokens, cached_tokens, "
    "completion_tokens, error_code"
)
# `owner` is a process, `serial` a request of it. A file of before this table gets it when it is opened.
_RUNNING: Final = f"CREATE TABLE IF NOT EXISTS running (owner, serial, {_COLUMNS}, PRIMARY KEY (owner, serial))"
_INSERT: Final = f"INSERT INTO usage ({_COLUMNS}) VALUES ({', '.join('?' * 12)})"  # noqa: S608  # only placeholders
_NOTE: Final = f"INSERT OR REPLACE INTO running VALUES ({', '.join('?' * 14)})"  # noqa: S608  # only placeholders
_FORGET: Final = "DELETE FROM running WHERE owner = ? AND serial = ?"
_RETRY_S: Final = 1.0
_MAX_BATCH: Final = 1000

log = get_logger()

Row = tuple[float | int | str | None, ...]


class UsageTotal(msgspec.Struct, frozen=True, kw_only=True):
    """What the requests of one key to one model took; `prompt_tokens` include the cached ones."""

    key: str | None
    model: str
    requests: int
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int


class Ledger:
    """Appends records to the file at *path*, which it makes if need be.

    Raises:
        ConfigError: the file cannot be written, or is something else.
    """

    def __init__(self, path: str) -> None:
        self._connection = _open(path)
        self._owner = _this_process()
        self._lock = threading.Lock()  # a request is either in `_running` or in the queue, and never in both
        self._running: dict[Facts, int] = {}
        self._serial = 0
        self._noted: set[int] = set()
        self._noted_at = time.monotonic()
        self._rows: queue.SimpleQueue[tuple[int, Row] | threading.Event | None] = queue.SimpleQueue()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._write_all, name="usage ledger", daemon=True)
        self._thread.start()

    def track(self, facts: Facts) -> None:
        """Follow a request that has reached an engine, until it is added."""
        with self._lock:
            if facts not in self._running:
                self._serial += 1
                self._running[facts] = self._serial

    def add(self, record: RequestFacts, facts: Facts | None = None) -> None:
        """Note *record*, if its request reached an engine; returns at once. *facts* is not followed any more."""
        if record.instance_id is not None:
            with self._lock:
                serial = self._running.pop(facts, 0) if facts is not None else 0
                self._rows.put((serial, _row(record)))

    def flush(self, timeout_s: float) -> bool:
        """Wait until everything added before is committed; returns whether it is."""
        committed = threading.Event()
        self._rows.put(committed)
        return committed.wait(timeout_s)

    def close(self) -> None:
        """Commit what is left and close the file. Blocks; call it once, when nothing is added any more."""
        self._closing.set()
        self._rows.put(None)
        self._thread.join()

    def _write_all(self) -> None:
        is_last = False
        while not is_last:
            rows: list[Row] = []
            ended: set[int] = set()
            waiting: list[threading.Event] = []
            with suppress(queue.Empty):
                item = self._rows.get(timeout=CHECKPOINT_S)
                while True:
                    if item is None:
                        is_last = True
                    elif isinstance(item, threading.Event):
                        waiting.append(item)
                    else:
                        ended.add(item[0])
                        rows.append(item[1])
                    if is_last or len(rows) >= _MAX_BATCH:
                        break
                    item = self._rows.get_nowait()
            self._commit(rows, ended & self._noted, self._notes())
            for event in waiting:
                event.set()
        self._connection.close()

    def _notes(self) -> dict[int, Row]:
        """Counts so far of requests that run, by their serial, once in `CHECKPOINT_S`."""
        now = time.monotonic()
        if now - self._noted_at < CHECKPOINT_S:
            return {}
        self._noted_at = now
        with self._lock:
            running = list(self._running.items())
        records = [
            (serial, msgspec.structs.replace(facts.so_far(), status=500, error_code=KILLED))
            for facts, serial in running
        ]
        return {serial: _row(record) for serial, record in records if record.duration_s > CHECKPOINT_S}

    def _commit(self, rows: list[Row], ended: set[int], notes: dict[int, Row]) -> None:
        """Write *rows*; while that fails (a full disk) try again, but do not hold up the end of the process."""
        is_reported = False
        while rows or notes:
            try:
                with self._connection:
                    self._connection.executemany(_INSERT, rows)
                    self._connection.executemany(_NOTE, [(self._owner, serial, *row) for serial, row in notes.items()])
                    self._connection.executemany(_FORGET, [(self._owner, serial) for serial in ended])
                self._noted = (self._noted | notes.keys()) - ended
            except sqlite3.Error as error:
                if self._closing.is_set():
                    log.error("usage lost", rows=len(rows), problem=str(error))
                    return
                notes = {}  # they come again
                if not is_reported:
                    log.error("usage cannot be written and is kept in memory", problem=str(error))
                    is_reported = True
                self._closing.wait(_RETRY_S)
            else:
                return


def totals(path: str, *, since: float = 0.0) -> list[UsageTotal]:
    """Usage since the Unix time *since*, by key and model.

    Raises:
        ConfigError: there is no such file, or it is something else.
    """
    if not Path(path).is_file():
        raise ConfigError(f"there is no usage at {path} yet.", where="usage.path")
    connection = _open(path)
    try:
        rows = connection.execute(
            "SELECT key, model, count(*), sum(prompt_tokens), sum(cached_tokens), sum(completion_tokens) "
            "FROM usage WHERE ended_at >= ? GROUP BY key, model ORDER BY key, model",
            (since,),
        ).fetchall()
    finally:
        connection.close()
    return [
        UsageTotal(key=key, model=model, requests=requests, prompt_tokens=prompt, cached_tokens=cached,
                   completion_tokens=completion)
        for key, model, requests, prompt, cached, completion in rows
    ]  # fmt: skip


def _open(path: str) -> sqlite3.Connection:
    connection = None
    try:
        # Made here, so that a fault stops the start, and used by the thread alone afterwards.
        connection = sqlite3.connect(path, timeout=10, check_same_thread=False)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        with connection:
            connection.execute("BEGIN IMMEDIATE")
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            if version == 0:
                for statement in _SCHEMA.split(";"):
                    connection.execute(statement)
                connection.execute(f"PRAGMA user_version = {_VERSION}")
            if version in (0, _VERSION):
                connection.execute(_RUNNING)
                _settle(connection)
    except sqlite3.Error as error:
        if connection is not None:
            connection.close()
        raise ConfigError(f"{path} cannot hold usage: {error}.", where="usage.path") from error
    if version not in (0, _VERSION):
        connection.close()
        raise ConfigError(
            f"{path} has version {version}; this router writes version {_VERSION}.",
            where="usage.path",
            fix="Name another file.",
        )
    return connection


def _settle(connection: sqlite3.Connection) -> None:
    """Make usage of what processes that are gone have noted of their requests."""
    for (owner,) in connection.execute("SELECT DISTINCT owner FROM running").fetchall():
        if not _is_alive(owner):
            columns = f"INSERT INTO usage ({_COLUMNS}) SELECT {_COLUMNS} FROM running WHERE owner = ?"  # noqa: S608  # constants
            connection.execute(columns, (owner,))
            connection.execute("DELETE FROM running WHERE owner = ?", (owner,))


def _this_process() -> str:
    return f"{os.getpid()} {psutil.Process().create_time()}"


def _is_alive(owner: str) -> bool:
    pid, created = owner.split()
    try:
        return bool(abs(psutil.Process(int(pid)).create_time() - float(created)) < 2)
    except psutil.NoSuchProcess:
        return False


def _row(record: RequestFacts) -> Row:
    return (
        time.time(),
        record.request_id,
        record.key,
        record.model,
        record.instance_id,
        record.status,
        int(record.is_cancelled),
        record.duration_s,
        record.prompt_tokens,
        record.cached_tokens,
        record.completion_tokens,
        record.error_code,
    )
