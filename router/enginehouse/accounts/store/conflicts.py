"""Inserts that may say what becomes of rows that are there, in the words of each database."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import Dialect, Table
from sqlalchemy.dialects import sqlite

if TYPE_CHECKING:
    from sqlalchemy.dialects import postgresql


def on_conflict(dialect: Dialect, table: Table) -> postgresql.Insert | sqlite.Insert:
    """An insert into *table* that may say what becomes of rows that are there."""
    if dialect.name == "postgresql":
        from sqlalchemy.dialects import postgresql  # only where it is used: it takes a fifth of a second

        return postgresql.insert(table)
    return sqlite.insert(table)
