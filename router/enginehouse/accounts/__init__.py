"""Who asks, and what it took: keys, facts and usage."""

from __future__ import annotations

from .facts import Facts
from .keys import KeyRing, Unauthorized, hash_secret, new_secret
from .ledger import Ledger
from .store import Store, StoreError, UsageTotal
from .store.sqlite import SQLiteStore, totals

__all__ = [
    "Facts",
    "KeyRing",
    "Ledger",
    "SQLiteStore",
    "Store",
    "StoreError",
    "Unauthorized",
    "UsageTotal",
    "hash_secret",
    "new_secret",
    "totals",
]
