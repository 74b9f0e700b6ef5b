"""Who asks, and what it took: keys, counts and usage."""

from __future__ import annotations

from .facts import Facts
from .keys import KeyRing, Unauthorized, hash_secret, new_secret
from .ledger import Ledger, UsageTotal, totals

__all__ = [
    "Facts",
    "KeyRing",
    "Ledger",
    "Unauthorized",
    "UsageTotal",
    "hash_secret",
    "new_secret",
    "totals",
]
