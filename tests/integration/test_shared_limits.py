"""Limits hold to the request under many clients and two routers on PostgreSQL, wherever the clients go."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator, Iterator

import pytest
from tests.postgres import NEEDED, PostgreSQL, binaries
from tests.siege.house import House, house, scripted
from tests.siege.upstream import Upstream, script, upstream

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


async def statuses(router: House, name: str, numbers: list[int], *, tokens: int = 7, fault: str = "") -> list[int]:
    """The statuses of requests of one client, one after another."""
    found = []
    async with router.client(timeout_s=120.0) as client:
        for number in numbers:
            body = script(number, tokens, fault, stream=bool(fault)) | {"max_tokens": 20}
            answer = await client.chat(body, authorization=f"Bearer secret-{name}")
            found.append(answer.status)
    return found


async def crowd(routers: list[House], name: str, *, each: int, **how: object) -> list[int]:
    """The statuses of all requests of many clients, spread over *routers*."""
    together = await asyncio.gather(
        *(
            statuses(routers[at % len(routers)], name, [at * each + n for n in range(each)], **how)  # type: ignore[arg-type]
            for at in range(CLIENTS)
        )
    )
    return [status for one in together for status in one]


async def test_many_clients_of_two_routers_have_just_as_much_as_the_limit(server: PostgreSQL) -> None:
    """Requests, tokens and places: 64 clients at once get what there is, all of it, and no more."""
    keys = key("r", "requests_per_minute = 100") + key("t", "tokens_per_minute = 1000")
    keys += key("d", "tokens_per_day = 500") + key("one", "requests_per_minute = 90")
    async with pair(server.new_database(), keys) as (routers, told):
        for name, passing in (("r", 100), ("d", None), ("t", None)):
            told.counted.clear()
            found = await crowd(routers, name, each=10)
            assert set(found) <= {200, 429}
            if passing is not None:
                assert found.count(200) == passing
            else:  # of tokens that are reserved and not taken, some come back when all have been refused
                most = {"d": 500, "t": 1000}[name] // 10
                assert most - CLIENTS // 10 <= found.count(200) <= most
            assert len(told.counted) == found.count(200)
        # All clients go to one of the two: it may use the whole limit.
        assert (await crowd(routers[1:], "one", each=3)).count(200) == 90
        assert await statuses(routers[0], "one", [NO_ONES]) == [429]


async def test_no_more_run_at_a_time_than_may_and_a_place_is_free_again_at_either_router(server: PostgreSQL) -> None:
    async with pair(server.new_database(), key("c", "concurrent_requests = 8")) as (routers, told):
        found = await crowd(routers, "c", each=1, tokens=80, fault="slow")
        assert (found.count(200), found.count(429)) == (8, CLIENTS - 8)
        for router in routers:
            assert await statuses(router, "c", [NO_ONES]) == [200]
        assert len(told.counted) == 9


async def test_a_limit_smaller_than_the_number_of_routers_locks_nobody_out(server: PostgreSQL) -> None:
    names = [f"k{at}" for at in range(6)]
    keys = "".join(key(name, "requests_per_minute = 1\ntokens_per_minute = 21") for name in names)
    async with pair(server.new_database(), keys) as (routers, _):
        for at, name in enumerate(names):
            first, second = routers[at % 2], routers[1 - at % 2]
            assert await statuses(first, name, [at]) == [200]
            assert await statuses(second, name, [at, at]) == [429, 429]


async def test_a_time_of_day_that_jumps_opens_and_locks_nothing(server: PostgreSQL) -> None:
    """Both routers' clocks, to and fro by years and by an hour: neither more nor less than the limit is let in."""
    steps = (0.0, -(10.0**9), 10.0**9, 3600.0, -3600.0)
    keys = "".join(key(f"k{at}", "requests_per_minute = 4\ntokens_per_day = 1000") for at in range(len(steps)))
    async with pair(server.new_database(), keys) as (routers, _):
        for at, off_s in enumerate(steps):
            assert await statuses(routers[0], f"k{at}", [at, at]) == [200, 200]
            for router in routers:
                router.set_clock(off_s)
            assert await statuses(routers[1], f"k{at}", [at, at, at]) == [200, 200, 429]
            assert await statuses(routers[0], f"k{at}", [at]) == [429]
