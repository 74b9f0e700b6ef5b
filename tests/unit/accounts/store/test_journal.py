"""What is in the journal of a router that was killed is charged once by the next, whatever became of the files."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.unit.accounts.facts import COST, NOTED, ONE, ended, facts_of

from enginehouse.accounts import Facts, Ledger, StoreError
from enginehouse.accounts.credit_desk import CreditDesk
from enginehouse.accounts.credits import Purse, Reservation
from enginehouse.accounts.store import journal, sqlite
from enginehouse.accounts.store.columns import Row, row
from enginehouse.accounts.store.journal import Journal, left
from enginehouse.accounts.store.sqlite import SQLiteStore
from enginehouse.config import UNITS, AccountsConfig, Config, ConfigError, KeyConfig


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "accounts.db")


@pytest.fixture
def desk(path: str) -> CreditDesk:
    keys = (KeyConfig(name="k", sha256="0" * 64),)
    desk = CreditDesk(Config(accounts=AccountsConfig(url=f"sqlite:///{path}"), keys=keys))
    desk.grant("k", "1000")
    return desk


def paid(**fields: object) -> Facts:
    return ended(prices=ONE, charged=COST * UNITS, **fields)


def kill(store: SQLiteStore) -> None:
    """Let go of the lock, as its death would; what is open stays so."""
    store._release()


def found(path: str) -> list[int]:
    return sorted(serial for rows in left(path).values() for serial in rows)


def expect_charged(desk: CreditDesk, path: str, requests: int, *, noted: int = 0) -> None:
    """However often the file is opened from now on, so many requests are charged, and some at their last note."""
    for _ in range(2):
        SQLiteStore(path).close()
        audit = desk.audit()
        assert audit.problems == ()
        assert audit.requests == requests + noted
        (standing,) = desk.all_keys()
        assert (standing.balance, standing.leased) == (str(1000 - requests * COST - noted * NOTED), "0")
    assert not [*Path(path).parent.glob("*journal-*")]


@pytest.mark.parametrize("committed", [0, 1, 3])
def test_lines_that_were_not_committed_are_charged_by_the_next_router(
    path: str, desk: CreditDesk, store: SQLiteStore, committed: int
) -> None:
    rows = {serial: row(paid()) for serial in range(1, 4)}
    for serial, kept in rows.items():
        assert store.journal.keep(serial, kept)
    store.commit({serial: rows[serial] for serial in range(1, committed + 1)}, {})
    kill(store)
    expect_charged(desk, path, 3)


def test_a_line_takes_the_place_of_the_last_note(path: str, desk: CreditDesk, store: SQLiteStore) -> None:
    runs = facts_of(prices=ONE)
    runs.credit = Reservation(Purse("k"), 100 * UNITS, None)
    store.commit({}, {1: row(runs), 2: row(runs)})
    assert store.journal.keep(1, row(paid()))
    kill(store)
    expect_charged(desk, path, 1, noted=1)


def test_a_router_that_is_killed_between_the_commit_and_the_emptying_leaves_nothing_to_charge_twice(
    path: str, desk: CreditDesk, store: SQLiteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert store.journal.keep(1, row(paid()))
    kill(store)
    with monkeypatch.context() as patched:
        patched.setattr(Journal, "open", lambda _: (_ for _ in ()).throw(OSError("killed")))
        with pytest.raises(ConfigError, match="killed"):
            SQLiteStore(path)
    assert found(path) == [1]
    expect_charged(desk, path, 1)


@pytest.mark.parametrize("lacks", [1, 2, 60])
def test_a_torn_line_is_none(path: str, desk: CreditDesk, store: SQLiteStore, lacks: int) -> None:
    for serial in (1, 2):
        assert store.journal.keep(serial, row(paid()))
    (file,) = (file for file in Path(path).parent.glob("*journal-*") if b"\n[" in file.read_bytes())
    os.truncate(file, file.stat().st_size - lacks)
    kill(store)
    expect_charged(desk, path, 1)


@pytest.mark.parametrize("taken", [-1, 0, 40])
def test_what_a_full_disk_does_not_take_is_told_and_leaves_the_lines_behind_it_whole(
    path: str, desk: CreditDesk, store: SQLiteStore, monkeypatch: pytest.MonkeyPatch, taken: int
) -> None:
    """It may take nothing, or a part of a line."""

    def write(file: int, data: bytes) -> int:
        if taken < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(file, data[:taken])

    real = os.write
    assert store.journal.keep(1, row(paid()))
    with monkeypatch.context() as patched:
        patched.setattr(journal.os, "write", write)
        assert not store.journal.keep(2, row(paid()))
    assert store.journal.keep(3, row(paid()))
    assert found(path) == [1, 3]
    kill(store)
    expect_charged(desk, path, 2)


def test_a_text_that_no_line_can_have_is_told(store: SQLiteStore) -> None:
    assert not store.journal.keep(1, row(paid(model="\ud800")))


def test_a_count_that_no_engine_can_mean_is_charged_as_in_a_commit(
    path: str, desk: CreditDesk, store: SQLiteStore
) -> None:
    facts = paid()
    facts.cached_tokens = 2**70
    assert store.journal.keep(1, row(facts))
    kill(store)
    expect_charged(desk, path, 1)


def test_what_came_from_a_disk_without_sense_is_nothing(path: str, desk: CreditDesk, store: SQLiteStore) -> None:
    assert store.journal.keep(1, row(paid()))
    kill(store)
    for file in Path(path).parent.glob("*journal-*"):
        with file.open("ab") as more:
            more.write(b'\0\0\0\n[1]\n[2,[1,2]]\n{"a":1}\n[3,"x"]\nnonsense')
    assert found(path) == [1]
    expect_charged(desk, path, 1)


def test_a_journal_without_its_database_is_nobodys(path: str, store: SQLiteStore) -> None:
    assert store.journal.keep(1, row(paid()))
    kill(store)
    for file in Path(path).parent.glob("accounts.db*"):
        if "journal-" not in file.name:
            file.unlink()
    again = SQLiteStore(path)
    assert found(path) == []
    assert again.known_credits(0) == []
    again.close()


def test_a_second_router_is_refused_before_it_looks_at_the_journal(path: str, store: SQLiteStore) -> None:
    assert store.journal.keep(1, row(paid()))
    with pytest.raises(ConfigError, match="in use"):
        SQLiteStore(path)
    assert store.journal.keep(2, row(paid()))
    assert found(path) == [1, 2]


def test_a_file_that_was_deleted_is_made_anew(path: str, store: SQLiteStore) -> None:
    for file in Path(path).parent.glob("*journal-*"):
        file.unlink()
    for serial in range(3):
        assert store.journal.keep(serial, row(paid()))
        store.journal.settled(1)
    assert store.journal.keep(4, row(paid()))
    assert 4 in found(path)


def test_lines_are_dropped_once_they_are_committed_and_never_before(path: str, store: SQLiteStore) -> None:
    rows: dict[int, Row] = {}
    for serial in range(60):
        rows[serial] = row(paid())
        assert store.journal.keep(serial, rows[serial])
        if serial % 3 == 2:
            store.commit({each: rows[each] for each in range(serial - 3, serial - 1) if each >= 0}, {})
            store.journal.settled(3 if serial > 2 else 2)  # all but the last
            assert set(range(serial, serial + 1)) <= set(found(path))
            assert len(found(path)) <= 7
    assert 59 in found(path)


KILLED = """
import os, signal, sys
from tests.unit.accounts.store.test_journal import paid
from enginehouse.accounts import Ledger
from enginehouse.accounts.store.sqlite import SQLiteStore
from enginehouse.config import UNITS
store = SQLiteStore(sys.argv[1])
store.lease({"k": 500 * UNITS}, {})
book = Ledger(store)
for _ in range(int(sys.argv[2])):
    facts = paid()
    book.track(facts)
    assert book.keep(facts)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("requests", [1, 12])
def test_a_ledger_that_is_killed_the_moment_after_it_has_kept_a_request_has_it_charged(
    path: str, desk: CreditDesk, request: pytest.FixtureRequest, requests: int
) -> None:
    argv = [sys.executable, "-c", KILLED, path, str(requests)]
    assert subprocess.run(argv, cwd=request.config.rootpath, timeout=120).returncode == -9
    assert found(path) == list(range(1, requests + 1))
    expect_charged(desk, path, requests)


@pytest.mark.parametrize("is_back", [False, True])
def test_what_a_broken_database_does_not_take_at_the_end_is_left_to_the_next_router_and_not_lost(
    path: str, desk: CreditDesk, store: SQLiteStore, monkeypatch: pytest.MonkeyPatch, is_back: bool
) -> None:
    book = Ledger(store)

    def fails(*_: object, **__: object) -> None:
        raise StoreError("full")

    with monkeypatch.context() as patched:
        patched.setattr(store, "commit", fails)
        if not is_back:
            patched.setattr(sqlite, "settle", lambda *_: (_ for _ in ()).throw(sqlite.sqlite3.OperationalError("full")))
        assert book.keep(paid())
        book.close()
        assert book.lost == 0
    assert len(found(path)) == (0 if is_back else 1)
    expect_charged(desk, path, 1)
