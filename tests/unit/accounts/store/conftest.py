from __future__ import annotations

from collections.abc import Iterator

import pytest

from enginehouse.accounts.credit_desk import CreditDesk
from enginehouse.accounts.store.sqlite import SQLiteStore
from enginehouse.config import UNITS


@pytest.fixture
def store(path: str, desk: CreditDesk) -> Iterator[SQLiteStore]:
    """A store that holds 500 of what *desk*, in the same file, has granted the key `k`."""
    store = SQLiteStore(path)
    store.lease({"k": 500 * UNITS}, {})
    yield store
    store.close()
