"""What the ledger does for credit: leases, and what waits for a commit."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from tests.unit.accounts.facts import ended, facts_of

from enginehouse.accounts import AccountsUnavailable, Credits, InsufficientCredits, Ledger, StoreError, ledger
from enginehouse.accounts.credit_desk import CreditDesk
from enginehouse.accounts.prices import PerToken
from enginehouse.accounts.store.columns import Row
from enginehouse.accounts.store.sqlite import SQLiteStore, totals
from enginehouse.config import AccountsConfig, Config, KeyConfig, units_of


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "usage.db")


def wait_for(condition: Callable[[], bool]) -> None:
    for _ in range(1000):
        if condition():
            return
        time.sleep(0.01)
    pytest.fail("it did not happen within 10 s")


async def test_credit_that_a_broken_database_cannot_lease_is_refused_and_the_ledger_goes_on(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = SQLiteStore(path)
    credit = Credits()
    credit.learn([(1, "k")])
    book = Ledger(store, credit=credit)

    def broken(*_: object) -> None:
        raise ConnectionResetError("not a word of SQL")

    again = asyncio.Event()
    facts = facts_of()
    facts.prices = PerToken.of("1/1/1")

    def ask() -> bool:
        return credit.reserve(
            facts, credit.purses["k"], choices=1, said_tokens=1, most_tokens=9, again=again.set
        )  # fmt: skip

    with monkeypatch.context() as patched:
        patched.setattr(store, "lease", broken)
        assert not ask()
        await asyncio.wait_for(again.wait(), 10)
    again.clear()
    while not again.is_set():  # the lease failed alone, and is tried again with the next commit
        try:
            assert not ask()
            await asyncio.wait_for(again.wait(), 10)
        except AccountsUnavailable:
            assert book.flush(10)
    with pytest.raises(InsufficientCredits):
        ask()
    book.add(ended())
    assert book.flush(10)
    assert [total.requests for total in totals(path)] == [1]
    book.close()


async def test_what_is_to_follow_a_commit_follows_it_and_does_not_wait_for_a_database_that_is_away(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger, "CHECKPOINT_S", 0.05)
    monkeypatch.setattr(ledger, "_RETRY_S", 0.001)
    book = Ledger(SQLiteStore(path))
    committed = threading.Event()
    book.add(ended(), then=lambda: committed.set() if totals(path) else None)
    assert committed.wait(10)

    def fails(*_: object, **__: object) -> None:
        raise StoreError("full")

    with monkeypatch.context() as patched:
        patched.setattr(SQLiteStore, "commit", fails)
        wait_for(lambda: book.state == "noting")
        called: list[int] = []
        book.add(ended(), then=lambda: called.append(1))
        assert called == [1]
    assert book.flush(10)
    book.close()


@pytest.mark.parametrize("what", ["commit", "settle"])
def test_a_key_pays_once_for_what_was_kept_though_nobody_was_told(
    path: str, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    monkeypatch.setattr(ledger, "_RETRY_S", 0.001)
    monkeypatch.setattr(ledger, "SETTLE_S", 0.0)

    class Unsure(SQLiteStore):
        failures = 3

        def commit(self, ended: Mapping[int, Row], running: Mapping[int, Row], *, again: bool = False) -> None:
            super().commit(ended, running, again=again)
            if ended and what == "commit":
                self._fail()

        def settle(self) -> int:
            if what == "settle":
                self._fail()
            return super().settle()

        def _fail(self) -> None:
            if self.failures:
                self.failures -= 1
                raise StoreError("the answer is lost")

    key = KeyConfig(name="k", sha256="0" * 64)
    desk = CreditDesk(Config(accounts=AccountsConfig(url=f"sqlite:///{path}"), keys=(key,)))
    desk.grant("k", "1")
    store = Unsure(path)
    store.lease({"k": 1000}, {})
    book = Ledger(store)
    paid = ended(prices=PerToken.of("1/1/1"), charged=30)
    book.add(paid)
    assert book.flush(10)
    book.close()
    assert [total.requests for total in totals(path)] == [1]
    (charge,) = [entry for entry in desk.history("k") if entry.kind == "charge"]
    assert units_of(charge.amount.removeprefix("-")) == 30
    assert desk.audit().agrees
