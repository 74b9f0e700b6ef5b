"""Who asks, and what it took: keys, counts and usage."""

from __future__ import annotations

from .keys import KeyRing, Unauthorized, hash_secret, new_secret
from .ledger import Ledger, UsageTotal, totals
from .trace import Trace

__all__ = [
    "KeyRing",
    "Ledger",
    "Trace",
    "Unauthorized",
    "UsageTotal",
    "hash_secret",
    "new_secret",
    "totals",
]
