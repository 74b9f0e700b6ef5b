"""Accounts in one SQLite file, which one router has to itself.

With a write-ahead log a commit survives the end of the process in any way, `kill -9` included; after a power failure
the last ones may be missing. The log is shared memory: the file must not lie on a network file system.

A lock of the operating system on a file beside the database tells whose it is: any death releases it, and nothing
else does. So no clock is compared, a router that is stopped for an hour keeps what it has noted, and what a dead one
left is settled by the next that opens the file.
"""

from __future__ import annotations

import fcntl
import os
import re
import secrets
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Final
from urllib.parse import quote

import psutil  # type: ignore[import-untyped]  # ships no types
from sqlalchemy import Connection, Engine, NullPool, create_engine, event, select, update
from sqlalchemy.exc import SQLAlchemyError

from enginehouse.accounts.keys import Key
from enginehouse.config import ConfigError

from . import BY_DEFAULT, By, Restarted, Store, StoreError, UsageTotal, balances
from .columns import CHARGE, Row
from .conflicts import on_conflict
from .journal import Journal, left
from .keys import changed_keys
from .migrations import migrate, refuse_later, version
from .sql import Rows, add_up, enter, had, last_row, possible, settle
from .tables import leases, routers, running

ENTER_S: Final = 1.0
"""How long charges of rows wait, in which they are, to be entered together: to enter one costs as much as 20 rows."""


class SQLiteStore(Store):
    """Accounts in the file at *path*, which is made if need be, also when it is deleted meanwhile.

    Raises:
        ConfigError: the file cannot be written, is something else, or is in use by another router.
    """

    def __init__(self, path: str) -> None:
        self._path = os.path.realpath(path)  # the lock lies beside the file itself
        self._router = secrets.token_hex(8)
        self._lock = -1
        self._engine = _engine(self._path)
        self._rows = Rows(self._engine.dialect, self._router, defers=True)
        self._journal = Journal(self._path, self._router)
        self._has_charges = False  # in rows that were kept, and not in entries yet
        self._entered_at = time.monotonic()
        self._connection: Connection | None = self._open()  # here, so that a fault stops the start

    @property
    def journal(self) -> Journal:
        """See `Store.journal`."""
        return self._journal

    def commit(self, ended: Mapping[int, Row], running: Mapping[int, Row], *, again: bool = False) -> None:
        """See `Store.commit`."""
        connection = self._connected()
        with _told():
            try:
                self._put(connection, ended, running, again=again)
            except UnicodeEncodeError:  # of one row, behind which all others would wait
                self._put(connection, possible(ended), possible(running), again=True)
            self._has_charges = self._has_charges or any(row[CHARGE] for row in ended.values())
            if self._has_charges and time.monotonic() - self._entered_at >= ENTER_S:
                self._enter(connection)

    def _put(
        self, connection: Connection, ended: Mapping[int, Row], running: Mapping[int, Row], *, again: bool
    ) -> None:
        if not ended and not running:
            return
        is_one = self._rows.is_one_statement(ended, running) and not again
        with nullcontext() if is_one else connection.begin():
            self._rows.keep(connection, ended, running, again=again)

    def _enter(self, connection: Connection) -> None:
        """Have keys pay for the rows that were kept since the last time."""
        ours = routers.c.id == self._router
        with connection.begin():
            since = connection.execute(select(routers.c.entered).where(ours)).scalar_one()
            enter(connection, self._router, since)
            connection.execute(update(routers).where(ours).values(entered=last_row(connection)))
        self._has_charges, self._entered_at = False, time.monotonic()

    def settle(self) -> int:
        """Nothing: what others left was settled when the file was opened, and there are no others since."""
        return 0

    def changed_keys(self, since: int) -> list[Key]:
        """See `Store.changed_keys`."""
        connection = self._connected()
        with _told(), connection.begin():
            return changed_keys(connection, since)

    def had(self, since: float) -> list[tuple[str | None, str, float, int]]:
        """See `Store.had`."""
        connection = self._connected()
        with _told(), connection.begin():
            return had(connection, since)

    def known_credits(self, since: int) -> list[tuple[int, str]]:
        """See `Store.known_credits`."""
        connection = self._connected()
        with _told(), connection.begin():
            return balances.known(connection, since)

    def lease(self, wanted: Mapping[str, int], returned: Mapping[str, int]) -> dict[str, int]:
        """See `Store.lease`."""
        connection = self._connected()
        with _told(), connection.begin():
            balances.give_back(connection, self._router, returned)
            return balances.lease(connection, self._router, wanted, 1)

    def close(self) -> None:
        """See `Store.close`."""
        is_settled = False
        if self._connection is not None:
            with suppress(SQLAlchemyError, sqlite3.Error):
                with self._connection.begin():
                    settle(self._connection, self._router, left(self._path).get(self._router, {}))
                is_settled = True
            self._connection.close()
        self._journal.close(is_settled=is_settled)
        self._release()

    def _connected(self) -> Connection:
        """The connection to what is at the path now, which is made if need be."""
        if self._connection is None:
            try:
                self._connection = self._open()
            except ConfigError as error:
                raise StoreError(str(error)) from error
        elif not (_is_at(self._file, self._path) and _is_at(self._lock_file, self._lock_path)):
            self._connection.close()
            self._connection = None
            raise Restarted(f"{self._path}, or the lock beside it, was deleted or replaced; it is made anew")
        return self._connection

    @property
    def _lock_path(self) -> str:
        return f"{self._path}.lock"

    def _open(self) -> Connection:
        connection = None
        try:
            self._hold()
            connection = self._engine.connect()
            _set(connection, "journal_mode = WAL")
            _set(connection, "synchronous = NORMAL")
            with connection.begin():
                _prepare(connection, self._path)
                journals = left(self._path)
                known = select(routers.c.id).union(select(running.c.router), select(leases.c.router))
                for (router,) in connection.execute(known).all():
                    if router != self._router:
                        settle(connection, router, journals.get(router, {}))
                ours = on_conflict(connection.dialect, routers).on_conflict_do_nothing()
                connection.execute(ours.values(id=self._router, beat=0, entered=last_row(connection)))
            self._journal.open()  # now that what others left in it is committed
            self._file = os.stat(self._path)
        except (SQLAlchemyError, sqlite3.Error, OSError, ConfigError) as error:
            if connection is not None:
                connection.close()
            self._release()
            if isinstance(error, ConfigError):
                raise
            raise ConfigError(f"{self._path} cannot hold accounts: {_said(error)}.") from error
        return connection

    def _hold(self) -> None:
        self._release()
        self._lock = os.open(self._lock_path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise _in_use(self._path, "another router") from None
        self._lock_file = os.fstat(self._lock)

    def _release(self) -> None:
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1


def begin(path: str) -> Callable[[], AbstractContextManager[Connection]]:
    """Open the file at *path* beside the router that has it; what is returned begins a transaction.

    Raises:
        ConfigError: the file cannot be used.
    """
    place = os.path.realpath(path)
    engine = _engine(place)
    try:
        with engine.begin() as connection:
            _prepare(connection, place)
    except (SQLAlchemyError, sqlite3.Error, OSError) as error:
        raise ConfigError(f"{place} cannot hold accounts: {_said(error)}.") from error

    @contextmanager
    def transaction() -> Iterator[Connection]:
        with _told(), engine.begin() as connection:
            yield connection

    return transaction


@contextmanager
def reading(path: str) -> Iterator[tuple[Connection, str | None, bool]]:
    """A connection to the file at *path* as it is at one moment, its version, and whether rows have reasoning tokens.

    Raises:
        ConfigError: there is no such file, or it is something else.
    """
    if not Path(path).is_file():
        raise ConfigError(f"there is no usage at {path} yet.")

    def connect() -> sqlite3.Connection:
        return sqlite3.connect(f"file:{quote(path)}?mode=ro", timeout=10, uri=True, isolation_level=None)

    engine = create_engine("sqlite://", creator=connect, poolclass=NullPool)
    event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN"))
    try:
        with engine.connect() as connection:
            counted = connection.exec_driver_sql("PRAGMA user_version").scalar_one()
            _refuse_later_file(counted, path)
            found = version(connection)
            refuse_later(found, path)
            yield connection, found, counted > 1
    except (SQLAlchemyError, sqlite3.Error) as error:
        raise ConfigError(f"{path} holds no usage: {_said(error)}.") from error


def totals(path: str, *, since: float = 0.0, by: Sequence[By] = BY_DEFAULT) -> list[UsageTotal]:
    """Usage in the file at *path* since the Unix time *since*, told apart *by* these; only reads.

    Raises:
        ConfigError: there is no such file, or it is something else.
    """
    with reading(path) as (connection, found, has_reasoning):
        return add_up(connection, since, by, version=found, has_reasoning=has_reasoning)


def _engine(path: str) -> Engine:
    def connect() -> sqlite3.Connection:
        return sqlite3.connect(path, timeout=10, check_same_thread=False, isolation_level=None)

    engine = create_engine("sqlite://", creator=connect, poolclass=NullPool)
    event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN IMMEDIATE"))
    return engine


def _prepare(connection: Connection, path: str) -> None:
    """Bring the file at *path* to this version, if no router of an earlier one uses it."""
    counted = connection.exec_driver_sql("PRAGMA user_version").scalar_one()
    _refuse_later_file(counted, path)
    if (counted == 1 and _is_used_by_version_1(connection)) or (counted == 2 and _is_used_by_version_2(path)):
        raise _in_use(path, "a router of an earlier version")
    migrate(connection, path)


def _set(connection: Connection, pragma: str) -> None:
    driver = connection.connection.driver_connection  # outside of a transaction, which SQLAlchemy begins by itself
    assert driver is not None  # noqa: S101  # it has just been opened
    driver.execute(f"PRAGMA {pragma}")


@contextmanager
def _told() -> Iterator[None]:
    """Errors of the database as those of a store."""
    try:
        yield
    except (SQLAlchemyError, sqlite3.Error) as error:
        raise StoreError(_said(error)) from error


def _said(error: Exception) -> str:
    """What the database says of *error*, without the statement and its values."""
    return str(getattr(error, "orig", None) or error)


def _refuse_later_file(counted: int, path: str) -> None:
    if counted > 3:
        raise ConfigError(f"{path} has version {counted}, which this router does not know.", fix="Name another file.")


def _in_use(path: str, whose: str) -> ConfigError:
    return ConfigError(
        f"{path} is in use by {whose}, and a SQLite file serves one router.",
        fix="End that one first, or let routers share accounts in PostgreSQL: postgresql://user@host/database.",
    )


def _is_used_by_version_1(connection: Connection) -> bool:
    """Whether a process that has noted requests there, by its id and when it was made, still runs."""
    if not connection.exec_driver_sql("SELECT 1 FROM sqlite_master WHERE name = 'running'").scalar():
        return False
    for (owner,) in connection.exec_driver_sql("SELECT DISTINCT owner FROM running").all():
        pid, made_at = owner.split()
        with suppress(psutil.NoSuchProcess):
            if abs(psutil.Process(int(pid)).create_time() - float(made_at)) < 2:
                return True
    return False


def _is_used_by_version_2(path: str) -> bool:
    """Whether a router holds a lock of its own beside the file; those of the dead are removed."""
    file = Path(path)
    pattern = re.compile(re.escape(file.name) + r"\.[0-9a-f]{16}\.lock")
    for found in file.parent.iterdir():
        if pattern.fullmatch(found.name):
            lock = os.open(found, os.O_RDWR)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
            finally:
                os.close(lock)
            found.unlink()
    return False


def _is_at(file: os.stat_result, path: str) -> bool:
    """Whether *file* is what is at *path* now."""
    try:
        return os.path.samestat(file, os.stat(path))
    except OSError:  # what cannot be looked at is not there for us either
        return False
