"""Charges are kept with their rows by one statement, and entered for many commits at once: once, whatever is killed."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from tests.unit.accounts.facts import COST, NOTED, ONE, ended, facts_of

from enginehouse.accounts import StoreError
from enginehouse.accounts.credit_desk import CreditDesk
from enginehouse.accounts.credits import Purse, Reservation
from enginehouse.accounts.store import sqlite
from enginehouse.accounts.store.columns import Row, row
from enginehouse.accounts.store.sqlite import SQLiteStore
from enginehouse.config import UNITS, AccountsConfig, Config, KeyConfig


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(sqlite, "ENTER_S", 3600.0)
    return str(tmp_path / "accounts.db")


@pytest.fixture
def desk(path: str) -> CreditDesk:
    keys = tuple(KeyConfig(name=name, sha256=digit * 64) for name, digit in (("k", "0"), ("other", "1")))
    desk = CreditDesk(Config(accounts=AccountsConfig(url=f"sqlite:///{path}"), keys=keys))
    desk.grant("k", "1000")
    return desk


def paid() -> Row:
    return row(ended(prices=ONE, charged=COST * UNITS))


def charges(desk: CreditDesk) -> list[tuple[str, int | None]]:
    """What was entered, the newest first; all must add up."""
    found = desk.audit()
    assert found.problems == ()
    return [(entry.amount, entry.requests) for entry in desk.history("k") if entry.kind == "charge"]


def enter(store: SQLiteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let time pass until the charges are due."""
    with monkeypatch.context() as patched:
        patched.setattr(sqlite, "ENTER_S", 0.0)
        store.commit({}, {})


def test_charges_of_many_commits_are_entered_together_and_once(
    desk: CreditDesk, store: SQLiteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    for serial in range(3):
        store.commit({serial: paid()}, {})
    store.commit({2: paid(), 3: paid()}, {}, again=True)  # the answer to a commit was lost
    assert charges(desk) == []
    (standing,) = desk.all_keys()  # what they have is told at once
    shown = (str(1000 - 4 * COST), str(500 - 4 * COST), str(4 * COST))
    assert (standing.balance, standing.leased, standing.spent) == shown
    assert desk.bound("k", "900").balance == shown[0]
    assert desk.grant("other", "7").spent == "0"  # which is charged nothing of that
    for _ in range(2):
        enter(store, monkeypatch)
        assert desk.all_keys()[0].balance == shown[0]
        assert charges(desk) == [(str(-4 * COST), 4)]
    store.commit({3: paid(), 4: paid()}, {}, again=True)
    enter(store, monkeypatch)
    assert charges(desk) == [(str(-COST), 1), (str(-4 * COST), 4)]
    standing, _ = desk.all_keys()
    assert (standing.balance, standing.leased) == (str(1000 - 5 * COST), str(500 - 5 * COST))


def test_a_commit_of_rows_that_are_paid_for_is_one_statement(desk: CreditDesk, store: SQLiteStore) -> None:
    assert store._connection is not None
    driver = store._connection.connection.driver_connection
    assert driver is not None
    statements: list[str] = []
    driver.set_trace_callback(statements.append)
    store.commit({serial: paid() for serial in range(64)}, {})
    driver.set_trace_callback(None)
    assert [statement.split(" (")[0] for statement in statements] == ["INSERT INTO usage"]
    assert desk.audit().requests == 64


@pytest.mark.parametrize("entered", [0, 1, 2])
def test_what_a_router_that_was_killed_had_not_entered_is_entered_once_by_the_next(
    path: str, desk: CreditDesk, store: SQLiteStore, monkeypatch: pytest.MonkeyPatch, entered: int
) -> None:
    for serial in range(2):
        store.commit({serial: paid()}, {})
        if serial < entered:
            enter(store, monkeypatch)
    runs = facts_of(prices=ONE)
    runs.credit = Reservation(Purse("k"), 100 * UNITS, None)
    store.commit({}, {2: row(runs)})
    store._release()  # as its death would
    for _ in range(2):
        SQLiteStore(path).close()
        found = charges(desk)
        assert sum(float(amount) for amount, _ in found) == -2 * COST - NOTED
        assert sum(requests or 0 for _, requests in found) == 3
        assert [(one.balance, one.leased) for one in desk.all_keys()] == [(str(1000 - 2 * COST - NOTED), "0")]


def test_a_charge_that_cannot_be_entered_is_told_of_and_entered_later(
    path: str, desk: CreditDesk, store: SQLiteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TRIGGER no BEFORE INSERT ON entries BEGIN SELECT RAISE(ABORT, 'not today'); END")
    with monkeypatch.context() as patched:
        patched.setattr(sqlite, "ENTER_S", 0.0)
        with pytest.raises(StoreError, match=r"^not today$"):
            store.commit({1: paid()}, {})
    assert charges(desk) == []
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("DROP TRIGGER no")
    store.commit({1: paid()}, {}, again=True)
    enter(store, monkeypatch)
    assert charges(desk) == [(str(-COST), 1)]


def test_what_takes_the_place_of_a_settled_row_pays_the_difference(
    path: str, desk: CreditDesk, store: SQLiteStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Should the lock be lost, say by a hand that deletes it, nothing is paid twice."""
    runs = facts_of(prices=ONE)
    runs.credit = Reservation(Purse("k"), 100 * UNITS, None)
    store.commit({}, {1: row(runs)})
    (lock,) = tmp_path.glob("*.lock")
    lock.unlink()
    SQLiteStore(path).close()
    assert charges(desk) == [(str(-NOTED), 1)]
    with pytest.raises(StoreError):
        store.commit({1: paid()}, {})
    store.commit({1: paid(), 2: paid()}, {}, again=True)
    enter(store, monkeypatch)
    assert charges(desk) == [(str(-COST), 1), (str(NOTED - COST), 0), (str(-NOTED), 1)]
