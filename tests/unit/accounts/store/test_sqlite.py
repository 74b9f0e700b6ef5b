"""One file for usage: who is alive, files of other versions, reading without a change."""

from __future__ import annotations

import fcntl
import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing

import psutil
import pytest
from tests.unit.accounts.facts import ended, facts_of

from enginehouse.accounts import StoreError
from enginehouse.accounts.store import sqlite
from enginehouse.accounts.store.columns import COLUMNS, row
from enginehouse.accounts.store.sqlite import SQLiteStore, totals
from enginehouse.config import ConfigError


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "usage.db")


@pytest.fixture
def store(path):
    store = SQLiteStore(path)
    yield store
    store.close()


def requests(path):
    return sum(total.requests for total in totals(path))


def test_a_second_router_is_refused_with_the_reason_and_changes_nothing(path, store, tmp_path):
    store.commit({}, {1: row(facts_of())})
    (tmp_path / "elsewhere").mkdir()
    link = tmp_path / "elsewhere" / "link.db"
    link.symlink_to(path)
    for way in (path, str(link)):
        with pytest.raises(ConfigError, match=r"in use by another router.* PostgreSQL"):
            SQLiteStore(way)
    store.commit({1: row(ended())}, {})
    assert (requests(path), totals(path)[0].completion_tokens) == (1, 20)


def test_rows_are_kept_once_however_often_they_are_given(path, store):
    for _ in range(3):
        store.commit({1: row(ended())}, {})
    assert requests(path) == 1


def test_a_count_that_no_engine_can_mean_holds_up_no_other_row(path, store):
    lying = ended(model="lies")
    lying.prompt_tokens = 10**30
    store.commit({1: row(ended()), 2: row(lying), 3: row(lying)}, {4: row(lying)})
    assert [(total.model, total.requests) for total in totals(path)] == [("lies", 2), ("m", 1)]


def test_what_the_database_refuses_is_told_and_neither_a_row_nor_a_charge_is_kept(path, store, monkeypatch):
    """By the driver's own calls, beside SQLAlchemy's."""
    monkeypatch.setattr(sqlite, "ENTER_S", 0.0)

    def account():
        with closing(sqlite3.connect(path)) as connection:
            return connection.execute("SELECT balance, leased FROM balances").fetchall()

    with closing(sqlite3.connect(path)) as connection:
        connection.execute("INSERT INTO balances (key, balance, leased, spent) VALUES ('alice', 1000, 0, 0)")
        connection.commit()
    leased = store.lease({"alice": 500}, {})["alice"]
    paid = dict(zip(COLUMNS, row(ended()), strict=True)) | {"key": "alice", "cost": 30, "charge": 30}
    rows = {1: tuple(paid.values()), 2: row(ended())}
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TRIGGER no BEFORE INSERT ON usage BEGIN SELECT RAISE(ABORT, 'not today'); END")
    with pytest.raises(StoreError, match=r"^not today$"):
        store.commit(rows, {})
    assert (requests(path), account()) == (0, [(1000, leased)])
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("DROP TRIGGER no")
    store.commit(rows, {}, again=True)
    assert (requests(path), account()) == (2, [(970, leased - 30)])


def test_half_a_character_holds_up_no_other_row_and_no_count_is_negative(path, store):
    odd = ended(model="odd")
    odd.error_code = "bad \ud800"
    odd.prompt_tokens = -5
    store.commit({1: row(odd), 2: row(ended())}, {})
    assert [(total.model, total.requests) for total in totals(path)] == [("m", 1), ("odd", 1)]
    assert totals(path)[1].prompt_tokens == 0


def test_what_runs_when_a_router_closes_is_usage_once(path):
    for _ in range(2):
        store = SQLiteStore(path)
        store.commit({}, {1: row(facts_of()), 2: row(facts_of())})
        store.close()
    assert requests(path) == 4


STOPPED = """
import os, signal, sys
from enginehouse.accounts.store import sqlite
from enginehouse.accounts.store.columns import COLUMNS, row
from enginehouse.accounts.store.sqlite import SQLiteStore
from tests.unit.accounts.facts import facts_of
store = SQLiteStore(sys.argv[1])
store.commit({}, {1: row(facts_of())})
os.kill(os.getpid(), signal.SIGSTOP)
"""


def test_a_router_that_is_stopped_has_the_file_until_it_is_killed(path, request):
    child = subprocess.Popen([sys.executable, "-c", STOPPED, path], cwd=request.config.rootpath)
    try:
        os.waitid(os.P_PID, child.pid, os.WSTOPPED | os.WNOWAIT)
        with pytest.raises(ConfigError, match="in use"):
            SQLiteStore(path)
        assert requests(path) == 0
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait(30)
    for _ in range(2):
        SQLiteStore(path).close()
        assert requests(path) == 1


def test_the_real_end_takes_the_place_of_a_settled_one(path, store, tmp_path):
    """Should the lock be lost, say by a hand that deletes it, nothing is counted twice."""
    store.commit({}, {1: row(facts_of())})
    (lock,) = tmp_path.glob("*.lock")
    lock.unlink()
    SQLiteStore(path).close()
    assert totals(path)[0].completion_tokens == 7
    with pytest.raises(StoreError):
        store.commit({1: row(ended())}, {})
    store.commit({1: row(ended())}, {})
    assert (requests(path), totals(path)[0].completion_tokens) == (1, 20)


def test_reading_settles_nothing_and_leaves_the_file_as_it_is(path, tmp_path):
    other = SQLiteStore(path)
    other.commit({1: row(ended())}, {})
    other.close()
    before = (tmp_path / "usage.db").read_bytes()
    assert requests(path) == 1
    assert (tmp_path / "usage.db").read_bytes() == before


VERSION_1 = """
CREATE TABLE usage (
    id INTEGER PRIMARY KEY, ended_at REAL NOT NULL, request_id TEXT NOT NULL, key TEXT, model TEXT NOT NULL,
    instance_id TEXT NOT NULL, status INTEGER NOT NULL, is_cancelled INTEGER NOT NULL, duration_s REAL NOT NULL,
    prompt_tokens INTEGER NOT NULL, cached_tokens INTEGER NOT NULL, completion_tokens INTEGER NOT NULL, error_code TEXT
) STRICT;
CREATE INDEX usage_ended_at ON usage (ended_at);
INSERT INTO usage VALUES (7, 1.7e9, 'old', 'k', 'm', 'm#0', 200, 0, 1.5, 10, 4, 20, NULL);
PRAGMA user_version = 1;
"""
VERSION_1_RUNNING = """
CREATE TABLE running (
    owner, serial, ended_at, request_id, key, model, instance_id, status, is_cancelled, duration_s, prompt_tokens,
    cached_tokens, completion_tokens, error_code, PRIMARY KEY (owner, serial)
);
INSERT INTO running VALUES ('{owner}', 3, 1.7e9, 'ran', 'k', 'm', 'm#0', 500, 0, 2.5, 10, 0, 8, 'router_ended');
"""


@pytest.mark.parametrize(("script", "count"), [(VERSION_1, 1), (VERSION_1 + VERSION_1_RUNNING, 2)])
def test_a_file_of_version_1_keeps_its_rows_and_takes_new_ones(path, script, count):
    with closing(sqlite3.connect(path)) as old:
        old.executescript(script.format(owner="999999999 1.0"))
    assert requests(path) == 1  # read as it is, without a change
    store = SQLiteStore(path)
    assert requests(path) == count
    store.commit({1: row(ended())}, {2: row(facts_of())})
    assert requests(path) == count + 1
    store.close()
    assert requests(path) == count + 2
    assert totals(path)[0].reasoning_tokens == 5
    with closing(sqlite3.connect(path)) as file:
        assert file.execute("SELECT request_id, duration_s, router FROM usage WHERE id = 7").fetchone() == (
            "old", 1.5, None,
        )  # fmt: skip


def test_a_file_that_a_router_of_version_1_uses_stops_the_start_and_stays(path):
    me = f"{os.getpid()} {psutil.Process().create_time()}"
    with closing(sqlite3.connect(path)) as old:
        old.executescript((VERSION_1 + VERSION_1_RUNNING).format(owner=me))
    with pytest.raises(ConfigError, match="End that one first"):
        SQLiteStore(path)
    with closing(sqlite3.connect(path)) as file:
        assert file.execute("PRAGMA user_version").fetchone() == (1,)
        assert file.execute("SELECT count(*) FROM running").fetchone() == (1,)


def test_a_file_of_a_later_version_is_left_alone(path):
    with closing(sqlite3.connect(path)) as other:
        other.execute("PRAGMA user_version = 99")
    for use in (SQLiteStore, totals):
        with pytest.raises(ConfigError, match="version 99"):
            use(path)


VERSION_2 = """
CREATE TABLE usage (
    id INTEGER PRIMARY KEY, ended_at REAL NOT NULL, request_id TEXT NOT NULL, key TEXT, model TEXT NOT NULL,
    instance_id TEXT NOT NULL, status INTEGER NOT NULL, is_cancelled INTEGER NOT NULL, duration_s REAL NOT NULL,
    prompt_tokens INTEGER NOT NULL, cached_tokens INTEGER NOT NULL, completion_tokens INTEGER NOT NULL, error_code TEXT,
    router TEXT, serial INTEGER, endpoint TEXT NOT NULL DEFAULT '', is_stream INTEGER,
    reasoning_tokens INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX usage_ended_at ON usage (ended_at);
CREATE UNIQUE INDEX usage_request ON usage (router, serial);
CREATE TABLE running (router, serial, ended_at, duration_s, status, error_code, request_id, endpoint, key, model,
    instance_id, is_stream, is_cancelled, prompt_tokens, cached_tokens, completion_tokens, reasoning_tokens,
    PRIMARY KEY (router, serial));
INSERT INTO usage VALUES (1, 1.7e9, 'old', 'k', 'm', 'm#0', 200, 0, 1.5, 10, 4, 20, NULL, 'aa', 1, 'chat', 1, 5);
INSERT INTO running VALUES
    ('aa', 2, 1.7e9, 1.5, 500, 'router_ended', 'ran', 'chat', 'k', 'm', 'm#0', 1, 0, 10, 4, 7, 0);
PRAGMA user_version = 2;
"""


def test_a_file_of_version_2_keeps_its_rows_settles_what_ran_and_takes_new_ones(path):
    with closing(sqlite3.connect(path)) as old:
        old.executescript(VERSION_2)
    assert requests(path) == 1
    store = SQLiteStore(path)
    store.commit({1: row(ended())}, {})
    store.close()
    (total,) = totals(path)
    assert (total.requests, total.completion_tokens) == (3, 47)


def test_a_file_that_a_router_of_version_2_uses_stops_the_start_and_stays(path, tmp_path):
    with closing(sqlite3.connect(path)) as old:
        old.executescript(VERSION_2)
    locks = [tmp_path / f"usage.db.{name * 16}.lock" for name in "0a"]
    for lock in locks:
        lock.touch()
    with locks[1].open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(ConfigError, match="an earlier version"):
            SQLiteStore(path)
    assert requests(path) == 1
    SQLiteStore(path).close()
    assert requests(path) == 2
    assert [lock for lock in locks if lock.exists()] == []  # of the dead


def test_a_file_of_a_later_version_by_its_migrations_is_left_alone(path):
    SQLiteStore(path).close()
    with closing(sqlite3.connect(path)) as other, other:
        other.execute("UPDATE alembic_version SET version_num = '9999'")
    for use in (SQLiteStore, totals):
        with pytest.raises(ConfigError, match="version 9999"):
            use(path)


def test_a_file_that_is_something_else_stops_the_start(path):
    with open(path, "wb") as file:
        file.write(b"this is a text, not a database, and long enough to tell" * 9)
    for use in (SQLiteStore, totals):
        with pytest.raises(ConfigError, match="not a database"):
            use(path)


def test_a_folder_that_is_not_there_stops_the_start(tmp_path):
    with pytest.raises(ConfigError, match="absent"):
        SQLiteStore(str(tmp_path / "absent" / "usage.db"))


def test_without_a_file_there_is_no_usage_to_sum(path):
    with pytest.raises(ConfigError, match="no usage"):
        totals(path)


def test_a_path_may_hold_any_character(tmp_path):
    path = str(tmp_path / "a ?#%41'\".db")
    store = SQLiteStore(path)
    store.commit({1: row(ended())}, {})
    assert requests(path) == 1
    store.close()
