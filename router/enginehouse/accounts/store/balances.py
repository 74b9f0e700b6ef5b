"""Credit in the database: granted, leased by routers, charged. Every function is a part of its caller's transaction.

A key's balance is the sum of its entries. What routers have leased of it is still in it, and nobody else's to spend.
Rows of keys are locked in the order of their names, so that no two transactions wait for each other.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec
from sqlalchemy import Connection, Row, delete, func, insert, select, update

from .conflicts import on_conflict
from .driver import run
from .tables import balances, entries, leases, routers, usage

_MOST_AT_ONCE: Final = 64
"""How many times what is needed a router leases at most, to ask less often."""


class Account(msgspec.Struct):
    """A key's credit as it is in its row; amounts in units."""

    key: str
    balance: int
    leased: int
    monthly: int | None
    month: str | None
    spent: int


def month_of(at: float) -> str:
    """The calendar month of the Unix time *at* in UTC: `2026-11`."""
    return time.strftime("%Y-%m", time.gmtime(at))


def known(connection: Connection, since: int) -> list[tuple[int, str]]:
    """The keys that have had credit, with their numbers, of those beyond *since*."""
    query = select(balances.c.id, balances.c.key).where(balances.c.id > since).order_by(balances.c.id)
    return [(number, key) for number, key in connection.execute(query)]


def locked(connection: Connection, keys: Iterable[str], at: float) -> dict[str, Account]:
    """The accounts of *keys*, each locked, with what was spent in the month of *at*."""
    columns = (
        balances.c.key,
        balances.c.balance,
        balances.c.leased,
        balances.c.monthly,
        balances.c.month,
        balances.c.spent,
    )
    query = select(*columns).where(balances.c.key.in_(sorted(keys))).order_by(balances.c.key).with_for_update()
    found = {row.key: Account(*row) for row in connection.execute(query)}
    month = month_of(at)
    for account in found.values():
        if account.month != month:  # also where the clock has gone back: what was spent then counts again
            account.month = month
            account.spent = _spent(connection, account.key, month)
    return found


def _spent(connection: Connection, key: str, month: str) -> int:
    """What *key* has spent in *month*, by its entries."""
    return -_sum(connection, entries.c.key == key, entries.c.month == month, _of("charge"))


def _of(kind: str) -> Any:  # SQLAlchemy's own word for a condition is private
    return entries.c.kind == kind


def _sum(connection: Connection, *conditions: Any) -> int:
    return int(connection.execute(select(func.sum(entries.c.amount)).where(*conditions)).scalar() or 0)


def unentered(connection: Connection, key: str | None = None) -> dict[str, int]:
    """What *key* (None: each) is charged by rows of usage, and routers enter within seconds; see `routers.entered`."""
    # Not by the index of a router's rows, which may be millions.
    waits = (usage.c.id > routers.c.entered, func.coalesce(usage.c.router, "") == routers.c.id, usage.c.charge > 0)
    sums = select(usage.c.key, func.sum(usage.c.charge)).where(*waits).group_by(usage.c.key)
    if key is not None:
        sums = sums.where(usage.c.key == key)
    return {name: int(amount) for name, amount in connection.execute(sums)}


def put(connection: Connection, account: Account) -> None:
    """Keep *account* as it is now."""
    values = msgspec.structs.asdict(account)
    connection.execute(update(balances).where(balances.c.key == account.key).values(values))


def make(connection: Connection, key: str) -> None:
    """Begin an account of *key*, with nothing in it, unless there is one."""
    made = on_conflict(connection.dialect, balances).values(key=key, balance=0, leased=0, spent=0)
    connection.execute(made.on_conflict_do_nothing())


def find_reference(connection: Connection, key: str, reference: str) -> tuple[str, int] | None:
    """Kind and amount of the entry of *key* with this reference; None: there is none."""
    query = select(entries.c.kind, entries.c.amount).where(entries.c.key == key, entries.c.reference == reference)
    found = connection.execute(query).one_or_none()
    return None if found is None else (str(found[0]), int(found[1]))


def history(connection: Connection, key: str, last: int) -> Sequence[Row[Any]]:
    """The *last* entries of *key*, the newest first."""
    return connection.execute(
        select(entries).where(entries.c.key == key).order_by(entries.c.id.desc()).limit(last)
    ).all()


def enter(connection: Connection, key: str, kind: str, amount: int, at: float, **more: int | str | None) -> None:
    """Write down what changes the credit of *key*, by *amount*."""
    values = {"key": key, "kind": kind, "amount": amount, "at": at, "month": month_of(at), **more}
    connection.execute(insert(entries).values(values))


def _own(connection: Connection, router: str, keys: Iterable[str]) -> dict[str, int]:
    query = select(leases.c.key, leases.c.amount).where(leases.c.router == router, leases.c.key.in_(sorted(keys)))
    return {key: amount for key, amount in connection.execute(query)}  # noqa: C416  # rows are no pairs for a checker


def _put_own(connection: Connection, router: str, key: str, amount: int) -> None:
    ours = (leases.c.router == router, leases.c.key == key)
    connection.execute(update(leases).where(*ours).values(amount=amount) if amount else delete(leases).where(*ours))


def charge(connection: Connection, router: str, wanted: Mapping[str, tuple[int, int]]) -> dict[str, int]:
    """Take from each key an amount for so many requests, out of what *router* has leased; returns what was taken.

    That is all, but where the router has lost its lease and somebody else has the credit: no balance goes below zero.
    """
    words = _words(connection)
    at = time.time()
    month = month_of(at)
    marks = ",".join([words.mark] * len(wanted))
    found: Sequence[Any] = run(connection, words.locked.format(marks=marks), (router, *sorted(wanted))).fetchall()
    taken: dict[str, int] = {}
    owns: list[tuple[Any, ...]] = []
    accounts: list[tuple[Any, ...]] = []
    entered: list[tuple[Any, ...]] = []
    for key, balance, leased, of_month, spent, own in found:
        amount, requests = wanted[key]
        taken[key] = amount = min(amount, (own or 0) + balance - leased)
        if amount == 0:
            continue
        of_lease = max(0, min(amount, own or 0))
        if of_lease:
            owns.append((own - of_lease, router, key))
        if of_month != month:
            spent = _spent(connection, key, month)  # what the row has is another month's
        accounts.append((balance - amount, leased - of_lease, month, spent + amount, key))
        entered.append((at, month, key, -amount, requests, router))
    for statement, rows in ((words.own, owns), (words.account, accounts), (words.entry, entered)):
        if rows:
            run(connection, statement, rows)
    return taken


def had_before(connection: Connection, router: str, serials: Sequence[int]) -> dict[int, int]:
    """What was charged for requests of *router* in an earlier commit of theirs, by their serials."""
    words = _words(connection)
    statement = words.before.format(marks=",".join([words.mark] * len(serials)))
    return {serial: amount for serial, amount in connection.exec_driver_sql(statement, (router, *serials))}  # noqa: C416


class _SQLite:
    """What is a part of most commits, as the driver takes it: SQLAlchemy's own words take six times as long."""

    mark = "?"
    locked = (
        "SELECT b.key, b.balance, b.leased, b.month, b.spent, l.amount FROM balances b "
        "LEFT JOIN leases l ON l.key = b.key AND l.router = ? WHERE b.key IN ({marks}) ORDER BY b.key"
    )
    before = "SELECT serial, charge FROM usage WHERE router = ? AND serial IN ({marks}) AND charge IS NOT NULL"
    own = "UPDATE leases SET amount = ? WHERE router = ? AND key = ?"
    account = "UPDATE balances SET balance = ?, leased = ?, month = ?, spent = ? WHERE key = ?"
    entry = "INSERT INTO entries (at, month, key, kind, amount, requests, router) VALUES (?, ?, ?, 'charge', ?, ?, ?)"


class _PostgreSQL(_SQLite):
    mark = "%s"
    locked = _SQLite.locked.replace("?", "%s") + " FOR UPDATE OF b"
    before = _SQLite.before.replace("?", "%s")
    own = _SQLite.own.replace("?", "%s")
    account = _SQLite.account.replace("?", "%s")
    entry = _SQLite.entry.replace("?", "%s")


def _words(connection: Connection) -> type[_SQLite]:
    return _PostgreSQL if connection.dialect.name == "postgresql" else _SQLite


def lease(connection: Connection, router: str, wanted: Mapping[str, int], routers: int) -> dict[str, int]:
    """Lease to *router*, one of so many *routers*, what it wants of each key or what there is; returns how much.

    It gets more than it wants where there is plenty, so that it need not ask soon.
    """
    accounts = locked(connection, wanted, time.time())
    own = _own(connection, router, wanted)
    granted: dict[str, int] = {}
    for key, account in accounts.items():
        room = account.balance - account.leased
        if account.monthly is not None:
            room = min(room, account.monthly - account.spent - account.leased)
        room = max(room, 0)
        needed = wanted[key]
        granted[key] = amount = min(room, max(needed, min(room // (2 * routers), _MOST_AT_ONCE * needed)))
        if amount == 0:
            continue
        if key in own:
            _put_own(connection, router, key, own[key] + amount)
        else:
            connection.execute(insert(leases).values(router=router, key=key, amount=amount))
        account.leased += amount
        put(connection, account)
    return granted


def give_back(connection: Connection, router: str, amounts: Mapping[str, int]) -> None:
    """Let others have these *amounts* of what *router* has leased."""
    own = _own(connection, router, amounts)
    for key, account in locked(connection, amounts, time.time()).items():
        amount = min(amounts[key], own.get(key, 0))
        if amount > 0:
            _put_own(connection, router, key, own[key] - amount)
            account.leased -= amount
            put(connection, account)


def forget(connection: Connection, router: str) -> None:
    """Let others have all that *router*, which is gone, had leased."""
    query = select(leases.c.key, leases.c.amount).where(leases.c.router == router)
    give_back(connection, router, {key: amount for key, amount in connection.execute(query)})  # noqa: C416
    connection.execute(delete(leases).where(leases.c.router == router))
