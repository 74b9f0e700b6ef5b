"""Migrations lead to the tables that the code knows."""

from __future__ import annotations

import sqlite3
from contextlib import closing

from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine

from enginehouse.accounts.store.sqlite import SQLiteStore
from enginehouse.accounts.store.tables import HEAD, metadata


def test_the_last_migration_is_the_one_that_a_database_is_compared_with():
    config = Config()
    config.set_main_option("script_location", "enginehouse.accounts.store:migrations")
    assert ScriptDirectory.from_config(config).get_heads() == [HEAD]


def test_a_new_database_has_the_tables_that_the_code_knows(tmp_path):
    SQLiteStore(str(tmp_path / "new.db")).close()
    engine = create_engine(f"sqlite:///{tmp_path}/new.db")
    with engine.connect() as connection:
        found = compare_metadata(MigrationContext.configure(connection), metadata)
    engine.dispose()
    assert found == []


def test_alembic_is_not_asked_where_there_is_nothing_to_do(tmp_path, monkeypatch):
    path = str(tmp_path / "new.db")
    SQLiteStore(path).close()
    monkeypatch.setattr("alembic.command.upgrade", lambda *_: 1 / 0)
    SQLiteStore(path).close()
    with closing(sqlite3.connect(path)) as file:
        assert file.execute("SELECT version_num FROM alembic_version").fetchall() == [(HEAD,)]
