"""Limits hold to the request under many clients and two routers on PostgreSQL, wherever the clients go."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import time
from collections.abc import AsyncIterator, Iterator
from typing import NamedTuple

import pytest
from tests.postgres import NEEDED, PostgreSQL, binaries
from tests.siege.house import House, house, scripted
from tests.siege.upstream import Upstream, script, upstream

from enginehouse.accounts.meters import MINUTE_S, SOON_S

pytestmark = pytest.mark.skipif(binaries() is None, reason=NEEDED)

CLIENTS = 64
NO_ONES = 999
"""A number of requests that the upstream does not count."""


@pytest.fixture(scope="module")
def server() -> Iterator[PostgreSQL]:
    server = PostgreSQL()
    yield server
    server.close()


def key(name: str, limits: str) -> str:
    digest = hashlib.sha256(f"secret-{name}".encode()).hexdigest()
    return f'\n[[keys]]\nname = "{name}"\nsha256 = "{digest}"\n{limits}\n'


@contextlib.asynccontextmanager
async def pair(url: str, keys: str) -> AsyncIterator[tuple[list[House], Upstream]]:
    """Two routers on the database at *url*, which know of each other."""
    async with upstream() as told:
        config = f'[server]\nport = 0\n\n[accounts]\nurl = "{url}"\n{keys}{scripted(told.port)}'
        async with house(config) as first, house(config) as second:
            yield [first, second], told


class Asked(NamedTuple):
    """A request: what came of it, and between which seconds it was let in or refused."""

    status: int
    sent_s: float
    answered_s: float


async def ask(router: House, name: str, numbers: list[int], *, tokens: int = 7, fault: str = "") -> list[Asked]:
    """Requests of one client, one after another."""
    found = []
    async with router.client(timeout_s=120.0) as client:
        for number in numbers:
            body = script(number, tokens, fault, stream=bool(fault)) | {"max_tokens": 20}
            sent_s = time.monotonic()
            answer = await client.chat(body, authorization=f"Bearer secret-{name}")
            found.append(Asked(answer.status, sent_s, time.monotonic()))
    return found


async def crowd(routers: list[House], name: str, *, each: int) -> list[Asked]:
    """All requests of many clients, spread over *routers*."""
    together = await asyncio.gather(
        *(ask(routers[at % len(routers)], name, [at * each + n for n in range(each)]) for at in range(CLIENTS))
    )
    return [one for of_client in together for one in of_client]


def let_in(found: list[Asked]) -> int:
    """How many were, where all others were refused."""
    assert {one.status for one in found} <= {200, 429}
    return sum(one.status == 200 for one in found)


def keep_to(limit: int, found: list[Asked], *, least: int | None = None) -> bool:
    """Whether no more than *limit* were let in within any minute, and no fewer (than the *least*) in all.

    On a slow machine it takes more than a minute to ask them all, and some find room again.
    """
    passed = [one for one in found if one.status == 200]
    most = max(
        sum(one.sent_s >= first.sent_s and one.answered_s <= first.sent_s + MINUTE_S for one in passed)
        for first in passed
    )
    return most <= limit and let_in(found) >= (limit if least is None else least)


async def test_many_clients_of_two_routers_have_just_as_much_as_the_limit(server: PostgreSQL) -> None:
    """Requests and tokens: 64 clients at once get what there is, all of it, and no more."""
    keys = key("r", "requests_per_minute = 100") + key("t", "tokens_per_minute = 1000")
    keys += key("d", "tokens_per_day = 500") + key("one", "requests_per_minute = 90")
    async with pair(server.new_database(), keys) as (routers, told):
        # Of tokens that are reserved and not taken, some come back when all have been refused.
        for name, limit, least in (("r", 100, 100), ("d", 50, 50 - CLIENTS // 10), ("t", 100, 100 - CLIENTS // 10)):
            told.counted.clear()
            found = await crowd(routers, name, each=10)
            assert keep_to(limit, found, least=least)
            assert name != "d" or let_in(found) <= limit
            assert len(told.counted) == let_in(found)
        # All clients go to one of the two: it may use the whole limit.
        found = await crowd(routers[1:], "one", each=3)
        assert keep_to(90, [*found, *await ask(routers[0], "one", [NO_ONES])])


async def test_no_more_run_at_a_time_than_may_and_a_place_is_free_again_at_either_router(server: PostgreSQL) -> None:
    async with pair(server.new_database(), key("c", "concurrent_requests = 8")) as (routers, told):
        asked = [asyncio.ensure_future(ask(routers[at % 2], "c", [at], fault="hold")) for at in range(CLIENTS)]
        answers = asyncio.as_completed(asked)
        assert [(await next(answers))[0].status for _ in range(CLIENTS - 8)] == [429] * (CLIENTS - 8)
        assert len(told.held) == 8
        told.let_go()
        assert [(await one)[0].status for one in answers] == [200] * 8
        # Who was just refused everywhere is known to be refused for a second more: so it was told to its client.
        await asyncio.sleep(SOON_S)
        for router in routers:
            assert let_in(await ask(router, "c", [NO_ONES])) == 1
        assert len(told.counted) == 9


async def test_a_limit_smaller_than_the_number_of_routers_locks_nobody_out(server: PostgreSQL) -> None:
    names = [f"k{at}" for at in range(6)]
    keys = "".join(key(name, "requests_per_minute = 1\ntokens_per_minute = 21") for name in names)
    async with pair(server.new_database(), keys) as (routers, _):
        for at, name in enumerate(names):
            first, second = routers[at % 2], routers[1 - at % 2]
            found = await ask(first, name, [at])
            assert let_in(found) == 1
            assert keep_to(1, [*found, *await ask(second, name, [at, at])])


async def test_a_time_of_day_that_jumps_opens_and_locks_nothing(server: PostgreSQL) -> None:
    """Both routers' clocks, to and fro by years and by an hour: neither more nor less than the limit is let in."""
    steps = (0.0, -(10.0**9), 10.0**9, 3600.0, -3600.0)
    keys = "".join(key(f"k{at}", "requests_per_minute = 4\ntokens_per_day = 1000") for at in range(len(steps)))
    async with pair(server.new_database(), keys) as (routers, _):
        for at, off_s in enumerate(steps):
            found = await ask(routers[0], f"k{at}", [at, at])
            for router in routers:
                router.set_clock(off_s)
            found += await ask(routers[1], f"k{at}", [at, at, at])
            assert let_in(found[:4]) == 4
            assert keep_to(4, [*found, *await ask(routers[0], f"k{at}", [at])])
