"""One file for usage: who is alive, files of other versions, reading without a change."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing

import psutil
import pytest
from tests.unit.accounts.facts import ended, facts_of

from enginehouse.accounts import SQLiteStore, StoreError, totals
from enginehouse.accounts.store import row
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


def test_several_routers_share_a_file_and_their_serials(path, store):
    others = [SQLiteStore(path) for _ in range(3)]
    for other in (store, *others):
        other.commit({1: row(ended()), 2: row(ended())}, {})
        other.close()
    assert requests(path) == 8


def test_rows_are_kept_once_however_often_they_are_given(path, store):
    for _ in range(3):
        store.commit({1: row(ended())}, {})
    assert requests(path) == 1


def test_a_count_that_no_engine_can_mean_holds_up_no_other_row(path, store):
    lying = ended(model="lies")
    lying.prompt_tokens = 10**30
    store.commit({1: row(ended()), 2: row(lying), 3: row(lying)}, {4: row(lying)})
    assert [(total.model, total.requests) for total in totals(path)] == [("lies", 2), ("m", 1)]


def test_half_a_character_holds_up_no_other_row_and_no_count_is_negative(path, store):
    odd = ended(model="odd")
    odd.error_code = "bad \ud800"
    odd.prompt_tokens = -5
    store.commit({1: row(odd), 2: row(ended())}, {})
    assert [(total.model, total.requests) for total in totals(path)] == [("m", 1), ("odd", 1)]
    assert totals(path)[1].prompt_tokens == 0


def test_a_router_that_lives_is_not_settled(path, store):
    store.commit({}, {1: row(facts_of())})
    other = SQLiteStore(path)
    assert other.settle() == 0
    other.close()
    assert requests(path) == 0


def test_a_router_that_has_closed_is_settled_once(path, store):
    for _ in range(2):
        other = SQLiteStore(path)
        other.commit({}, {1: row(facts_of()), 2: row(facts_of())})
        other.close()
    assert requests(path) == 2  # the second has settled the first
    assert (store.settle(), store.settle()) == (2, 0)
    assert requests(path) == 4


def test_a_step_of_the_clock_settles_nobody(path, store, monkeypatch):
    store.commit({}, {1: row(facts_of())})
    now = time.time
    for step_s in (-86_400, 86_400):
        monkeypatch.setattr(time, "time", lambda step_s=step_s: now() + step_s)
        other = SQLiteStore(path)
        assert other.settle() == 0
        other.close()


STOPPED = """
import os, signal, sys
from enginehouse.accounts import SQLiteStore
from enginehouse.accounts.store import row
from tests.unit.accounts.facts import facts_of
store = SQLiteStore(sys.argv[1])
store.commit({}, {1: row(facts_of())})
os.kill(os.getpid(), signal.SIGSTOP)
"""


def test_a_router_that_is_stopped_is_alive_until_it_is_killed(path, store, request):
    child = subprocess.Popen([sys.executable, "-c", STOPPED, path], cwd=request.config.rootpath)
    try:
        os.waitid(os.P_PID, child.pid, os.WSTOPPED | os.WNOWAIT)
        assert store.settle() == 0
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait(30)
    assert store.settle() == 1


def test_the_real_end_takes_the_place_of_a_settled_one(path, store, tmp_path):
    """Should a lock be lost, say by a hand that deletes it, nothing is counted twice."""
    store.commit({}, {1: row(facts_of())})
    (lock,) = tmp_path.glob("*.lock")
    lock.unlink()
    SQLiteStore(path).close()
    assert totals(path)[0].completion_tokens == 7
    with pytest.raises(StoreError):
        store.commit({1: row(ended())}, {})
    store.commit({1: row(ended())}, {})
    assert (requests(path), totals(path)[0].completion_tokens) == (1, 20)


def test_locks_of_the_dead_do_not_pile_up_and_files_of_others_stay(path, tmp_path):
    (tmp_path / "usage.db.backup.lock").touch()
    (tmp_path / "usage.db.0123456789abcdef.lock").touch()
    SQLiteStore(path).close()
    assert sorted(file.name for file in tmp_path.glob("*.lock")) == ["usage.db.backup.lock"]


def test_a_link_to_the_file_leads_to_the_same_locks(path, store, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    link = tmp_path / "elsewhere" / "link.db"
    link.symlink_to(path)
    store.commit({}, {1: row(facts_of())})
    other = SQLiteStore(str(link))
    assert other.settle() == 0
    other.close()


def test_reading_settles_nothing_and_leaves_the_file_as_it_is(path, tmp_path):
    other = SQLiteStore(path)
    other.commit({1: row(ended())}, {2: row(facts_of())})
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
    store.close()
    assert requests(path) == count + 1
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


def test_a_file_that_is_something_else_stops_the_start(path):
    with open(path, "wb") as file:
        file.write(b"this is a text, not a database, and long enough to tell" * 9)
    for use in (SQLiteStore, totals):
        with pytest.raises(ConfigError, match=r"usage\.path"):
            use(path)


def test_a_folder_that_is_not_there_stops_the_start(tmp_path):
    with pytest.raises(ConfigError, match=r"usage\.path"):
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
