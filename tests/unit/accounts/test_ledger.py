"""Usage outlives the process: what a ledger makes of requests, on a real file."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing

import pytest
from tests.unit.accounts.facts import ended, facts_of

from enginehouse.accounts import (
    AccountsUnavailable,
    Key,
    KeyRing,
    Ledger,
    StoreError,
    Unauthorized,
    UsageTotal,
    hash_secret,
    ledger,
)
from enginehouse.accounts.store.columns import HOST, KILLED
from enginehouse.accounts.store.sqlite import SQLiteStore, totals


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "usage.db")


@pytest.fixture
def book(path):
    book = Ledger(SQLiteStore(path))
    yield book
    book.close()


@pytest.fixture
def quick(monkeypatch):
    """Notes and tries again after little time."""
    monkeypatch.setattr(ledger, "CHECKPOINT_S", 0.05)
    monkeypatch.setattr(ledger, "_RETRY_S", 0.001)


def a_total(**fields):
    counts = {"requests": 1, "prompt_tokens": 10, "cached_tokens": 4, "completion_tokens": 20, "reasoning_tokens": 5}
    return UsageTotal(**{"key": "k", "model": "m", **counts, **fields})


def noted(path):
    with closing(sqlite3.connect(path)) as file:
        return file.execute("SELECT request_id, completion_tokens FROM running").fetchall()


def wait_for(condition):
    for _ in range(1000):
        if condition():
            return
        time.sleep(0.01)
    pytest.fail("it did not happen within 10 s")


def test_requests_are_summed_by_key_and_model(path, book):
    for changes in ({}, {}, {"key": "other"}, {"model": "n", "key": None}):
        book.add(ended(**changes))
    assert book.flush(10)
    twice = {"requests": 2, "prompt_tokens": 20, "cached_tokens": 8, "completion_tokens": 40, "reasoning_tokens": 10}
    assert totals(path) == [a_total(key=None, model="n"), a_total(**twice), a_total(key="other")]


def test_a_row_holds_the_facts(path, book):
    book.add(ended(endpoint="chat", is_stream=True))
    assert book.flush(10)
    with closing(sqlite3.connect(path)) as file:
        file.row_factory = sqlite3.Row
        row = dict(file.execute("SELECT * FROM usage").fetchone())
    assert abs(row.pop("ended_at") - time.time()) < 60
    assert row.pop("duration_s") < 60
    assert len(row.pop("router")) == 16
    assert row == {
        "id": 1, "serial": 1, "request_id": "r", "endpoint": "chat", "key": "k", "model": "m", "instance_id": "m#0",
        "status": 200, "is_stream": 1, "is_cancelled": 0, "prompt_tokens": 10, "cached_tokens": 4,
        "completion_tokens": 20, "reasoning_tokens": 5, "error_code": None, "host": HOST, "prices": None,
        "cost": None, "charge": None,
    }  # fmt: skip


def test_a_request_that_reached_no_engine_used_nothing(path, book):
    book.add(ended(instance_id=None))
    assert book.flush(10)
    assert totals(path) == []


def test_only_what_is_asked_for_is_summed(path, book):
    book.add(ended())
    assert book.flush(10)
    assert totals(path, since=4e9) == []


def test_closing_commits_what_is_left_and_a_later_process_adds_to_it(path):
    for _ in range(2):
        book = Ledger(SQLiteStore(path))
        for _ in range(2500):
            book.add(ended())
        book.close()
    assert totals(path)[0].requests == 5000


def run_child(script, path, request):
    child = subprocess.run([sys.executable, "-c", script, path], cwd=request.config.rootpath, timeout=120)
    assert child.returncode == -signal.SIGKILL


KILLED_AFTER_COMMIT = """
import os, signal, sys
from enginehouse.accounts import Ledger
from enginehouse.accounts.store.sqlite import SQLiteStore
from tests.unit.accounts.facts import ended
book = Ledger(SQLiteStore(sys.argv[1]))
for _ in range(100):
    book.add(ended())
assert book.flush(10)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_is_committed_survives_a_kill(path, request):
    run_child(KILLED_AFTER_COMMIT, path, request)
    assert totals(path)[0].requests == 100


KILLED_WHILE_RUNNING = """
import os, signal, sys
from enginehouse.accounts import Ledger, ledger
from enginehouse.accounts.store.sqlite import SQLiteStore
from enginehouse_plugin import TextDelta
from tests.unit.accounts.facts import facts_of
from tests.unit.accounts.test_ledger import noted, wait_for
ledger.CHECKPOINT_S = 0.05
path = sys.argv[1]
book = Ledger(SQLiteStore(path))
done, runs = facts_of("ended"), facts_of("runs")
book.track(done)
book.track(runs)
wait_for(lambda: len(noted(path)) == 2)
runs.note([TextDelta(choice=0, text="b", completion_tokens=9)])
wait_for(lambda: ("runs", 9) in noted(path))
done.end(200)
book.add(done)
assert book.flush(30)
assert noted(path) == [("runs", 9)]
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_ran_at_a_kill_is_counted_once_with_its_last_counts_when_the_file_is_next_opened(path, request):
    run_child(KILLED_WHILE_RUNNING, path, request)
    assert totals(path)[0].requests == 1
    for _ in range(2):
        SQLiteStore(path).close()
        (total,) = totals(path)
        assert (total.requests, total.prompt_tokens, total.completion_tokens) == (2, 20, 16)
    with closing(sqlite3.connect(path)) as file:
        rows = file.execute("SELECT request_id, status, error_code FROM usage ORDER BY request_id").fetchall()
    assert rows == [("ended", 200, None), ("runs", 500, KILLED)]


def test_what_runs_in_a_living_router_is_not_counted_yet(path, book, quick):
    facts = facts_of("runs")
    book.track(facts)
    wait_for(lambda: noted(path))
    assert totals(path) == []
    facts.end(200)
    book.add(facts)
    assert book.flush(30)
    assert totals(path)[0].requests == 1
    assert noted(path) == []


def test_what_waits_for_an_engine_is_no_usage(path, book, quick):
    waits, runs = facts_of("waits", instance_id=None), facts_of("runs")
    book.track(waits)
    book.track(runs)
    wait_for(lambda: noted(path))
    waits.end(499)
    runs.end(200)
    book.add(waits)
    book.add(runs)
    assert book.flush(30)
    assert [total.requests for total in totals(path)] == [1]
    assert not book._running


def test_what_does_not_change_is_noted_once(path, quick):
    class Counting(SQLiteStore):
        def commit(self, ended, running, *, again=False):
            super().commit(ended, running, again=again)
            commits.append(len(running))

    commits = []
    book = Ledger(Counting(path))
    book.track(facts_of("runs"))
    wait_for(lambda: len(commits) > 20)
    book.close()
    assert sum(commits) == 1


def test_a_file_that_is_deleted_meanwhile_is_told_of_and_made_anew(path, tmp_path, book, quick, logs):
    runs = facts_of("runs")
    book.track(runs)
    book.add(ended())
    wait_for(lambda: noted(path))
    for file in tmp_path.iterdir():
        file.unlink()
    book.add(ended("later"))
    wait_for(lambda: "usage is written again" in [line["event"] for line in logs])
    assert totals(path)[0].requests == 1
    wait_for(lambda: noted(path))
    assert [line["event"] for line in logs] == [
        "usage cannot be written and is kept in memory", "usage is written again",
    ]  # fmt: skip
    assert "deleted" in logs[0]["problem"]


def test_a_file_without_its_folder_is_kept_in_memory_until_there_is_one_again(tmp_path, quick, logs):
    folder = tmp_path / "there"
    folder.mkdir()
    path = str(folder / "usage.db")
    book = Ledger(SQLiteStore(path))
    folder.rename(tmp_path / "elsewhere")
    for _ in range(10):
        book.add(ended())
    assert not book.flush(0.1)
    folder.mkdir()
    assert book.flush(10)
    assert totals(path)[0].requests == 10
    book.close()


def test_what_cannot_be_written_now_is_written_later_once(path, quick, logs):
    class Failing(SQLiteStore):
        failures = 3

        def commit(self, ended, running, *, again=False):
            super().commit(ended, running, again=again)  # the worst: kept, and not known to be
            if ended and self.failures:
                self.failures -= 1
                raise StoreError("disk full")

    book = Ledger(Failing(path))
    book.add(ended())
    assert book.flush(10)
    book.close()
    assert totals(path)[0].requests == 1
    assert [line["event"] for line in logs] == [
        "usage cannot be written and is kept in memory", "usage is written again",
    ]  # fmt: skip


def test_what_cannot_be_written_at_the_end_is_reported(path, logs):
    book = Ledger(SQLiteStore(path))
    with sqlite3.connect(path) as other:
        other.execute("DROP TABLE usage")
    other.close()
    book.add(ended())
    assert not book.flush(0.05)
    book.close()
    assert (logs[-1]["event"], logs[-1]["rows"]) == ("usage lost", 1)


def test_rows_that_wait_are_bounded_and_the_lost_ones_told_when_it_is_written_again(path, quick, logs, monkeypatch):
    monkeypatch.setattr(ledger, "MAX_WAITING", 10)
    is_full = threading.Event()
    is_full.set()

    class Full(SQLiteStore):
        def commit(self, ended, running, *, again=False):
            if is_full.is_set():
                raise StoreError("disk full")
            super().commit(ended, running, again=again)

    book = Ledger(Full(path))
    book.add(ended())
    wait_for(lambda: logs)
    for _ in range(15):
        book.add(ended())
    assert book.lost == 5
    is_full.clear()
    assert book.flush(10)
    book.close()
    assert totals(path)[0].requests == 11
    assert (logs[-1]["event"], logs[-1]["rows"]) == ("usage lost", 5)


def test_a_folder_that_cannot_be_looked_into_for_a_while_loses_nothing(tmp_path, quick, monkeypatch):
    path = str(tmp_path / "usage.db")
    book = Ledger(SQLiteStore(path))
    stat, is_hidden = os.stat, True

    def refused(name, *more, **options):
        if is_hidden and str(name).startswith(path):
            raise PermissionError(13, "Permission denied", str(name))
        return stat(name, *more, **options)

    monkeypatch.setattr(os, "stat", refused)
    book.add(ended())
    assert not book.flush(0.1)
    is_hidden = False
    assert book.flush(10)
    book.close()
    assert totals(path)[0].requests == 1


@pytest.mark.parametrize(("refuses", "state"), [(False, "noting"), (True, "refusing")])
def test_while_nothing_can_be_written_it_says_so_and_refuses_if_it_should(path, quick, refuses, state):
    is_away = threading.Event()
    is_away.set()

    class Away(SQLiteStore):
        def commit(self, ended, running, *, again=False):
            if is_away.is_set():
                raise StoreError("away")
            super().commit(ended, running, again=again)

    book = Ledger(Away(path), refuses=refuses)
    book.add(ended())
    wait_for(lambda: book.state == state)
    if refuses:
        with pytest.raises(AccountsUnavailable):
            book.check()
    else:
        book.check()
    book.add(ended())  # what runs goes on, and is noted
    is_away.clear()
    wait_for(lambda: book.state == "written")
    book.check()
    book.close()
    assert totals(path)[0].requests == 2


def test_keys_go_on_to_expire_while_the_database_is_away(path, quick, monkeypatch):
    class Away(SQLiteStore):
        def commit(self, ended, running, *, again=False):
            raise StoreError("away")

        def changed_keys(self, since):
            raise StoreError("away")

    monkeypatch.setattr(ledger, "CHECKPOINT_S", 0.01)
    ring = KeyRing(is_closed=True)
    ring.follow([Key(name="a", sha256=hash_secret("x"), created_at=0.0, expires_at=time.time() + 0.2, changed=1)])
    before = ring.generation
    book = Ledger(Away(path), keys=ring)
    book.add(ended())
    wait_for(lambda: ring.generation is not before)
    with pytest.raises(Unauthorized):
        ring.check("Bearer x")
    book.close()
