"""Credit under kills: streams of keys with little credit, while routers or the database are killed and begin again.

Afterwards all is added up: each answer that a client has whole is charged what the upstream counted for it, exactly;
what was cut off is charged at its last note, no more than was counted; nothing twice, and no balance below zero.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import random
import signal
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from sqlalchemy import select
from tests.postgres import PostgreSQL
from tests.programs import free_port
from tests.siege.accounts import request_id
from tests.siege.client import Answer, Client
from tests.siege.house import House, house, scripted
from tests.siege.upstream import PROMPT_TOKENS, Upstream, script, upstream
from tests.siege.verdict import Scenario, Verdict

from enginehouse.accounts import StoreError
from enginehouse.accounts.credit_desk import CreditDesk
from enginehouse.accounts.store import open_store, postgresql, reading
from enginehouse.accounts.store.columns import KILLED
from enginehouse.accounts.store.tables import usage
from enginehouse.config import UNITS, Config, ConfigError, load_config, units_of

_INPUT, _OUTPUT = 1_000_000, 100_000_000  # units for a token, as the prices below have them
_LEAST: Final = 3000 * _INPUT + 30 * _OUTPUT
"""More than any of these requests reserves: who has it left is served."""
_SERVER = '[server]\nport = 0\n\n[accounts]\nurl = "{url}"\n'
_PRICES = '[models.scripted.prices]\ninput = "1"\noutput = "100"\n'


@dataclass
class Campaign:
    """So many *streams* at a time of so many *keys*, through the routers of `doors` as they are there."""

    verdict: Verdict
    told: Upstream
    streams: int
    keys: int
    doors: list[House] = field(default_factory=list)
    whole: dict[int, str] = field(default_factory=dict)
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
        return _SERVER.format(url=url) + scripted(self.told.port, slots=1000) + _PRICES + keys

    async def client(self, at: int) -> None:
        """Ask for one stream after another, until all is over."""
        choice = random.Random(at)
        key = self.names()[at % self.keys]
        while not self.is_over:
            doors = [door for door in self.doors if door.process.returncode is None]
            if not doors:
                await asyncio.sleep(0.02)
                continue
            self._number += 1
            number, tokens = self._number, choice.choice((1, 5, 12, 25))
            self.asked[number] = key
            body = script(number, tokens, choice.choice(("", "slow")), stream=True) | {"max_tokens": tokens}
            leaves_s = choice.choice((None, None, None, choice.uniform(0, 2)))
            answer = await _once(choice.choice(doors), body, key, number, leaves_s)
            if answer is None:
                self.verdict.count("left")
            elif answer.status == 200 and answer.is_whole and answer.events()[-1:] == ["[DONE]"]:
                self.whole[number] = key
                self.verdict.count("whole")
            elif answer.status == 402:
                self.verdict.count("refused for credit")
                await asyncio.sleep(0.2)
            else:
                self.verdict.count(
                    "cut off" if answer.status in (0, 200) else f"refused with {answer.status} {answer.error_code}"
                )
                await asyncio.sleep(0.05)

    def grant(self, desk: CreditDesk, credits_: str) -> None:
        """Grant each key so much more."""
        for name in self.names():
            desk.grant(name, credits_)

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
            left = [one.key for one in standings if units_of(one.balance) >= _LEAST]
            verdict.expect(not left, f"{len(left)} keys were refused, and have credit left")
        with reading(config) as connection:
            rows = connection.execute(select(usage)).mappings().all()
        times = Counter(row["request_id"] for row in rows)
        verdict.expect(max(times.values(), default=0) <= 1, f"doubled: {[one for one in times if times[one] > 1][:5]}")
        kept = {int(row["request_id"].rpartition("-")[2]): row for row in rows}
        for number in self.whole:
            row, told = kept.get(number), self.told.counted.get(number, 0)
            cost = PROMPT_TOKENS * _INPUT + told * _OUTPUT
            if verdict.expect(row is not None, f"{number}: an answer that has come is not charged") and row is not None:
                found = (row["completion_tokens"], row["charge"], row["key"])
                verdict.expect(found == (told, cost, self.asked[number]), f"{number}: {found} for {told} tokens")
        noted = 0
        for number, row in kept.items():
            told = self.told.counted.get(number, 0)
            verdict.expect(row["completion_tokens"] <= told, f"{number}: {row['completion_tokens']} of {told} tokens")
            if row["error_code"] == KILLED:
                verdict.count("settled at their last note")
                noted += told - row["completion_tokens"]
        missing = self.told.counted.keys() - kept.keys()
        verdict.counts |= {
            "asked": len(self.asked),
            "rows": len(rows),
            "entries": audit.entries,
            "charged, credits": str(sum(row["charge"] for row in rows) / UNITS),
            "tokens after their last note": noted,
            "cut off before their first note": len(missing),
        }


async def _once(door: House, body: object, key: str, number: int, leaves_s: float | None) -> Answer | None:
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


async def _grant(campaign: Campaign, desk: CreditDesk, credits_: str) -> None:
    for _ in range(20):  # the database may be away just now
        with contextlib.suppress(StoreError, ConfigError):
            await asyncio.to_thread(campaign.grant, desk, credits_)
            return
        await asyncio.sleep(0.5)


async def killed_router(
    verdict: Verdict, *, streams: int, keys: int, kills: int, least_s: float = 1.0, is_spent: bool = True
) -> None:
    """A router on SQLite is killed so many times under streams, and begins again each time.

    The last one spends what is left, unless *is_spent* is False: then the file is only opened once more.
    """
    async with contextlib.AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="siege-")))
        campaign = Campaign(verdict, await stack.enter_async_context(upstream()), streams, keys)
        text = campaign.configuration("sqlite:///accounts.db")
        (folder / "house.toml").write_text(text)
        config = load_config(folder / "house.toml")
        desk = CreditDesk(config)
        campaign.grant(desk, _share(streams, keys))
        asking = [asyncio.ensure_future(campaign.client(at)) for at in range(streams)]
        for _ in range(kills):
            async with house(text, folder=folder) as running:
                campaign.doors = [running]
                await asyncio.sleep(random.uniform(least_s, 3 * least_s))
                await _grant(campaign, desk, _share(streams, keys))
                await asyncio.sleep(random.uniform(0, least_s))
                running.process.send_signal(signal.SIGKILL)
                await running.process.wait()
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


def _share(streams: int, keys: int) -> str:
    """Credit for about three requests of each stream of a key."""
    return f"{3 * 0.0015 * streams / keys:.6f}"


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
        url = server.new_database()
        campaign = Campaign(verdict, await stack.enter_async_context(upstream()), streams, keys)
        text = campaign.configuration(url)
        folders = [Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="siege-"))) for _ in range(routers)]
        (folders[0] / "house.toml").write_text(text.replace("port = 0", f"port = {free_port()}", 1))
        config = load_config(folders[0] / "house.toml")
        desk = CreditDesk(config)
        campaign.grant(desk, _share(streams, keys))
        async with contextlib.AsyncExitStack() as running:
            campaign.doors = [await running.enter_async_context(house(text, folder=folder)) for folder in folders]
            asking = [asyncio.ensure_future(campaign.client(at)) for at in range(streams)]
            await asyncio.sleep(2 * least_s)
            for _ in range(outages):
                await asyncio.to_thread(server.kill)
                verdict.count("outages")
                await asyncio.sleep(least_s)
                await asyncio.to_thread(server.start)
                await _grant(campaign, desk, _share(streams, keys))
                await asyncio.sleep(2 * least_s)
            if dies:
                await _grant(campaign, desk, _share(streams, keys))
                await asyncio.sleep(least_s)
                campaign.doors[-1].process.send_signal(signal.SIGKILL)
                await campaign.doors[-1].process.wait()
                verdict.count("kills")
                await asyncio.sleep(postgresql.GONE_S + 3 * postgresql.BEAT_S)  # what it left is settled
                found = desk.audit()
                verdict.expect(found.agrees, f"while the other goes on: {found.problems[:3]}")
                await _grant(campaign, desk, _share(streams, keys))
            await _spend(campaign, asking)
        campaign.judge(config, is_spent=True)


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
