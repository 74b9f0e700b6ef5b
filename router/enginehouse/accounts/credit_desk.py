"""Where credit is granted, withdrawn, looked up and audited: by commands and the routes under `/admin`.

As at the `Desk` of keys, each call is one transaction on a connection of its own, beside the routers that run; these
learn of it within about a second.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

import msgspec

from enginehouse.config import Config, text_of, units_of
from enginehouse_plugin.errors import InvalidRequest, RequestError

from .desk import KeyNotFound
from .keys import ANONYMOUS
from .store import reading, shared_engine

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy import Connection

    from .store.audit import Audit
    from .store.balances import Account

_MOST_SHOWN: Final = 1000


class NotCovered(RequestError):
    """The key has less than is to be withdrawn of it, beside what routers have leased."""

    code = "insufficient_credits"


class ReferenceUsed(RequestError):
    """Something else was written down with this reference before."""

    code = "reference_used"


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """A key's credit: amounts in credits, as exact decimal numbers.

    `leased` is the part of `balance` that routers may spend without asking. `spent` is what was charged in `month`, of
    which `monthly` is the most; None: there is no such bound.
    """

    key: str
    balance: str
    leased: str
    monthly: str | None
    month: str
    spent: str


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """What changed a key's credit, `at` a Unix time, by `amount`; a charge is for so many `requests` of a `router`."""

    number: int
    at: float
    kind: str
    amount: str
    requests: int | None
    router: str | None
    reference: str | None


class CreditDesk:
    """The credit in the database that *config* names.

    Every method may raise `StoreError`: the database cannot be used now.

    Raises:
        ConfigError: it names none, or that cannot be used.
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        self._engine = shared_engine(config)
        self._configured = {ANONYMOUS, *(key.name for key in config.keys)}

    def grant(self, key: str, amount: str, *, reference: str | None = None) -> Standing:
        """Add *amount* to the credit of *key*, once where the same is said again with the same *reference*.

        Raises:
            InvalidRequest: it is no amount above zero, or more than a key may have.
            KeyNotFound: there is no such key.
            ReferenceUsed: the reference stands for something else.
        """
        return self._change(key, "grant", _units(amount), reference)

    def withdraw(self, key: str, amount: str, *, reference: str | None = None) -> Standing:
        """Take *amount* from the credit of *key*; as `grant`.

        Raises:
            NotCovered: it has less than that, beside what routers have leased.
        """
        return self._change(key, "withdrawal", -_units(amount), reference)

    def bound(self, key: str, monthly: str | None) -> Standing:
        """Let *key* spend no more than *monthly* in a calendar month of UTC; None: as much as it has."""
        from .store.balances import put, unentered

        units = None if monthly is None else _units(monthly)
        with self._engine() as connection:
            account = self._account(connection, key)
            account.monthly = units
            put(connection, account)
            return _shown(account, unentered(connection, key))

    def all_keys(self) -> list[Standing]:
        """The credit of all keys that ever had any, in the order of their names."""
        from .store.balances import known, locked, unentered

        with self._engine() as connection:
            found = locked(connection, [key for _, key in known(connection, 0)], time.time())
            charged = unentered(connection)
        return [_shown(account, charged) for _, account in sorted(found.items())]

    def history(self, key: str, *, last: int = 100) -> list[Entry]:
        """The *last* entries of *key*, the newest first.

        Raises:
            KeyNotFound: it never had credit.
        """
        from .store.balances import history

        with reading(self._config) as connection:
            rows = history(connection, key, min(last, _MOST_SHOWN))
        if not rows:
            raise KeyNotFound(f"The key '{key}' never had credit.", param="key")
        return [
            Entry(
                number=row.id, at=row.at, kind=row.kind, amount=text_of(row.amount), requests=row.requests,
                router=row.router, reference=row.reference,
            )
            for row in rows
        ]  # fmt: skip

    def audit(self) -> Audit:
        """Add up all entries, balances, leases and charges of requests again, as they are at one moment."""
        from .store.audit import audit

        with reading(self._config) as connection:
            return audit(connection)

    def _change(self, key: str, kind: str, amount: int, reference: str | None) -> Standing:
        from .store.balances import enter, find_reference, put, unentered

        with self._engine() as connection:
            account = self._account(connection, key)
            if reference is not None and (found := find_reference(connection, key, reference)) is not None:
                if found == (kind, amount):
                    return _shown(account, unentered(connection, key))
                raise ReferenceUsed(f"The reference '{reference}' stands for another entry.", param="reference")
            free = account.balance - account.leased
            if free + amount < 0:
                raise NotCovered(
                    f"The key '{key}' has {text_of(account.balance)} credits, of which {text_of(account.leased)} are "
                    f"leased to routers now: {text_of(free)} can be withdrawn. What a router does not use is back "
                    "within seconds.",
                    param="amount",
                )
            account.balance += amount
            if account.balance > _MOST:
                raise InvalidRequest(f"A key has {text_of(_MOST)} credits at most.", param="amount")
            put(connection, account)
            enter(connection, key, kind, amount, time.time(), reference=reference)
            return _shown(account, unentered(connection, key))

    def _account(self, connection: Connection, key: str) -> Account:
        """The account of *key*, made if need be, and locked."""
        from .store.balances import locked, make
        from .store.keys import find_key

        now = time.time()
        found = locked(connection, [key], now)
        if key in found:
            return found[key]
        if key not in self._configured and find_key(connection, key) is None:
            raise KeyNotFound(f"There is no key '{key}', in the database or the configuration.", param="key")
        make(connection, key)
        return locked(connection, [key], now)[key]


_MOST: Final = units_of("9000000")


def _units(text: str) -> int:
    try:
        units = units_of(text)
    except ValueError as error:
        raise InvalidRequest(f"Invalid amount: {error}.", param="amount") from None
    if units == 0:
        raise InvalidRequest("Invalid amount: it must be above zero.", param="amount")
    return units


def _shown(account: Account, charges: Mapping[str, int]) -> Standing:
    """What *account* has, less what its key was charged and is not in its row yet."""
    charged = charges.get(account.key, 0)
    return Standing(
        key=account.key,
        balance=text_of(max(0, account.balance - charged)),
        leased=text_of(max(0, account.leased - charged)),
        monthly=None if account.monthly is None else text_of(account.monthly),
        month=str(account.month),
        spent=text_of(account.spent + charged),
    )
