"""Credit under kills: streams of keys with little credit, while routers or the database are killed and begin again.

Afterwards all is added up: each answer that a client has whole is charged what the upstream counted for it, exactly;
what was cut off is charged at its last note, no more than was counted; nothing twice, and no balance below zero.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import random
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol

from sqlalchemy import RowMapping, select
from tests.postgres import PostgreSQL
from tests.programs import free_port
from tests.siege.accounts import request_id
from tests.siege.client import Answer, Client
from tests.siege.house import house, scripted
from tests.siege.upstream import PROMPT_TOKENS, Upstream, script, upstream
from tests.siege.verdict import Scenario, Verdict

from enginehouse.accounts import StoreError
from enginehouse.accounts.credit_desk import CreditDesk
from enginehouse.accounts.store import open_store, postgresql, reading
from enginehouse.accounts.store.columns import KILLED
from enginehouse.accounts.store.tables import usage
from enginehouse.config import UNITS, Config, ConfigError, load_config, units_of

_INPUT, _OUTPUT = 1_000_000, 100_000_000  # units for a token, as the prices below have them
_SERVER = "[server]\nport = 0\n"
PRICES: Final = 'prices = { input = "1", output = "100" }\n'
"""What a model of a campaign costs."""


class Door(Protocol):
    """A router that takes requests."""

    address: tuple[str, int]

    @property
    def is_there(self) -> bool:
        """Whether its process runs."""
        ...

    async def kill(self) -> None:
        """End it without a word."""


class Engines(Protocol):
    """What answers, and what it has counted.

    `most_tokens` is more than any answer has, and `about` what a request costs, in credits.
    """

    most_tokens: int
    about: float

    def house(self) -> str:
        """The configuration of a router that has them, without accounts and keys."""
        ...

    def body(self, number: int, choice: random.Random) -> dict[str, Any]:
        """The request of that number; some are shorter and some are slower than others."""
        ...

    def heard(self, number: int, answer: Answer) -> None:
        """Hear that the answer to this request has come whole."""
        ...

    def counted(self, number: int) -> tuple[int, int] | None:
        """Tokens of the prompt, and the most of the answer; exactly those of one that came whole. None: nothing."""
        ...

    def sum_up(self, verdict: Verdict, rows: Mapping[int, RowMapping]) -> None:
        """Count what else there is to tell, beside the *rows* of usage by the numbers of the requests."""


class Scripted:
    """A scripted upstream, which counts itself."""

    most_tokens = 30
    about = 0.0015

    def __init__(self, told: Upstream) -> None:
        self._told = told

    def house(self) -> str:
        """See `Engines`."""
        return _SERVER + scripted(self._told.port, slots=1000) + PRICES

    def body(self, number: int, choice: random.Random) -> dict[str, Any]:
        """See `Engines`."""
        tokens = choice.choice((1, 5, 12, 25))
        return script(number, tokens, choice.choice(("", "slow")), stream=True) | {"max_tokens": tokens}

    def heard(self, number: int, answer: Answer) -> None:
        """See `Engines`: the upstream knows."""

    def counted(self, number: int) -> tuple[int, int] | None:
        """See `Engines`."""
        told = self._told.counted.get(number)
        return None if told is None else (PROMPT_TOKENS, told)

    def sum_up(self, verdict: Verdict, rows: Mapping[int, RowMapping]) -> None:
        """See `Engines`."""
        told = self._told.counted
        settled = [number for number, row in rows.items() if row["error_code"] == KILLED]
        lacking = sum(told.get(number, 0) - rows[number]["completion_tokens"] for number in settled)
        verdict.counts |= {
            "tokens after their last note": lacking,
            "cut off before their first note": len(told.keys() - rows.keys()),
        }


@dataclass
class Campaign:
    """So many *streams* at a time of so many *keys*, through the routers of `doors` as they are there."""

    verdict: Verdict
    engines: Engines
    streams: int
    keys: int
    doors: Sequence[Door] = ()
    whole: set[int] = field(default_factory=set)
    asked: dict[int, str] = field(default_factory=dict)
    is_over: bool = False
    _number: int = 0

    def names(self) -> list[str]:
        """The keys."""
        return [f"key{at}" for at in range(self.keys)]

    def configuration(self, url: str) -> str:
        """A configuration that knows the keys."""
        hashes = {name: hashlib.sha256(name.encode()).hexdigest() for name in self.names()}
        keys = "".join(f'\n[[keys]]\nname = "{name}"\nsha256 = "{sha256}"\n' for name, sha256 in hashes.items())
        return f'{self.engines.house()}\n[accounts]\nurl = "{url}"\n{keys}'

    @property
    def share(self) -> str:
        """Credit for about three requests of each stream of a key."""
        return f"{3 * self.engines.about * self.streams / self.keys:.6f}"

    async def client(self, at: int) -> None:
        """Ask for one stream after another, until all is over."""
        choice = random.Random(at)
        key = self.names()[at % self.keys]
        while not self.is_over:
            doors = [door for door in self.doors if door.is_there]
            if not doors:
                await asyncio.sleep(0.02)
                continue
            self._number += 1
            number = self._number
            self.asked[number] = key
            body = self.engines.body(number, choice)
            leaves_s = choice.choice((None, None, None, choice.uniform(0, 2)))
            answer = await _once(choice.choice(doors), body, key, number, leaves_s)
            if answer is None:
                self.verdict.count("left")
            elif answer.status == 200 and answer.is_whole and answer.events()[-1:] == ["[DONE]"]:
                self.whole.add(number)
                self.engines.heard(number, answer)
                self.verdict.count("whole")
            elif answer.status == 402:
                self.verdict.count("refused for credit")
                await asyncio.sleep(0.2)
            else:
                self.verdict.count(
                    "cut off" if answer.status in (0, 200) else f"refused with {answer.status} {answer.error_code}"
                )
                await asyncio.sleep(0.05)

    async def grant(self, desk: CreditDesk) -> None:
        """Grant each key its share more; the database may be away just now."""
        for _ in range(20):
            with contextlib.suppress(StoreError, ConfigError):
                await asyncio.to_thread(self._grant, desk)
                return
            await asyncio.sleep(0.5)

    def _grant(self, desk: CreditDesk) -> None:
        for name in self.names():
            desk.grant(name, self.share)

    def judge(self, config: Config, *, is_spent: bool) -> None:
        """Add all of it up."""
        verdict = self.verdict
        desk = CreditDesk(config)
        audit = desk.audit()
        for problem in audit.problems:
            verdict.expect(False, problem)
        verdict.expect(audit.uncollected == "0", f"{audit.uncollected} credits are uncollected")
        standings = desk.all_keys()
        verdict.expect(all(units_of(one.balance) >= 0 for one in standings), "a balance is below zero")
        verdict.expect(all(one.leased == "0" for one in standings), "a lease is left of routers that have ended")
        if is_spent:
            least = 3000 * _INPUT + self.engines.most_tokens * _OUTPUT  # more than a request reserves: it is served
            left = [one.key for one in standings if units_of(one.balance) >= least]
            verdict.expect(not left, f"{len(left)} keys were refused, and have credit left")
        with reading(config) as connection:
            rows = connection.execute(select(usage)).mappings().all()
        times = Counter(row["request_id"] for row in rows)
        verdict.expect(max(times.values(), default=0) <= 1, f"doubled: {[one for one in times if times[one] > 1][:5]}")
        kept = {int(row["request_id"].rpartition("-")[2]): row for row in rows}
        for number in self.whole:
            row, (prompt, told) = kept.get(number), self.engines.counted(number) or (0, 0)
            cost = prompt * _INPUT + told * _OUTPUT
            if verdict.expect(row is not None, f"{number}: an answer that has come is not charged") and row is not None:
                found = (row["completion_tokens"], row["charge"], row["key"])
                verdict.expect(found == (told, cost, self.asked[number]), f"{number}: {found} for {told} tokens")
        for number, row in kept.items():
            _, told = self.engines.counted(number) or (0, 0)
            verdict.expect(row["completion_tokens"] <= told, f"{number}: {row['completion_tokens']} of {told} tokens")
            if row["error_code"] == KILLED:
                verdict.count("settled at their last note")
        verdict.counts |= {
            "asked": len(self.asked),
            "rows": len(rows),
            "entries": audit.entries,
            "charged, credits": str(sum(row["charge"] for row in rows) / UNITS),
        }
        self.engines.sum_up(verdict, kept)


async def _once(door: Door, body: object, key: str, number: int, leaves_s: float | None) -> Answer | None:
    headers = {"Authorization": f"Bearer {key}", "X_Request_Id": request_id(number)}
    client = Client(door.address, timeout_s=120)
    try:
        async with asyncio.timeout(leaves_s):
            return await client.chat(body, **headers)
    except TimeoutError:
        if leaves_s is None:
            raise
        return None
    except (OSError, asyncio.IncompleteReadError):
        return Answer(0, {}, b"", is_whole=False)
    finally:
        client.reset()


async def killed_router(
    verdict: Verdict, *, streams: int, keys: int, kills: int, least_s: float = 1.0, is_spent: bool = True
) -> None:
    """A router on SQLite is killed so many times under streams, and begins again each time.

    The last one spends what is left, unless *is_spent* is False: then the file is only opened once more.
    """
    async with contextlib.AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="siege-")))
        campaign = Campaign(verdict, Scripted(await stack.enter_async_context(upstream())), streams, keys)
        text = campaign.configuration("sqlite:///accounts.db")
        (folder / "house.toml").write_text(text)
        config = load_config(folder / "house.toml")
        desk = CreditDesk(config)
        await campaign.grant(desk)
        asking = [asyncio.ensure_future(campaign.client(at)) for at in range(streams)]
        for _ in range(kills):
            async with house(text, folder=folder) as running:
                campaign.doors = [running]
                await asyncio.sleep(random.uniform(least_s, 3 * least_s))
                await campaign.grant(desk)
                await asyncio.sleep(random.uniform(0, least_s))
                await running.kill()
                verdict.count("kills")
        if is_spent:
            async with house(text, folder=folder) as running:
                campaign.doors = [running]
                await _spend(campaign, asking)
        else:
            campaign.is_over = True
            await asyncio.gather(*asking)
            store = open_store(config)
            assert store is not None
            store.close()
        verdict.counts["failed commits"] = (folder / "log").read_text(errors="replace").count("usage cannot be written")
        campaign.judge(config, is_spent=is_spent)


async def _spend(campaign: Campaign, asking: Sequence[asyncio.Future[None]]) -> None:
    """Go on until nobody is served any more, and end."""
    async with asyncio.timeout(240):
        while True:
            whole = len(campaign.whole)
            await asyncio.sleep(4)
            if len(campaign.whole) == whole:
                break
    campaign.is_over = True
    await asyncio.gather(*asking)


async def shared(
    verdict: Verdict,
    *,
    streams: int,
    keys: int,
    routers: int = 2,
    dies: bool = False,
    outages: int = 0,
    least_s: float = 2.0,
) -> None:
    """Routers share PostgreSQL; one *dies* for good, or the database is killed and started again so many times."""
    async with contextlib.AsyncExitStack() as stack:
        server = PostgreSQL()
        stack.callback(server.close)
        campaign = Campaign(verdict, Scripted(await stack.enter_async_context(upstream())), streams, keys)
        text = campaign.configuration(server.new_database())
        folders = [Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="siege-"))) for _ in range(routers)]
        (folders[0] / "house.toml").write_text(text.replace("port = 0", f"port = {free_port()}", 1))
        config = load_config(folders[0] / "house.toml")
        desk = CreditDesk(config)
        await campaign.grant(desk)
        async with contextlib.AsyncExitStack() as running:
            campaign.doors = [await running.enter_async_context(house(text, folder=folder)) for folder in folders]
            await ordeal(campaign, desk, server, dies=dies, outages=outages, least_s=least_s)
        campaign.judge(config, is_spent=True)


async def ordeal(
    campaign: Campaign, desk: CreditDesk, server: PostgreSQL, *, dies: bool, outages: int, least_s: float
) -> None:
    """What `shared` promises, with routers that are there and keys that have a share; ends when all credit is spent."""
    verdict = campaign.verdict
    asking = [asyncio.ensure_future(campaign.client(at)) for at in range(campaign.streams)]
    await asyncio.sleep(2 * least_s)
    for _ in range(outages):
        await asyncio.to_thread(server.kill)
        verdict.count("outages")
        await asyncio.sleep(least_s)
        await asyncio.to_thread(server.start)
        await campaign.grant(desk)
        await asyncio.sleep(2 * least_s)
    if dies:
        await campaign.grant(desk)
        await asyncio.sleep(least_s)
        await campaign.doors[-1].kill()
        verdict.count("kills")
        await asyncio.sleep(postgresql.GONE_S + 3 * postgresql.BEAT_S)  # what it left is settled
        found = desk.audit()
        verdict.expect(found.agrees, f"while the other goes on: {found.problems[:3]}")
        await campaign.grant(desk)
    await _spend(campaign, asking)


async def _killed_router(verdict: Verdict) -> None:
    """200 streams of 20 keys; the router is killed ten times."""
    await killed_router(verdict, streams=200, keys=20, kills=10)


async def _dead_router(verdict: Verdict) -> None:
    """200 streams of 20 keys through two routers, of which one is killed for good."""
    await shared(verdict, streams=200, keys=20, dies=True)


async def _dead_database(verdict: Verdict) -> None:
    """200 streams of 20 keys through two routers; their database is killed and started again, three times."""
    await shared(verdict, streams=200, keys=20, outages=3)


SCENARIOS: dict[str, Scenario] = {
    "credit-killed-router": _killed_router,
    "credit-dead-router": _dead_router,
    "credit-dead-database": _dead_database,
}
