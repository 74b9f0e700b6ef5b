"""Whether credit adds up: entries, balances and leases beside what each request took, all at one moment."""

from __future__ import annotations

from typing import Any, Final

import msgspec
from sqlalchemy import ColumnElement, Connection, and_, case, func, select

from enginehouse.accounts.prices import PerToken
from enginehouse.config import text_of

from .balances import unentered
from .tables import balances, entries, leases, usage

_SHOWN: Final = 20
_MOST_UNITS: Final = 2**62


class AuditedKey(msgspec.Struct, frozen=True, kw_only=True):
    """One key's credit, in credits: what was granted, less what was withdrawn and charged, is the balance."""

    key: str
    granted: str
    withdrawn: str
    charged: str
    balance: str
    leased: str


class Audit(msgspec.Struct, frozen=True, kw_only=True):
    """What was found: `problems` say where something does not agree, and none is how it should be.

    `uncollected` is what requests of keys with credit cost beyond what their keys had left.
    """

    agrees: bool
    keys: tuple[AuditedKey, ...]
    entries: int
    requests: int
    uncollected: str
    problems: tuple[str, ...]


def audit(connection: Connection) -> Audit:
    """Add up all that is there again, from its parts; only reads."""
    kinds: dict[str, dict[str, int]] = {}
    count = 0
    by_kind = select(entries.c.key, entries.c.kind, func.sum(entries.c.amount), func.count())
    for key, kind, amount, number in connection.execute(by_kind.group_by(entries.c.key, entries.c.kind)):
        kinds.setdefault(key, {})[kind] = int(amount)
        count += number
    paid = _pairs(connection, usage.c.key, usage.c.charge, usage.c.charge.is_not(None))
    later = unentered(connection)
    for key, amount in later.items():
        paid[key] -= amount
    leased = _pairs(connection, leases.c.key, leases.c.amount)
    spent = _pairs(
        connection, entries.c.key, -entries.c.amount,
        and_(entries.c.kind == "charge", entries.c.month == balances.c.month, entries.c.key == balances.c.key),
    )  # fmt: skip
    problems: list[str] = []
    shown: list[AuditedKey] = []
    for row in connection.execute(select(balances).order_by(balances.c.key)):
        found = kinds.pop(row.key, {})
        charged = -found.get("charge", 0)
        for what, one, other in (
            ("its balance and the sum of its entries", row.balance, sum(found.values())),
            ("what its entries and its requests were charged", charged, paid.pop(row.key, 0)),
            ("what it has leased and its routers have", row.leased, leased.pop(row.key, 0)),
            ("what it has spent in its month and what its entries say of that", row.spent, spent.pop(row.key, 0)),
        ):
            if one != other:
                problems.append(f"key '{row.key}': {what} differ: {text_of(one)} and {text_of(other)}")
        if not 0 <= row.leased <= row.balance:
            problems.append(f"key '{row.key}': {text_of(row.leased)} are leased of {text_of(row.balance)}")
        waits = later.get(row.key, 0)  # what is shown has it already
        shown.append(
            AuditedKey(
                key=row.key,
                granted=text_of(found.get("grant", 0)),
                withdrawn=text_of(-found.get("withdrawal", 0)),
                charged=text_of(charged + waits),
                balance=text_of(max(0, row.balance - waits)),
                leased=text_of(max(0, row.leased - waits)),
            )
        )
    for what, left in (("entries", kinds), ("charged requests", paid), ("leases", leased)):
        problems += [f"key '{key}' has {what}, and no balance" for key, found in left.items() if found]
    problems += _wrong_costs(connection)
    requests, uncollected = connection.execute(
        select(func.count(), func.sum(usage.c.cost - usage.c.charge)).where(usage.c.charge.is_not(None))
    ).one()
    return Audit(
        agrees=not problems,
        keys=tuple(shown),
        entries=count,
        requests=requests,
        uncollected=text_of(int(uncollected or 0)),
        problems=tuple(problems),
    )


def _pairs(
    connection: Connection, key: ColumnElement[Any], amount: ColumnElement[Any], *conditions: ColumnElement[bool]
) -> dict[str, int]:
    query = select(key, func.sum(amount)).where(*conditions).group_by(key)
    return {name: int(total) for name, total in connection.execute(query)}


def _wrong_costs(connection: Connection) -> list[str]:
    """Rows whose cost is not that of their tokens at their prices, or which were charged more; the first of them."""
    problems: list[str] = []
    prompt = usage.c.prompt_tokens
    cached = case((usage.c.cached_tokens > prompt, prompt), else_=usage.c.cached_tokens)
    most = select(usage.c.prices, func.max(prompt), func.max(usage.c.completion_tokens))
    lists = connection.execute(most.where(usage.c.prices.is_not(None)).group_by(usage.c.prices)).all()
    for text, most_prompt, most_completion in lists:
        prices = PerToken.of(text)
        of_input, of_output = max(prices.input, prices.cached), prices.output
        rows = select(usage.c.request_id, usage.c.cost, prompt, usage.c.cached_tokens, usage.c.completion_tokens)
        if of_input * most_prompt + of_output * most_completion < _MOST_UNITS:  # else no database can add it up
            cost = prices.input * (prompt - cached) + prices.cached * cached + of_output * usage.c.completion_tokens
            rows = rows.where(usage.c.cost != cost)
        for request_id, cost, *tokens in connection.execute(rows.where(usage.c.prices == text)):
            if cost != prices.cost(*tokens):
                problems.append(f"request '{request_id}': its cost is not that of its tokens at {text} units")
    more = select(usage.c.request_id).where(usage.c.charge > usage.c.cost)
    problems += [f"request '{found}': it was charged more than it cost" for found in connection.execute(more).scalars()]
    return problems[:_SHOWN]
