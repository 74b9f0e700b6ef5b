"""What SQLite and PostgreSQL do alike: rows put in, running ones forgotten or settled, usage added up."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    Connection,
    Dialect,
    Table,
    and_,
    delete,
    exists,
    func,
    inspect,
    literal,
    literal_column,
    select,
    update,
)

from enginehouse.config import text_of

from . import By, UsageTotal
from .balances import charge, forget, had_before
from .columns import CHARGE, COLUMNS, Row
from .conflicts import on_conflict
from .driver import run
from .tables import routers, running, usage

MOST: Final = 2**40
"""The most tokens that a row holds: a count that no engine can mean must not stop all rows behind it."""
_SIZES: Final = (256, 128, *range(64, 0, -1))
"""How many rows a statement puts in: few statements for many rows, because each lets go of the interpreter's lock three
times and takes it again, beside the event loop; and not too many different ones, which the driver keeps prepared."""
_NAMES: Final = ("router", "serial", *COLUMNS)
_KEY: Final = COLUMNS.index("key")
_SINCE_PRICES: Final = "0005"
_COUNTS: Final = tuple(at for at, name in enumerate(COLUMNS) if name.endswith("_tokens"))


class Rows:
    """Puts rows of *router* in, by statements as the driver of *dialect* wants them.

    Keys pay in the same transaction; if that *defers*, only with `enter`.
    """

    def __init__(self, dialect: Dialect, router: str, *, defers: bool = False) -> None:
        self._dialect = dialect
        self._router = router
        self._defers = defers
        self._statements: dict[tuple[str, int], str] = {}
        self._has_notes = False  # of requests that run, in the database

    def keep(self, connection: Connection, ended: Mapping[int, Row], noted: Mapping[int, Row], *, again: bool) -> None:
        """Keep the rows of what has *ended*, of which none runs any more, and those *noted* of what runs.

        *again*: see `Store.commit`.
        """
        self._has_notes = self._has_notes or bool(noted)
        ended = self._paid(connection, ended, again=again)
        self._put(connection, usage, ended)
        self._put(connection, running, noted)
        if ended and self._has_notes:  # short requests leave none
            ours = running.c.router == self._router
            connection.execute(delete(running).where(ours, running.c.serial.in_([*ended])))
            self._has_notes = bool(connection.execute(select(exists().where(ours))).scalar())

    def is_one_statement(self, ended: Mapping[int, Row], noted: Mapping[int, Row]) -> bool:
        """Whether these are kept by one statement, which needs no transaction around it, unless it is done again."""
        return not noted and not self._has_notes and len(ended) in _SIZES

    def _paid(self, connection: Connection, ended: Mapping[int, Row], *, again: bool) -> Mapping[int, Row]:
        """Take from keys what the rows of *ended* charge; returns these with what was taken.

        With *again* what an earlier commit of the same rows has taken, to which no answer came, is not taken again.
        """
        if self._defers and not again:
            return ended
        charges = {serial: (str(row[_KEY]), int(row[CHARGE] or 0)) for serial, row in ended.items() if row[CHARGE]}
        had = had_before(connection, self._router, list(charges)) if again and charges else {}
        if self._defers:  # of a row that is there already what it charges more; others are entered like all
            charges = {serial: charges[serial] for serial in had}
        if not charges:
            return ended
        wanted: dict[str, tuple[int, int]] = {}
        for serial, (key, amount) in charges.items():
            sum_, requests = wanted.get(key, (0, 0))
            wanted[key] = (sum_ + amount - had.get(serial, 0), requests + (serial not in had))
        lacks = _lacks(wanted, charge(connection, self._router, wanted))
        if not lacks:
            return ended
        rows = dict(ended)
        for serial, (key, amount) in charges.items():
            left_out = min(amount, lacks.get(key, 0))
            if left_out:
                lacks[key] -= left_out
                rows[serial] = (*rows[serial][:CHARGE], amount - left_out)
        return rows

    def _statement(self, table: Table, size: int) -> str:
        """The statement for *size* rows: made when it is first needed, to keep the start of a router short."""
        found = self._statements.get((table.name, size))
        if found is None and size > 1:  # to compile many rows takes longer than to put them in
            before, _, rest = self._statement(table, 1).partition(" VALUES ")
            one, _, after = rest.partition(" ON CONFLICT ")
            found = f"{before} VALUES {', '.join([one] * size)} ON CONFLICT {after}"
        elif found is None:
            statement = on_conflict(self._dialect, table)
            statement = statement.on_conflict_do_update(
                index_elements=["router", "serial"], set_={name: statement.excluded[name] for name in COLUMNS}
            )
            found = str(statement.values([dict.fromkeys(_NAMES)]).compile(dialect=self._dialect))
        self._statements[table.name, size] = found
        return found

    def _put(self, connection: Connection, table: Table, rows: Mapping[int, Row]) -> None:
        """Put *rows* into *table*, each in place of an earlier one of its serial."""
        waiting = [(self._router, serial, *_counted(row)) for serial, row in rows.items()]
        at = 0
        for size in _SIZES:
            while len(waiting) - at >= size:
                values = tuple(chain.from_iterable(waiting[at : at + size]))
                run(connection, self._statement(table, size), values)
                at += size


def _counted(row: Row) -> Row:
    if all(0 <= row[at] <= MOST for at in _COUNTS):  # type: ignore[operator]  # these columns are numbers
        return row
    counts = {at: max(0, min(row[at], MOST)) for at in _COUNTS}  # type: ignore[type-var]
    return tuple(counts.get(at, value) for at, value in enumerate(row))


def _lacks(wanted: Mapping[str, tuple[int, int]], taken: Mapping[str, int]) -> dict[str, int]:
    """What of each key's *wanted* amount was not *taken*."""
    return {key: lack for key, (amount, _) in wanted.items() if (lack := amount - taken.get(key, 0)) > 0}


def settle(connection: Connection, router: str, ended: Mapping[int, Row] | None = None) -> int:
    """Make usage of what *router*, which is gone, had noted of requests that ran; returns of how many.

    Their keys pay what they had taken by then, and the rest of what the router had leased is theirs again. Those which
    had *ended* by its journal become usage as they ended, unless they are.
    """
    since = connection.execute(select(routers.c.entered).where(routers.c.id == router)).scalar()
    if since is None:
        since = last_row(connection)
    if ended:
        rows: list[dict[str, Any]] = [
            dict(zip(_NAMES, (router, serial, *_counted(row)), strict=True)) for serial, row in ended.items()
        ]
        connection.execute(on_conflict(connection.dialect, usage).on_conflict_do_nothing(), rows)
    noted = select(*(running.c[name] for name in _NAMES)).where(running.c.router == router)
    kept = on_conflict(connection.dialect, usage).from_select(_NAMES, noted).on_conflict_do_nothing()
    settled = connection.execute(kept, execution_options={"preserve_rowcount": True})
    connection.execute(delete(running).where(running.c.router == router))
    enter(connection, router, since)
    forget(connection, router)
    connection.execute(delete(routers).where(routers.c.id == router))
    return settled.rowcount


def last_row(connection: Connection) -> int:
    """The number of the last row of usage."""
    return int(connection.execute(select(func.max(usage.c.id))).scalar() or 0)


def enter(connection: Connection, router: str, since: int) -> None:
    """Have keys pay for the rows of *router* beyond number *since*; what one lacks, its last rows do not charge."""
    # Not by the index of the router's rows, which may be millions.
    unpaid = and_(usage.c.id > since, func.coalesce(usage.c.router, "") == router, usage.c.charge > 0)
    sums = select(usage.c.key, func.sum(usage.c.charge), func.count()).where(unpaid).group_by(usage.c.key)
    wanted = {key: (int(amount), requests) for key, amount, requests in connection.execute(sums)}
    if not wanted:
        return
    for key, lack in _lacks(wanted, charge(connection, router, wanted)).items():
        last = select(usage.c.id, usage.c.charge).where(unpaid, usage.c.key == key).order_by(usage.c.id.desc())
        for number, amount in connection.execute(last).all():
            left_out = min(amount, lack)
            connection.execute(update(usage).where(usage.c.id == number).values(charge=amount - left_out))
            lack -= left_out
            if lack == 0:
                break


def add_up(
    connection: Connection, since: float, by: Sequence[By], *, version: str | None, has_reasoning: bool = True
) -> list[UsageTotal]:
    """Usage since the Unix time *since* in a database of *version* (None: an old file, or an empty database)."""
    if version is None and not inspect(connection).has_table("usage"):
        return []
    reasoning = func.sum(usage.c.reasoning_tokens) if has_reasoning else literal(0)
    has_prices = version is not None and version >= _SINCE_PRICES
    cost = func.sum(usage.c.cost) if has_prices else literal(0)
    # A number in the text: PostgreSQL takes two parameters for two different groups.
    parts: dict[By, ColumnElement[Any]] = {
        "key": usage.c.key,
        "model": usage.c.model,
        "host": usage.c.host if has_prices else literal_column("NULL"),
        "day": func.floor(usage.c.ended_at / literal_column("86400")),
    }
    apart = [parts[name] for name in by]
    counts = (func.sum(usage.c.prompt_tokens), func.sum(usage.c.cached_tokens), func.sum(usage.c.completion_tokens))
    query = (
        select(*apart, func.count(), *counts, reasoning, cost)
        .where(usage.c.ended_at >= since)
        .group_by(*apart)
        .order_by(*(part.nulls_first() for part in apart))
    )
    return [_total(by, row) for row in connection.execute(query) if row[len(by)]]


def _total(by: Sequence[By], row: Any) -> UsageTotal:
    requests, prompt, cached, completion, reasoning, cost = row[len(by) :]
    apart = {name: _day(value) if name == "day" else value for name, value in zip(by, row, strict=False)}
    return UsageTotal(
        **apart, requests=requests, prompt_tokens=int(prompt), cached_tokens=int(cached),
        completion_tokens=int(completion), reasoning_tokens=int(reasoning), cost=text_of(int(cost or 0)),
    )  # fmt: skip


def _day(number: float) -> str:
    return time.strftime("%Y-%m-%d", time.gmtime(int(number) * 86_400))


def had(connection: Connection, since: float) -> list[tuple[str | None, str, float, int]]:
    """What was used since the Unix time *since*; see `Store.had`."""
    # A number in the text: PostgreSQL takes two parameters for two different groups.
    hour = func.floor(usage.c.ended_at / literal_column("3600"))
    query = (
        select(usage.c.key, usage.c.model, hour, func.sum(usage.c.prompt_tokens + usage.c.completion_tokens))
        .where(usage.c.ended_at >= since)
        .group_by(usage.c.key, usage.c.model, hour)
        .order_by(hour)
    )
    return [(key, model, float(at + 1) * 3600, int(tokens)) for key, model, at, tokens in connection.execute(query)]


def possible(rows: Mapping[int, Row]) -> dict[int, Row]:
    """*rows* with what a database can hold: whole characters, and none that stands for nothing."""
    return {serial: tuple(map(_written, row)) for serial, row in rows.items()}


def _written(value: float | str | None) -> float | str | None:
    if isinstance(value, str):
        return value.encode(errors="backslashreplace").decode().replace("\0", "\\0")
    return value
