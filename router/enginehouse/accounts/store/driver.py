"""Statements of each commit, as the driver takes them."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, CursorResult
from sqlalchemy.engine.interfaces import DBAPICursor

Values = tuple[Any, ...] | list[tuple[Any, ...]]
"""Those of one statement, or of the same one several times: of any column."""


def run(connection: Connection, statement: str, values: Values) -> DBAPICursor | CursorResult[Any]:
    """Run *statement* with *values* in the transaction that *connection* has begun.

    With SQLite past SQLAlchemy, which takes longer for a statement than SQLite does: errors are the driver's own then.
    """
    if connection.dialect.name != "sqlite":  # SQLAlchemy finds out from errors that a server is gone
        return connection.exec_driver_sql(statement, values)
    cursor = connection.connection.cursor()
    if isinstance(values, list):
        cursor.executemany(statement, values)
    else:
        cursor.execute(statement, values)
    return cursor
