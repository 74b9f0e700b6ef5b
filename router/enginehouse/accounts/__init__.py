"""Who asks, and what it took: keys, facts and usage."""

from __future__ import annotations

from .credits import Credits, Purse
from .desk import Desk, KeyExists, KeyNotFound
from .facts import Facts
from .keys import Key, KeyNotAllowed, KeyRing, Scope, Unauthorized, hash_secret, new_secret
from .ledger import AccountsState, AccountsUnavailable, Ledger
from .limits import Limiter
from .meters import Left
from .parts import Undecided
from .recent import Noted, Recent, Sum
from .refusals import InsufficientCredits, RateLimited
from .store import By, Store, StoreError, UsageTotal, open_store, totals

__all__ = [
    "AccountsState",
    "AccountsUnavailable",
    "By",
    "Credits",
    "Desk",
    "Facts",
    "InsufficientCredits",
    "Key",
    "KeyExists",
    "KeyNotAllowed",
    "KeyNotFound",
    "KeyRing",
    "Ledger",
    "Left",
    "Limiter",
    "Noted",
    "Purse",
    "RateLimited",
    "Recent",
    "Scope",
    "Store",
    "StoreError",
    "Sum",
    "Unauthorized",
    "Undecided",
    "UsageTotal",
    "hash_secret",
    "new_secret",
    "open_store",
    "totals",
]
