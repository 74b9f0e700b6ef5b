"""Rows that nobody waits for are committed together."""

from __future__ import annotations

import threading
import time

import pytest
from tests.unit.accounts.facts import ended

from enginehouse.accounts import Ledger, ledger
from enginehouse.accounts.store.sqlite import SQLiteStore


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "usage.db")


class CountingStore(SQLiteStore):
    """Keeps how many rows each commit had."""

    def __init__(self, path):
        super().__init__(path)
        self.sizes = []

    def commit(self, ended, running, *, again=False):
        if ended:
            self.sizes.append(len(ended))
        super().commit(ended, running, again=again)


def test_rows_that_nobody_waits_for_share_a_commit(path, monkeypatch):
    monkeypatch.setattr(ledger, "GATHER_S", 60)
    store = CountingStore(path)
    book = Ledger(store)
    for _ in range(3):
        book.add(ended())
        time.sleep(0.02)
    assert book.flush(10)
    book.close()
    assert store.sizes == [3]


def test_a_row_that_is_waited_for_is_committed_with_all_before_it(path, monkeypatch):
    monkeypatch.setattr(ledger, "GATHER_S", 60)
    committed = threading.Event()
    store = CountingStore(path)
    book = Ledger(store)
    book.add(ended())
    book.add(ended(), then=committed.set)
    assert committed.wait(10)
    book.close()
    assert sum(store.sizes) == 2
