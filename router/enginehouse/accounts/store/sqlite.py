"""Usage in one SQLite file, which several routers of one host may share.

With a write-ahead log a commit survives the end of the process in any way, `kill -9` included; after a power failure
the last ones may be missing. The log is shared memory: the file must not lie on a network file system.

Who is alive is told by locks of the operating system. Each router holds one, on an empty file of its own beside the
database, as long as it lives: any death releases it, and nothing else does. So no clock is compared, a router that
is stopped for an hour keeps what it has noted, and the dead are known at once. Heartbeats, which a database that is
shared over a network needs, would take longer than the longest pause of a living router to tell.
"""

from __future__ import annotations

import fcntl
import os
import re
import secrets
import sqlite3
from collections.abc import Mapping
from contextlib import closing, suppress
from pathlib import Path
from typing import Final
from urllib.parse import quote

import msgspec
import psutil  # type: ignore[import-untyped]  # ships no types

from enginehouse.config import ConfigError

from . import COLUMNS, Row, Store, StoreError, UsageTotal

_COLUMNS: Final = ", ".join(COLUMNS)
_OLD: Final = (
    "ended_at, request_id, key, model, instance_id, status, is_cancelled, duration_s, prompt_tokens, cached_tokens, "
    "completion_tokens, error_code"
)
# What makes a file of each version from one of the version before it.
_STEPS: Final = (
    (
        """CREATE TABLE usage (
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
        ) STRICT""",
        "CREATE INDEX usage_ended_at ON usage (ended_at)",
    ),
    (
        "ALTER TABLE usage ADD COLUMN router TEXT",
        "ALTER TABLE usage ADD COLUMN serial INTEGER",
        "ALTER TABLE usage ADD COLUMN endpoint TEXT NOT NULL DEFAULT ''",
        "ALTER TABLE usage ADD COLUMN is_stream INTEGER",
        "ALTER TABLE usage ADD COLUMN reasoning_tokens INTEGER NOT NULL DEFAULT 0",
        "CREATE UNIQUE INDEX usage_request ON usage (router, serial)",
        f"CREATE TABLE IF NOT EXISTS running (owner, serial, {_OLD})",  # the owner was a process
        f"INSERT INTO usage ({_OLD}) SELECT {_OLD} FROM running",  # noqa: S608  # constants, as everywhere here
        "DROP TABLE running",
        f"CREATE TABLE running (router, serial, {_COLUMNS}, PRIMARY KEY (router, serial))",
    ),
)
_VERSION: Final = len(_STEPS)
_MOST: Final = 2**40
"""The most tokens that a row holds: a count that no engine can mean must not stop all rows behind it."""
_CHUNKS: Final = (256, 64, 16, 4, 1)
"""How many rows a statement puts in: few statements for many rows, because each lets go of the interpreter's lock and
takes it again, beside the event loop; and few different ones, because each is compiled once."""
_PUT: Final = f"INTO {{table}} (router, serial, {_COLUMNS}) VALUES "
_PLACES: Final = ", ".join(f"max(0, min(?, {_MOST}))" if name.endswith("_tokens") else "?" for name in COLUMNS)
_STATEMENTS: Final = {
    (table, size): f"INSERT OR REPLACE {_PUT.format(table=table)}{', '.join([f'(?, ?, {_PLACES})'] * size)}"
    for table in ("usage", "running")
    for size in _CHUNKS
}
_HAS_NOTES: Final = "SELECT 1 FROM running WHERE router = ? LIMIT 1"
_FORGET: Final = "DELETE FROM running WHERE router = ? AND serial IN (SELECT value FROM json_each(?))"
_SETTLE: Final = (
    f"INSERT OR IGNORE INTO usage (router, serial, {_COLUMNS}) "  # noqa: S608
    f"SELECT router, serial, {_COLUMNS} FROM running WHERE router = ?"
)
_TOTALS: Final = (
    "SELECT key, model, count(*), sum(prompt_tokens), sum(cached_tokens), sum(completion_tokens), {reasoning} "
    "FROM usage WHERE ended_at >= ? GROUP BY key, model ORDER BY key, model"
)


class SQLiteStore(Store):
    """Usage in the file at *path*, which is made if need be, also when it is deleted meanwhile.

    Raises:
        ConfigError: the file cannot be written, or is something else.
    """

    def __init__(self, path: str) -> None:
        self._path = os.path.realpath(path)  # the locks lie beside the file itself
        self._router = secrets.token_hex(8)
        self._lock = -1
        self._connection: sqlite3.Connection | None = self._open()  # here, so that a fault stops the start

    def commit(self, ended: Mapping[int, Row], running: Mapping[int, Row]) -> None:
        """See `Store.commit`."""
        connection = self._connected()
        if not ended and not running:
            return
        try:
            try:
                self._put(connection, ended, running)
            except (OverflowError, UnicodeEncodeError):  # of one row, behind which all others would wait
                self._put(connection, _possible(ended), _possible(running))
        except sqlite3.Error as error:
            raise StoreError(str(error)) from error

    def _put(self, connection: sqlite3.Connection, ended: Mapping[int, Row], running: Mapping[int, Row]) -> None:
        router = self._router
        with connection:
            connection.execute("BEGIN IMMEDIATE")
            _insert(connection, "usage", router, ended)
            _insert(connection, "running", router, running)
            if ended and connection.execute(_HAS_NOTES, (router,)).fetchone():  # short requests leave none
                connection.execute(_FORGET, (router, msgspec.json.encode([*ended]).decode()))

    def settle(self) -> int:
        """See `Store.settle`."""
        connection = self._connected()
        try:
            with connection:
                connection.execute("BEGIN IMMEDIATE")
                return self._settle(connection)
        except (sqlite3.Error, OSError) as error:
            raise StoreError(str(error)) from error

    def close(self) -> None:
        """See `Store.close`."""
        if self._connection is not None:
            self._connection.close()
        self._release()
        with suppress(OSError):
            os.unlink(_lock_path(self._path, self._router))

    def _connected(self) -> sqlite3.Connection:
        """The connection to what is at the path now, which is made if need be."""
        if self._connection is None:
            try:
                self._connection = self._open()
            except ConfigError as error:
                raise StoreError(str(error)) from error
        elif not (_is_at(self._file, self._path) and _is_at(self._lock_file, _lock_path(self._path, self._router))):
            self._connection.close()
            self._connection = None
            raise StoreError(f"{self._path}, or the lock beside it, was deleted or replaced; it is made anew")
        return self._connection

    def _open(self) -> sqlite3.Connection:
        connection = None
        try:
            connection = sqlite3.connect(self._path, timeout=10, check_same_thread=False, isolation_level=None)
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")
            with connection:
                # Under the database's own lock nobody makes, looks at or removes a router's file meanwhile.
                connection.execute("BEGIN IMMEDIATE")
                _migrate(connection, self._path)
                self._hold()
                self._settle(connection)
            self._file = os.stat(self._path)
        except (sqlite3.Error, OSError, ConfigError) as error:
            if connection is not None:
                connection.close()
            self._release()
            if isinstance(error, ConfigError):
                raise
            raise ConfigError(f"{self._path} cannot hold usage: {error}.", where="usage.path") from error
        return connection

    def _hold(self) -> None:
        self._release()
        self._lock = os.open(_lock_path(self._path, self._router), os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self._lock_file = os.fstat(self._lock)

    def _release(self) -> None:
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def _settle(self, connection: sqlite3.Connection) -> int:
        settled = 0
        noted = {router for (router,) in connection.execute("SELECT DISTINCT router FROM running")}
        for router in (noted | _known(self._path)) - {self._router}:
            lock_path = _lock_path(self._path, router)
            if not _is_held(lock_path):
                settled += connection.execute(_SETTLE, (router,)).rowcount
                connection.execute("DELETE FROM running WHERE router = ?", (router,))
                with suppress(FileNotFoundError):
                    os.unlink(lock_path)
        return settled


def totals(path: str, *, since: float = 0.0) -> list[UsageTotal]:
    """Usage since the Unix time *since*, by key and model; only reads.

    Raises:
        ConfigError: there is no such file, or it is something else.
    """
    if not Path(path).is_file():
        raise ConfigError(f"there is no usage at {path} yet.", where="usage.path")
    try:
        with closing(sqlite3.connect(f"file:{quote(path)}?mode=ro", timeout=10, uri=True)) as connection:
            version = _version(connection)
            _refuse_later(version, path)
            reasoning = "0" if version < _VERSION else "sum(reasoning_tokens)"
            rows = connection.execute(_TOTALS.format(reasoning=reasoning), (since,)).fetchall() if version else []
    except sqlite3.Error as error:
        raise ConfigError(f"{path} holds no usage: {error}.", where="usage.path") from error
    return [UsageTotal(**dict(zip(UsageTotal.__struct_fields__, row, strict=True))) for row in rows]


def _insert(connection: sqlite3.Connection, table: str, router: str, rows: Mapping[int, Row]) -> None:
    waiting = [(router, serial, *row) for serial, row in rows.items()]
    at = 0
    for size in _CHUNKS:
        while len(waiting) - at >= size:
            values = [value for row in waiting[at : at + size] for value in row]
            connection.execute(_STATEMENTS[table, size], values)
            at += size


def _possible(rows: Mapping[int, Row]) -> dict[int, Row]:
    """*rows* with what the file can hold: numbers of which many can be added up, and whole characters."""
    return {serial: tuple(map(_bounded, row)) for serial, row in rows.items()}


def _bounded(value: float | str | None) -> float | str | None:
    if isinstance(value, str):
        return value.encode(errors="backslashreplace").decode()
    return max(0, min(value, _MOST)) if isinstance(value, int) else value


def _migrate(connection: sqlite3.Connection, path: str) -> None:
    version = _version(connection)
    _refuse_later(version, path)
    if version == 1 and _is_used_by_version_1(connection):
        raise ConfigError(
            f"{path} is in use by a router of an earlier version.", where="usage.path", fix="End that one first."
        )
    for step in _STEPS[version:]:
        for statement in step:
            connection.execute(statement)
    connection.execute(f"PRAGMA user_version = {_VERSION}")


def _version(connection: sqlite3.Connection) -> int:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    return int(version)


def _refuse_later(version: int, path: str) -> None:
    if version > _VERSION:
        raise ConfigError(
            f"{path} has version {version}; this router writes version {_VERSION}.",
            where="usage.path",
            fix="Name another file.",
        )


def _is_used_by_version_1(connection: sqlite3.Connection) -> bool:
    """Whether a process that has noted requests there, by its id and when it was made, still runs."""
    if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'running'").fetchone():
        return False
    for (owner,) in connection.execute("SELECT DISTINCT owner FROM running"):
        pid, made_at = owner.split()
        with suppress(psutil.NoSuchProcess):
            if abs(psutil.Process(int(pid)).create_time() - float(made_at)) < 2:
                return True
    return False


def _lock_path(path: str, router: str) -> str:
    return f"{path}.{router}.lock"


def _known(path: str) -> set[str]:
    """The routers that have a lock beside *path*."""
    file = Path(path)
    pattern = re.compile(re.escape(file.name) + r"\.([0-9a-f]{16})\.lock")
    return {match[1] for found in file.parent.iterdir() if (match := pattern.fullmatch(found.name))}


def _is_held(lock_path: str) -> bool:
    try:
        lock = os.open(lock_path, os.O_RDWR)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(lock)
    return False


def _is_at(file: os.stat_result, path: str) -> bool:
    """Whether *file* is what is at *path* now."""
    try:
        return os.path.samestat(file, os.stat(path))
    except OSError:  # what cannot be looked at is not there for us either
        return False
