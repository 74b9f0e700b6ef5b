"""Parts of limits that routers are handed out: together never more than the limit, and nobody is locked out."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from enginehouse.accounts import Facts, Limiter, RateLimited, Undecided
from enginehouse.accounts.meters import MINUTE_S
from enginehouse.accounts.parts import Ask, Held, Told, hand_out
from enginehouse.config import Limits


class Table:
    """The database: answers at once, or not while it `is_away`."""

    def __init__(self) -> None:
        self.held: dict[tuple[str, str], dict[int, Held]] = {}
        self.is_away = False

    def answer(self, router: int, asks: list[Ask]) -> list[Told]:
        told = []
        for ask in asks:
            rows = self.held.setdefault((ask.subject, ask.kind), {})
            given = hand_out(ask, [held for other, held in rows.items() if other != router])
            was_short = router in rows and rows[router].is_short
            is_short = given.is_short or (was_short and not ask.wanted)
            rows[router] = Held(
                used=ask.used, unused=given.unused, is_short=is_short, is_fresh=True, frees_s=ask.frees_s
            )
            if is_short and not was_short:  # what others said was before that
                for other in rows.keys() - {router}:
                    rows[other] = msgspec.structs.replace(rows[other], is_fresh=False)
            told.append(given)
        return told

    def short_of(self, router: int) -> list[tuple[str, str]]:
        return [
            limit
            for limit, rows in self.held.items()
            if any(held.is_short for other, held in rows.items() if other != router)
        ]


class Desk:
    """One router's way to the table."""

    def __init__(self, table: Table, router: int) -> None:
        self.table, self.router, self.asked = table, router, 0

    def hand_out(self, asks: list[Ask], tell: Callable[[list[Told] | None], None]) -> None:
        self.asked += 1
        tell(None if self.table.is_away else self.table.answer(self.router, asks))


class Routers:
    """Routers on one table, with a clock that is set by hand."""

    def __init__(self, number: int, key: Limits) -> None:
        self.now = 1000.0
        self.table = Table()
        self.limiters = [Limiter(lambda: self.now) for _ in range(number)]
        self.desks = [Desk(self.table, at) for at in range(number)]
        for at, limiter in enumerate(self.limiters):
            limiter.set_keys({"k": key})
            limiter.rank, limiter.routers = at, number
            limiter.share(self.desks[at])

    async def begin(self, at: int, tokens: int = 0) -> Facts | None:
        """Let a request in at the router *at*, as the endpoint does; None: it is refused. Others look meanwhile."""
        facts = Facts("r")
        facts.key = "k"
        while True:
            try:
                self.limiters[at].enter(facts, tokens)
                return facts
            except RateLimited:
                return None
            except Undecided:
                await self.wait(0.3)

    async def wait(self, for_s: float) -> None:
        """Let time pass; then each router looks what others are short of."""
        await asyncio.sleep(0.001)
        self.now += for_s
        for at, limiter in enumerate(self.limiters):
            limiter.give_back(self.table.short_of(at))
        await asyncio.sleep(0.001)

    def end(self, at: int, facts: Facts, tokens: int = 0) -> None:
        facts.prompt_tokens = tokens
        self.limiters[at].leave(facts)


async def test_one_request_a_minute_is_had_by_whichever_router_is_asked_first() -> None:
    for first in (0, 1):
        routers = Routers(2, Limits(requests_per_minute=1))
        assert await routers.begin(first) is not None
        assert [await routers.begin(at) for at in (0, 1, first)] == [None] * 3
        await routers.wait(MINUTE_S + 1)
        assert await routers.begin(1 - first) is not None


async def test_all_of_a_limit_is_one_routers_while_others_want_none() -> None:
    routers = Routers(3, Limits(requests_per_minute=50, tokens_per_minute=500))
    passed = 0
    for _ in range(60):
        if (facts := await routers.begin(1, tokens=20)) is not None:
            routers.end(1, facts, tokens=10)
            passed += 1
    assert passed == 49  # of 500 tokens 490 are taken, and 20 are reserved
    assert routers.desks[1].asked < 50  # most asked nobody


async def test_what_one_holds_unused_another_gets_that_is_short_of_it() -> None:
    routers = Routers(2, Limits(requests_per_minute=160))
    assert await routers.begin(0) is not None  # and ten ahead
    assert sum([await routers.begin(1) is not None for _ in range(200)]) == 159


async def test_a_request_larger_than_half_of_a_limit_passes_at_either_router() -> None:
    routers = Routers(2, Limits(tokens_per_minute=100))
    for at in (0, 1, 0):
        facts = await routers.begin(at, tokens=90)
        assert facts is not None
        assert await routers.begin(1 - at, tokens=90) is None
        routers.end(at, facts, tokens=90)
        await routers.wait(MINUTE_S + 1)


async def test_places_of_requests_that_run_go_to_whoever_wants_them() -> None:
    routers = Routers(2, Limits(concurrent_requests=2))
    first, second = await routers.begin(0), await routers.begin(0)
    assert first is not None
    assert second is not None
    assert await routers.begin(1) is None
    routers.end(0, first)
    await routers.wait(1.5)
    assert await routers.begin(1) is not None
    assert await routers.begin(0) is None


async def test_while_the_database_is_away_each_keeps_to_its_even_part() -> None:
    routers = Routers(2, Limits(requests_per_minute=10))
    routers.table.is_away = True
    assert [sum([await routers.begin(at) is not None for _ in range(20)]) for at in (0, 1)] == [5, 5]
    routers.table.is_away = False
    for at in (0, 1):  # what is answered later than the request that asked
        assert await routers.begin(at) is None
        await asyncio.sleep(0.01)
    assert [await routers.begin(at) for at in (0, 1)] == [None, None]
    assert sum(held.used for held in routers.table.held["key:k", "requests_per_minute"].values()) == 10


async def test_a_limit_that_is_lowered_holds_for_all_at_once() -> None:
    routers = Routers(2, Limits(requests_per_minute=160))
    assert [await routers.begin(at) is not None for at in (0, 1)] == [True, True]
    for limiter in routers.limiters:
        limiter.set_keys({"k": Limits(requests_per_minute=5)})
    assert sum([await routers.begin(at % 2) is not None for at in range(40)]) == 3


@given(
    limit=st.integers(1, 40),
    steps=st.lists(st.tuples(st.integers(0, 2), st.integers(0, 45), st.integers(0, 20)), max_size=60),
)
def test_no_order_of_asks_hands_out_more_than_the_limit(limit: int, steps: list[tuple[int, int, int]]) -> None:
    """Each router asks, uses some of what it was given, and some of what was used leaves the window."""
    table = Table()
    used, unused = [0, 0, 0], [0, 0, 0]
    for router, wanted, takes in steps:
        ask = Ask(
            subject="s", kind="k", limit=limit, used=used[router], unused=unused[router], wanted=wanted, frees_s=1.0
        )
        (told,) = table.answer(router, [ask])
        assert told.is_short == (told.unused < wanted)
        unused[router] = told.unused
        assert sum(used) + sum(unused) <= limit
        took = min(takes, unused[router])
        unused[router] -= took
        used[router] += took
        used[takes % 3] = max(used[takes % 3] - takes % 5, 0)
