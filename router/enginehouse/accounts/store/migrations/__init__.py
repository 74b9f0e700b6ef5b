"""Brings a database of any earlier version to this one, by Alembic."""

from __future__ import annotations

from typing import TYPE_CHECKING

from enginehouse.accounts.store.tables import HEAD
from enginehouse.config import ConfigError

if TYPE_CHECKING:
    from sqlalchemy import Connection

_HAS_VERSION = {
    "sqlite": "SELECT 1 FROM sqlite_master WHERE name = 'alembic_version'",
    "postgresql": "SELECT 1 WHERE to_regclass('alembic_version') IS NOT NULL",
}


def version(connection: Connection) -> str | None:
    """The version of a database, None before its first migration."""
    if connection.exec_driver_sql(_HAS_VERSION[connection.dialect.name]).scalar() is None:
        return None
    found = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()
    return None if found is None else str(found)


def migrate(connection: Connection, place: str) -> None:
    """Bring the database at *place*, in whose transaction this is, to this version.

    Raises:
        ConfigError: it is of a later one.
    """
    found = version(connection)
    if found == HEAD:
        return
    refuse_later(found, place)
    from alembic import command  # only where there is something to do: it takes as long as a whole start
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", "enginehouse.accounts.store:migrations")
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def refuse_later(found: str | None, place: str) -> None:
    """Let nobody write to, or read, what a later version has made.

    Raises:
        ConfigError: *found* is a later version.
    """
    if found is not None and found > HEAD:
        raise ConfigError(
            f"{place} has version {found}; this router writes version {HEAD}.",
            fix="Name another database.",
        )
