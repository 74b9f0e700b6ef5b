"""Usage outlives the process."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing

import msgspec
import pytest

from enginehouse.accounts import Facts, Ledger, UsageTotal, ledger, totals
from enginehouse.config import ConfigError
from enginehouse_plugin import RequestFacts

RECORD = RequestFacts(
    request_id="r", model="m", instance_id="m#0", key="k", status=200, is_stream=True, is_cancelled=False, ttft_s=0.03,
    duration_s=1.5, prompt_tokens=10, cached_tokens=4, completion_tokens=20, finish_reasons=("stop",), error_code=None,
)  # fmt: skip


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "usage.db")


@pytest.fixture
def book(path):
    book = Ledger(path)
    yield book
    book.close()


def test_records_are_summed_by_key_and_model(path, book):
    for changes in ({}, {}, {"key": "other"}, {"model": "n", "key": None}):
        book.add(msgspec.structs.replace(RECORD, **changes))
    assert book.flush(10)
    assert totals(path) == [
        UsageTotal(key=None, model="n", requests=1, prompt_tokens=10, cached_tokens=4, completion_tokens=20),
        UsageTotal(key="k", model="m", requests=2, prompt_tokens=20, cached_tokens=8, completion_tokens=40),
        UsageTotal(key="other", model="m", requests=1, prompt_tokens=10, cached_tokens=4, completion_tokens=20),
    ]


def test_a_request_that_reached_no_engine_used_nothing(path, book):
    book.add(msgspec.structs.replace(RECORD, instance_id=None))
    assert book.flush(10)
    assert totals(path) == []


def test_only_what_is_asked_for_is_summed(path, book):
    book.add(RECORD)
    assert book.flush(10)
    assert totals(path, since=4e9) == []


def test_closing_commits_what_is_left_and_a_later_process_adds_to_it(path):
    for _ in range(2):
        book = Ledger(path)
        for _ in range(2500):
            book.add(RECORD)
        book.close()
    assert totals(path)[0].requests == 5000


KILLED = """
import os, signal, sys
from enginehouse.accounts import Ledger
from tests.unit.accounts.test_ledger import RECORD
book = Ledger(sys.argv[1])
for _ in range(100):
    book.add(RECORD)
assert book.flush(10)
os.kill(os.getpid(), signal.SIGKILL)
"""


RUNNING = """
import os, signal, sqlite3, sys, time
from enginehouse.accounts import Ledger, Facts, ledger
from enginehouse_plugin import Started, TextDelta
ledger.CHECKPOINT_S = 0.05
book = Ledger(sys.argv[1])
def begin(name):
    facts = Facts(name)
    facts.model, facts.instance_id, facts.key = "m", "m#0", "k"
    facts.note([Started(prompt_tokens=10, cached_tokens=4)])
    facts.note([TextDelta(0, "a", 7)])
    book.track(facts)
    return facts
def noted():
    return sqlite3.connect(sys.argv[1]).execute("SELECT count(*) FROM running").fetchone()[0]
ended, runs = begin("ended"), begin("runs")
while noted() < 2:
    time.sleep(0.02)
book.add(ended.end(200), ended)
assert book.flush(30)
assert noted() == 1
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_ran_at_a_kill_is_counted_once_with_its_last_counts(path, request):
    child = subprocess.run([sys.executable, "-c", RUNNING, path], cwd=request.config.rootpath, timeout=120)
    assert child.returncode == -signal.SIGKILL
    for _ in range(2):
        (total,) = totals(path)
        assert (total.requests, total.prompt_tokens, total.completion_tokens) == (2, 20, 14)
    with closing(sqlite3.connect(path)) as file:
        rows = file.execute("SELECT request_id, status, error_code FROM usage ORDER BY request_id").fetchall()
    assert rows == [("ended", 200, None), ("runs", 500, ledger.KILLED)]


def test_what_runs_in_a_living_process_is_not_counted_yet(path, book, monkeypatch):
    monkeypatch.setattr(ledger, "CHECKPOINT_S", 0.05)
    facts = Facts("runs")
    facts.model, facts.instance_id = "m", "m#0"
    book.track(facts)
    with closing(sqlite3.connect(path)) as file:
        while not file.execute("SELECT count(*) FROM running").fetchone()[0]:
            time.sleep(0.02)
        assert totals(path) == []
        book.add(facts.end(200), facts)
        assert book.flush(30)
        assert totals(path)[0].requests == 1
        assert file.execute("SELECT count(*) FROM running").fetchone() == (0,)


def test_what_is_committed_survives_a_kill(path, request):
    child = subprocess.run([sys.executable, "-c", KILLED, path], cwd=request.config.rootpath, timeout=60)
    assert child.returncode == -signal.SIGKILL
    assert totals(path)[0].requests == 100


def test_two_processes_share_a_file(path, book):
    other = Ledger(path)
    for _ in range(100):
        book.add(RECORD)
        other.add(RECORD)
    other.close()
    assert book.flush(10)
    assert totals(path)[0].requests == 200


def test_what_cannot_be_written_now_is_written_later(path, book, monkeypatch, logs):
    monkeypatch.setattr(ledger, "_RETRY_S", 0.001)
    with sqlite3.connect(path) as other:
        other.execute("ALTER TABLE usage RENAME TO elsewhere")
    other.close()
    book.add(RECORD)
    assert not book.flush(0.05)
    with sqlite3.connect(path) as other:
        other.execute("ALTER TABLE elsewhere RENAME TO usage")
    other.close()
    assert book.flush(10)
    assert totals(path)[0].requests == 1
    assert [line["event"] for line in logs] == ["usage cannot be written and is kept in memory"]


def test_what_cannot_be_written_at_the_end_is_reported(path, logs):
    book = Ledger(path)
    with sqlite3.connect(path) as other:
        other.execute("DROP TABLE usage")
    other.close()
    book.add(RECORD)
    assert not book.flush(0.05)
    book.close()
    assert (logs[-1]["event"], logs[-1]["rows"]) == ("usage lost", 1)


@pytest.mark.parametrize("content", [b"this is a text, not a database, and long enough to tell" * 9])
def test_a_file_that_is_something_else_stops_the_start(path, content):
    with open(path, "wb") as file:
        file.write(content)
    with pytest.raises(ConfigError, match=r"usage\.path"):
        Ledger(path)
    with pytest.raises(ConfigError):
        totals(path)


def test_a_folder_that_is_not_there_stops_the_start(tmp_path):
    with pytest.raises(ConfigError, match=r"usage\.path"):
        Ledger(str(tmp_path / "absent" / "usage.db"))


def test_a_file_of_a_later_version_is_left_alone(path):
    with sqlite3.connect(path) as other:
        other.execute("PRAGMA user_version = 99")
    other.close()
    with pytest.raises(ConfigError, match="version 99"):
        Ledger(path)


def test_without_a_file_there_is_no_usage_to_sum(path):
    with pytest.raises(ConfigError, match="no usage"):
        totals(path)
