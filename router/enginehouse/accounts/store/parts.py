"""Parts of limits in a database that routers share; what is handed out is decided in `enginehouse.accounts.parts`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, Row, delete, func, insert, literal, select, tuple_, update
from sqlalchemy.dialects import postgresql

from enginehouse.accounts.meters import DAY, DAY_S, MINUTE_S, RUNNING
from enginehouse.accounts.parts import NOBODY, Ask, Held, Told, hand_out

from .tables import parts, routers, usage

GHOST_S: Final = MINUTE_S
"""How long the parts of a router that is gone stand still: until what it let in has left every minute."""
_HANDING_OUT: Final = 0x7061727473  # any number, the same in all routers: one of them is handed out parts
_FUTURE_S: Final = 3600.0  # what ended later than this from now was written by a clock that was wrong


def lock(connection: Connection) -> None:
    """Let nobody else hand out, or change what is nobody's, until this transaction ends."""
    connection.execute(select(func.pg_advisory_xact_lock(_HANDING_OUT)))


class Short(NamedTuple):
    """Of what a router is short: since when it was not asked for, and how often each other one had said something."""

    asked_at: float
    said: Mapping[str, int]


Limit = tuple[str, str]
"""A subject and a kind."""


def answer(
    connection: Connection, router: str, asks: Sequence[Ask], short: dict[Limit, Short], now: float
) -> list[Told]:
    """Answer what *router* asks for at *now*, and keep it. Of what it is *short* is kept up."""
    lock(connection)
    others: defaultdict[Limit, list[Row[Any]]] = defaultdict(list)  # of columns of several types
    subjects = {ask.subject for ask in asks}
    for row in connection.execute(select(parts).where(parts.c.subject.in_(subjects), parts.c.router != router)):
        others[row.subject, row.kind].append(row)
    told = []
    for ask in asks:
        limit = (ask.subject, ask.kind)
        rows = others[limit]
        known = short.get(limit)
        given = hand_out(ask, [_held(row, known) for row in rows])
        told.append(given)
        if given.is_short:
            short[limit] = Short(now, {row.router: row.said for row in rows} if known is None else known.said)
        elif ask.wanted:
            short.pop(limit, None)
    put = postgresql.insert(parts)
    put = put.on_conflict_do_update(
        index_elements=["subject", "kind", "router"],
        set_={name: put.excluded[name] for name in ("used", "unused", "is_short", "frees_s")}
        | {"said": parts.c.said + 1},
    )
    rows_of_all = (_row(router, ask, given, short) for ask, given in zip(asks, told, strict=True))
    connection.execute(put, list(rows_of_all))
    return told


def _held(row: Row[Any], known: Short | None) -> Held:
    is_fresh = row.router == NOBODY or (known is not None and row.said > known.said.get(row.router, -1))
    return Held(used=row.used, unused=row.unused, is_short=row.is_short, is_fresh=is_fresh, frees_s=row.frees_s)


def _row(router: str, ask: Ask, given: Told, short: Mapping[Limit, Short]) -> dict[str, Any]:
    return {
        "subject": ask.subject, "kind": ask.kind, "router": router, "used": ask.used, "unused": given.unused,
        "is_short": (ask.subject, ask.kind) in short, "frees_s": ask.frees_s, "said": 0,
    }  # fmt: skip


def wanted(connection: Connection, router: str) -> list[tuple[str, str]]:
    """The limits of which others than *router* are short: subjects and kinds."""
    short = select(parts.c.subject, parts.c.kind).where(parts.c.is_short, parts.c.router != router).distinct()
    return [(subject, kind) for subject, kind in connection.execute(short)]


def end_shortage(connection: Connection, router: str, limits: Collection[tuple[str, str]]) -> None:
    """Say that *router* is short of these limits no more."""
    which = tuple_(parts.c.subject, parts.c.kind).in_(limits)
    connection.execute(update(parts).where(parts.c.router == router, which).values(is_short=False))


def ghosts(connection: Connection) -> set[str]:
    """The routers that are gone and have left parts."""
    living = select(routers.c.id)
    found = select(parts.c.router).where(parts.c.router != NOBODY, parts.c.router.not_in(living)).distinct()
    return set(connection.execute(found).scalars())


def bury(connection: Connection, gone: Collection[str], *, are_old: bool) -> None:
    """Let all have what the routers that are *gone* held: what ran with them, or all if they *are old*."""
    which = parts.c.router.in_(gone)
    connection.execute(delete(parts).where(which if are_old else which & (parts.c.kind == RUNNING)))


def count_nobodys(connection: Connection, now: float) -> None:
    """Count what the routers that are gone have used within the day until the Unix time *now*."""
    lock(connection)
    living = select(routers.c.id)
    connection.execute(delete(parts).where(parts.c.kind == DAY, parts.c.router.not_in(living)))
    for kind, column in (("key:", usage.c.key), ("model:", usage.c.model)):
        total = func.sum(usage.c.prompt_tokens + usage.c.completion_tokens)
        used = (
            select(
                literal(kind).concat(column), literal(DAY), literal(NOBODY), total, literal(0), literal(False),
                literal(0.0), literal(0),
            )
            .where(usage.c.ended_at > now - DAY_S, usage.c.ended_at <= now + _FUTURE_S, column.is_not(None))
            .where(usage.c.router.is_(None) | usage.c.router.not_in(living))
            .group_by(column)
        )  # fmt: skip
        names = ["subject", "kind", "router", "used", "unused", "is_short", "frees_s", "said"]
        connection.execute(insert(parts).from_select(names, used))
