"""Where usage is kept: what any database must do. `sqlite` does it in a file of one router, `postgresql` for many.

A row is a view of a request's facts, and a running request's row is what it would be if its router ended now.
Rows are told apart by their router and a serial number in it, so that each is kept once however often it is written.

Nothing of SQLAlchemy is imported before a store is opened: it takes as long as the rest of the router.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Final, Literal

import msgspec
from msgspec import UNSET, UnsetType

from enginehouse.accounts.keys import Key
from enginehouse.accounts.parts import Ask, Told
from enginehouse.config import SQLITE, Config, ConfigError

from .columns import Row
from .journal import Journal

if TYPE_CHECKING:
    from sqlalchemy import Connection

CHECKPOINT_S: Final = 1.0
"""How often what runs is noted, and a router shows that it lives."""
_FIX: Final = 'Name a database in the configuration: [accounts] url = "sqlite:///accounts.db".'


class StoreError(Exception):
    """The database took nothing of what it was given; trying again later may help."""


class Restarted(StoreError):
    """The database knows nothing of this router any more, which begins anew there: what it had leased is gone."""


class Store(ABC):
    """One router's access to a database of usage, by one thread at a time.

    A router that is alive holds its rows of running requests; those of a router that is gone are settled, which
    makes them usage, once and by whoever comes first. How a database knows who is alive is its own matter, with two
    rules: no change of a clock makes a living router look gone, and nothing of it depends on process ids.
    """

    @abstractmethod
    def commit(self, ended: Mapping[int, Row], running: Mapping[int, Row], *, again: bool = False) -> None:
        """Keep rows by their serial, all or none: those that *ended* in place of any earlier one of that serial.

        With *again* they may have been kept before, by a try to which no answer came: keys pay once.

        Called at least once in `CHECKPOINT_S`, also with nothing: it shows that this router lives.

        Raises:
            StoreError: nothing was kept.
        """

    @abstractmethod
    def settle(self) -> int:
        """Make usage of the running requests of routers that are gone; returns of how many.

        Raises:
            StoreError: nothing was settled.
        """

    @abstractmethod
    def changed_keys(self, since: int) -> list[Key]:
        """The keys that have changed since the change number *since*.

        Raises:
            StoreError: they cannot be read now.
        """

    @abstractmethod
    def had(self, since: float) -> list[tuple[str | None, str, float, int]]:
        """What was used since the Unix time *since*, by the hour: key, model, when the hour ended, tokens.

        Raises:
            StoreError: it cannot be read now.
        """

    @abstractmethod
    def known_credits(self, since: int) -> list[tuple[int, str]]:
        """The keys that were ever granted credit, each with its number, of those beyond number *since*.

        Raises:
            StoreError: they cannot be read now.
        """

    @abstractmethod
    def lease(self, wanted: Mapping[str, int], returned: Mapping[str, int]) -> dict[str, int]:
        """Take what is *wanted* of the credit of keys, or what there is, for this router to spend; and give back.

        Returns how much of each: more than is wanted, where there is plenty.

        Raises:
            StoreError: nothing was taken or given back.
        """

    @property
    def journal(self) -> Journal | None:
        """Where rows outlive the router before they are committed; None: only a commit has them do that."""
        return None

    is_shared = False
    """Whether other routers may use the database at the same time."""

    def hand_out(self, asks: Sequence[Ask]) -> list[Told]:  # noqa: ARG002  # for those that are shared
        """Answer *asks* for parts of limits, each on its own, beside what other routers hold.

        A database that is not shared is not asked, and hands out nothing.

        Raises:
            StoreError: nothing was handed out.
        """
        return []

    def wanted(self) -> list[tuple[str, str]]:
        """The limits of which other routers are short: subjects and kinds.

        Raises:
            StoreError: it cannot be read now.
        """
        return []

    @property
    def share(self) -> tuple[int, int]:
        """Which of the routers that use the database this one is, from 0 on, and how many there are."""
        return 0, 1

    @abstractmethod
    def close(self) -> None:
        """Let go of the database. What is still running by then is usage."""


By = Literal["key", "model", "host", "day"]
"""What usage is told apart by; days are those of UTC."""


class UsageTotal(msgspec.Struct, frozen=True, kw_only=True):
    """What requests took, those of one key, model, host or day, or of several of these.

    `prompt_tokens` include the cached ones, `completion_tokens` those of reasoning. `cost` is by the models' prices, in
    credits. What usage is not told apart by is left out.
    """

    key: str | UnsetType | None = UNSET
    model: str | UnsetType = UNSET
    host: str | UnsetType | None = UNSET
    day: str | UnsetType = UNSET
    requests: int
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    reasoning_tokens: int
    cost: str = "0"


def open_store(config: Config) -> Store | None:
    """Open the database that *config* names, made and brought to this version if need be; None: it names none.

    Raises:
        ConfigError: it cannot be used, or a SQLite file is another router's.
    """
    url = config.store_url
    if url is None:
        return None
    with _named(config):
        if url.startswith(SQLITE):
            from .sqlite import SQLiteStore

            return SQLiteStore(url.removeprefix(SQLITE))
        from .postgresql import PostgreSQLStore

        return PostgreSQLStore(url)


BY_DEFAULT: Final[tuple[By, ...]] = ("key", "model")


def totals(config: Config, *, since: float = 0.0, by: Sequence[By] = BY_DEFAULT) -> list[UsageTotal]:
    """Usage in the database that *config* names since the Unix time *since*, told apart *by* these; only reads.

    Raises:
        ConfigError: none is named, there is no such database, or it is something else.
    """
    from .sql import add_up

    with _reading(config) as (connection, found, has_reasoning):
        return add_up(connection, since, by, version=found, has_reasoning=has_reasoning)


@contextmanager
def reading(config: Config) -> Iterator[Connection]:
    """A connection to the database that *config* names, which sees it as it is at one moment, and only reads.

    Raises:
        ConfigError: none is named, there is no such database, or no router of this version has used it.
        StoreError: it cannot be read now.
    """
    from .tables import HEAD

    with _reading(config) as (connection, found, _):
        if found != HEAD:
            problem = f"no router of this version has used it: it has version {found}, and this one reads {HEAD}."
            raise ConfigError(problem, fix="Start one, which brings it to its version.")
        yield connection


@contextmanager
def _reading(config: Config) -> Iterator[tuple[Connection, str | None, bool]]:
    url = config.store_url
    with _named(config):
        if url is None:
            raise ConfigError("no usage is kept.", fix=_FIX)
        if url.startswith(SQLITE):
            from . import sqlite

            with sqlite.reading(url.removeprefix(SQLITE)) as found:
                yield found
        else:
            from . import postgresql

            with postgresql.reading(url) as found:
                yield found


def shared_engine(config: Config) -> Callable[[], AbstractContextManager[Connection]]:
    """Open the database that *config* names beside the routers that use it; what is returned begins a transaction.

    Raises:
        ConfigError: it cannot be used.
    """
    url = config.store_url
    with _named(config):
        if url is None:
            raise ConfigError("there is no database of accounts.", fix=_FIX)
        if url.startswith(SQLITE):
            from . import sqlite

            return sqlite.begin(url.removeprefix(SQLITE))
        from . import postgresql

        return postgresql.begin(url)


@contextmanager
def _named(config: Config) -> Iterator[None]:
    """Errors name the key that says where accounts are kept."""
    try:
        yield
    except ConfigError as error:
        where = "usage.path" if config.usage.path is not None else "accounts.url"
        raise ConfigError(error.problem, file=config.file, where=where, fix=error.fix) from error.__cause__
