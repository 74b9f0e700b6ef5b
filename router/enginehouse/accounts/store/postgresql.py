"""Accounts in a PostgreSQL database, which several routers share.

A router that lives counts its beat up. One whose beat another has watched standing still for `GONE_S`, by its own
clock that no step moves, is gone, and what it had noted is settled in one transaction. The beat is counted in the
transaction of each commit, so that a router which was thought gone finds out before it writes, and begins anew.
While the database is away nobody's beat is watched, so an outage makes no router look gone.
"""

from __future__ import annotations

import logging
import os
import secrets
import ssl
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import Any, Final

from sqlalchemy import URL, Connection, Engine, NullPool, create_engine, delete, func, insert, make_url, select, update
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from enginehouse.accounts.keys import Key
from enginehouse.accounts.parts import Ask, Told
from enginehouse.config import ConfigError

from . import BY_DEFAULT, By, Restarted, Store, StoreError, UsageTotal, balances, parts
from .columns import Row
from .keys import changed_keys
from .migrations import migrate, refuse_later, version
from .sql import Rows, add_up, had, possible, settle
from .tables import routers

GONE_S: Final = 30.0
"""A router whose beat stands still for this long is gone."""
BEAT_S: Final = 5.0
"""How often a router shows that it lives, and looks at the others."""
COUNT_S: Final = 600.0
"""How often what routers that are gone used of a day is counted, beside each time that one goes."""
_PATIENCE_S: Final = 20.0
"""How long the database may say nothing: longer than the 15 s that it gives a statement."""
_TLS: Final[Mapping[str, Callable[[], ssl.SSLContext | bool | None]]] = {
    "disable": lambda: False,
    "prefer": lambda: None,  # TLS where the server has it, as PostgreSQL's own clients do
    "require": lambda: True,
    "verify-full": ssl.create_default_context,
}
_ERRORS: Final = (SQLAlchemyError, OSError)
"""What goes wrong with a database: some of the driver's reads let the network's errors through as they are."""
_MIGRATING: Final = 0x656E67696E65  # any number, the same in all routers: one of them migrates


class PostgreSQLStore(Store):
    """Accounts in the database at *url*, which other routers may use at the same time.

    Raises:
        ConfigError: the database cannot be reached or written, or is of a later version.
    """

    def __init__(self, url: str) -> None:
        self._engine = _engine(url, pool_size=1, max_overflow=0)
        self._place = _shown(self._engine)
        self._router = secrets.token_hex(8)
        self._seen: dict[str, tuple[int, float]] = {}  # of others: the beat, and since when it stands
        self._beat_at = self._looked_at = time.monotonic()
        self._rows = Rows(self._engine.dialect, self._router)
        self._ghosts: dict[str, float] = {}  # routers that are gone and have left parts: since when they are seen
        self._short: dict[parts.Limit, parts.Short] = {}
        self._living: list[str] = []
        self._counted_at: float | None = None  # when what is nobody's of a day was
        try:
            with self._engine.begin() as connection:
                _prepare(connection, self._place)
                _register(connection, self._router)
        except (*_ERRORS, ConfigError) as error:
            self._engine.dispose()
            if isinstance(error, ConfigError):
                raise
            raise ConfigError(f"{self._place} cannot hold accounts: {_said(error)}.") from None

    def commit(self, ended: Mapping[int, Row], running: Mapping[int, Row], *, again: bool = False) -> None:
        """See `Store.commit`."""
        if not ended and not running and time.monotonic() - self._beat_at < BEAT_S:
            return
        again = True  # another router may have settled what was noted, while this one was stopped
        with _told():
            try:
                self._put(ended, running, again=again)
            except (SQLAlchemyError, UnicodeEncodeError) as error:
                if not _is_of_values(error):
                    raise
                self._engine.dispose()  # the driver may have sent a part of what it could not encode
                self._put(
                    possible(ended), possible(running), again=True
                )  # of one row, behind which all others would wait

    def _put(self, ended: Mapping[int, Row], running: Mapping[int, Row], *, again: bool) -> None:
        with self._engine.begin() as connection:
            is_known = self._beats(connection)
            if is_known:
                self._rows.keep(connection, ended, running, again=again)
            else:
                _register(connection, self._router)
        self._beat_at = time.monotonic()
        if not is_known:
            raise Restarted("another router took this one for gone, and settled what ran; it is noted anew")

    def known_credits(self, since: int) -> list[tuple[int, str]]:
        """See `Store.known_credits`."""
        with _told(), self._engine.begin() as connection:
            return balances.known(connection, since)

    def lease(self, wanted: Mapping[str, int], returned: Mapping[str, int]) -> dict[str, int]:
        """See `Store.lease`."""
        granted: dict[str, int] = {}
        with _told(), self._engine.begin() as connection:
            is_known = self._beats(connection)
            if is_known:
                balances.give_back(connection, self._router, returned)
                granted = balances.lease(connection, self._router, wanted, self.share[1])
            else:
                _register(connection, self._router)
        self._beat_at = time.monotonic()
        if not is_known:
            raise Restarted("another router took this one for gone, and returned what it had leased")
        return granted

    def _beats(self, connection: Connection) -> bool:
        beat = update(routers).where(routers.c.id == self._router).values(beat=routers.c.beat + 1)
        return connection.execute(beat).rowcount == 1

    def settle(self) -> int:
        """See `Store.settle`."""
        now = time.monotonic()
        if now - self._looked_at > 3 * BEAT_S:
            self._seen.clear()  # nobody looked for so long: the database was away, or this router stood still
        settled = 0
        others = select(routers.c.id, routers.c.beat).where(routers.c.id != self._router).order_by(routers.c.id)
        with _told(), self._engine.begin() as connection:
            found = connection.execute(others).all()
            since = {router: self._since(router, beat, now) for router, beat in found}
            for router, beat in found:
                if now - since[router] >= GONE_S:
                    settled += self._settle(connection, router, beat)
            self._bury(connection, now)
        self._seen = {router: (beat, since[router]) for router, beat in found if now - since[router] < GONE_S}
        self._looked_at = now
        if (living := sorted(self._seen)) != self._living:
            self._living, self._counted_at = living, None
        return settled

    def _bury(self, connection: Connection, now: float) -> None:
        found = parts.ghosts(connection)
        if not found <= self._ghosts.keys():
            self._counted_at = None
        self._ghosts = {router: self._ghosts.get(router, now) for router in found}
        old = {router for router, since in self._ghosts.items() if now - since >= parts.GHOST_S}
        parts.bury(connection, old, are_old=True)
        parts.bury(connection, found - old, are_old=False)
        if self._short and (over := [limit for limit, short in self._short.items() if now - short.asked_at >= BEAT_S]):
            parts.end_shortage(connection, self._router, over)
            for limit in over:
                del self._short[limit]

    is_shared = True

    def hand_out(self, asks: Sequence[Ask]) -> list[Told]:
        """See `Store.hand_out`."""
        now = time.monotonic()
        with _told(), self._engine.begin() as connection:
            is_due = self._counted_at is None or now - self._counted_at >= COUNT_S
            if is_due:
                parts.count_nobodys(connection, time.time())
            told = parts.answer(connection, self._router, asks, self._short, now)
        if is_due:
            self._counted_at = now
        return told

    def wanted(self) -> list[tuple[str, str]]:
        """See `Store.wanted`."""
        with _told(), self._engine.begin() as connection:
            return parts.wanted(connection, self._router)

    def _since(self, router: str, beat: int, now: float) -> float:
        seen = self._seen.get(router)
        return seen[1] if seen is not None and seen[0] == beat else now

    def _settle(self, connection: Connection, router: str, beat: int) -> int:
        gone = delete(routers).where(routers.c.id == router, routers.c.beat == beat)
        if connection.execute(gone).rowcount == 0:
            return 0  # it lives, or another router has been first
        return settle(connection, router)

    def changed_keys(self, since: int) -> list[Key]:
        """See `Store.changed_keys`."""
        with _told(), self._engine.begin() as connection:
            return changed_keys(connection, since)

    def had(self, since: float) -> list[tuple[str | None, str, float, int]]:
        """See `Store.had`."""
        with _told(), self._engine.begin() as connection:
            return had(connection, since)

    @property
    def share(self) -> tuple[int, int]:
        """See `Store.share`; as of the last look at the others."""
        routers = sorted([*self._seen, self._router])
        return routers.index(self._router), len(routers)

    def close(self) -> None:
        """See `Store.close`."""
        with suppress(SQLAlchemyError), self._engine.begin() as connection:
            settle(connection, self._router)
        self._engine.dispose()


def begin(url: str) -> Callable[[], AbstractContextManager[Connection]]:
    """Open the database at *url* beside the routers that use it; what is returned begins a transaction.

    Raises:
        ConfigError: the database cannot be used.
    """
    engine = _engine(url, poolclass=NullPool)
    try:
        with engine.begin() as connection:
            _prepare(connection, _shown(engine))
    except _ERRORS as error:
        raise ConfigError(f"{_shown(engine)} cannot hold accounts: {_said(error)}.") from None

    @contextmanager
    def transaction() -> Iterator[Connection]:
        with _told(), engine.begin() as connection:
            yield connection

    return transaction


@contextmanager
def reading(url: str) -> Iterator[tuple[Connection, str | None, bool]]:
    """A connection to the database at *url* as it is at one moment, its version, and True; it only reads.

    Raises:
        ConfigError: the database cannot be reached, or is of a later version.
    """
    engine = _engine(url, poolclass=NullPool)
    place = _shown(engine)
    try:
        with engine.connect() as connection:
            connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
            found = version(connection)
            refuse_later(found, place)
            yield connection, found, True
    except _ERRORS as error:
        raise ConfigError(f"{place} holds no usage: {_said(error)}.") from None
    finally:
        engine.dispose()


def totals(url: str, *, since: float = 0.0, by: Sequence[By] = BY_DEFAULT) -> list[UsageTotal]:
    """Usage in the database at *url* since the Unix time *since*, told apart *by* these; only reads.

    Raises:
        ConfigError: the database cannot be reached, or is of a later version.
    """
    with reading(url) as (connection, found, _):
        return add_up(connection, since, by, version=found)


def _prepare(connection: Connection, place: str) -> None:
    connection.execute(select(func.pg_advisory_xact_lock(_MIGRATING)))
    migrate(connection, place)


def _engine(url: str, **pool: Any) -> Engine:  # as SQLAlchemy takes them
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise ConfigError("this is no URL of a database.") from None
    # What becomes of a connection that is broken already says nothing, at the length of a traceback.
    logging.getLogger("sqlalchemy.pool").setLevel(logging.CRITICAL)
    return create_engine(
        parsed.set(drivername="postgresql+pg8000", query={}),
        connect_args=_connect_args(parsed),
        paramstyle="format",  # values by their place: a statement is compiled once for many rows
        **pool,
    )


def _connect_args(url: URL) -> dict[str, Any]:
    """What the driver is told beside what *url* has before its query."""
    query = url.query
    unknown = sorted(query.keys() - {"sslmode", "host"})
    if unknown:
        raise ConfigError(f"{unknown[0]!r} is no option of a database; there are sslmode and host.")
    mode = str(query.get("sslmode", "prefer"))
    if mode not in _TLS:
        raise ConfigError(f"sslmode is one of {', '.join(_TLS)}, not {mode!r}.")
    # A database that is stuck or out of reach is told of soon, and holds nothing but the ledger's thread.
    found: dict[str, Any] = {
        "timeout": _PATIENCE_S,
        "startup_params": {"statement_timeout": "15000"},
        "ssl_context": _TLS[mode](),
    }
    if url.password is None and "PGPASSWORD" in os.environ:
        found["password"] = os.environ["PGPASSWORD"]
    if "host" in query:
        found["unix_sock"] = f"{query['host']}/.s.PGSQL.{url.port or 5432}"
    return found


def _register(connection: Connection, router: str) -> None:
    connection.execute(insert(routers).values(id=router, beat=0))


def _shown(engine: Engine) -> str:
    """The database as messages name it: without a password."""
    return engine.url.set(drivername="postgresql", query={}).render_as_string(hide_password=True)


@contextmanager
def _told() -> Iterator[None]:
    """Errors of the database as those of a store."""
    try:
        yield
    except _ERRORS as error:
        raise StoreError(_said(error)) from None


def _said(error: Exception) -> str:
    """What the database says of *error*, without the statement and its values."""
    cause = getattr(error, "orig", None) or error
    return str(_fields(cause).get("M", cause)).strip()


def _fields(error: BaseException) -> Mapping[str, str]:
    """What the database sent with *error*, by PostgreSQL's letters."""
    found = error.args[0] if error.args else None
    return found if isinstance(found, dict) else {}


def _is_of_values(error: Exception) -> bool:
    """Whether *error* is about a value (SQLSTATE's class 22), not about the database."""
    cause = getattr(error, "orig", None) or error
    return isinstance(cause, UnicodeEncodeError) or _fields(cause).get("C", "").startswith("22")
