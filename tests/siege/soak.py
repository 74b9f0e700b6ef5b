"""Soaks: many requests of all kinds for a long time, and what the router looks like before and after."""

from __future__ import annotations

import asyncio
import itertools
import random
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from typing import Any, Final

from tests.siege.accounts import judge_books, request_id
from tests.siege.client import Client, posted
from tests.siege.house import SERVER, House, house, scripted, tiny
from tests.siege.judging import HONEST, judge_house
from tests.siege.kills import outcome, strike
from tests.siege.pulse import pulse
from tests.siege.upstream import FAULTS, Upstream, script, upstream
from tests.siege.verdict import SIZE, Scenario, Verdict

_CLIENTS: Final = 16
_WARM: Final = 0.25
"""Memory is flat from this share of the soak on."""
_GROWTH_MIB: Final = 40.0
_KILL_EVERY_S: Final = (20.0, 20.0, 20.0, 70.0)
"""In turn: with no time of health between, the router rightly gives an engine up that ends so often."""
_MOST_PATIENCE_S: Final = 5.0
_TOLD_EACH: Final = 30


@asynccontextmanager
async def _watched(running: House, verdict: Verdict) -> AsyncIterator[None]:
    """Note descriptors and tasks before and after, memory meanwhile; all must be what they were."""
    descriptors, tasks, began = running.descriptors(), await running.tasks(), time.monotonic()
    memory: list[tuple[float, float]] = []

    async def watch() -> None:
        while True:
            memory.append((time.monotonic() - began, running.resident_mib()))
            if len(memory) % _TOLD_EACH == 1:  # a soak of hours is looked at meanwhile
                at, mib = memory[-1]
                print(f"  {at:.0f} s, {mib:.0f} MiB: {verdict.counts}", file=sys.stderr, flush=True)
            await asyncio.sleep(2)

    watching = asyncio.ensure_future(watch())
    try:
        yield
    finally:
        watching.cancel()
        await asyncio.sleep(1)
    warm = [mib for _, mib in memory[int(len(memory) * _WARM) :]]
    by_minute = {int(at // 60): mib for at, mib in memory}
    verdict.counts["resident MiB by minute"] = " ".join(f"{mib:.0f}" for mib in by_minute.values())
    verdict.counts["descriptors"] = f"{descriptors} before, {running.descriptors()} after"
    if len(warm) > 1:
        growth = warm[-1] - warm[0]
        verdict.counts["growth after warm-up, MiB"] = round(growth, 1)
        verdict.expect(growth < _GROWTH_MIB, f"memory grew by {growth:.0f} MiB after the warm-up")
    tasks_after = await running.tasks()
    verdict.counts["tasks"] = f"{tasks} before, {tasks_after} after"
    verdict.expect(tasks_after - tasks < 10, f"{tasks_after - tasks} tasks are left")
    left = running.descriptors() - descriptors
    verdict.expect(left < 40, f"{left} descriptors are left open")  # connections to the engine are kept


async def _scripted(running: House, verdict: Verdict, numbers: Iterator[int], most: int, rng: random.Random) -> None:
    """One client: answers, streams, faults of the upstream, refusals, and leaving in the midst."""
    async with running.client() as client:
        for number in numbers:
            if number >= most:
                return
            draw = rng.random()
            fault = rng.choice(FAULTS) if draw < 0.02 else ""
            stream = rng.random() < 0.5
            body: Any = script(number, rng.randrange(1, 20), fault, stream=stream)
            if draw > 0.98:
                body |= {"temperature": 9}
            if 0.97 < draw <= 0.98:
                await _leave(client, script(number, 30, "slow", stream=True), number)
                verdict.count("left")
                continue
            answer = await client.chat(body, X_Request_Id=request_id(number))
            verdict.count(outcome(answer) if not fault else f"fault: {outcome(answer)}")
            if not fault:
                is_right = answer.is_whole and answer.status == (400 if draw > 0.98 else 200)
                verdict.expect(is_right, f"{number}: {answer.status} {answer.body[:80]!r}")


async def _leave(client: Client, body: dict[str, Any], number: int) -> None:
    reader, _ = await client.begin(posted(body, x_request_id=request_id(number)))
    with suppress(ConnectionError, asyncio.IncompleteReadError):
        await reader.readuntil(b"tok1")
    client.reset()


async def soak() -> Verdict:
    """Requests of all kinds on the scripted upstream."""
    verdict = Verdict("soak")
    most = SIZE.of(10_000, 1_000_000)
    numbers = itertools.count()
    async with upstream() as told, house(SERVER + scripted(told.port)) as running:
        async with running.client() as client:
            await client.chat(HONEST | {"model": "scripted"})
        began = time.monotonic()
        async with pulse(running) as seen, _watched(running, verdict):
            await asyncio.gather(
                *(_scripted(running, verdict, numbers, most, random.Random(at)) for at in range(_CLIENTS))
            )
            took_s = time.monotonic() - began
        verdict.counts |= {"requests": most, "requests per second": round(most / took_s)}
        await asyncio.sleep(2)
        _settle_leavers(running, told)
        judge_books(verdict, running, told)
        running_now = sum(value for name, value in (await running.metrics()).items() if "running_sequences" in name)
        verdict.expect(running_now == 0, f"{running_now:.0f} sequences still run")
        await judge_house(verdict, running, seen)
    return verdict


def _settle_leavers(running: House, told: Upstream) -> None:
    """What the upstream wrote after its client had left is nobody's: rows of those say how far they came."""
    for row in running.usage("request_id, is_cancelled, completion_tokens"):
        number = row["request_id"].removeprefix("siege-")
        if row["is_cancelled"] and number.isdecimal() and told.counted.get(int(number), 0) > row["completion_tokens"]:
            told.counted[int(number)] = row["completion_tokens"]


async def soak_engine() -> Verdict:
    """Requests on a real engine that is killed again and again; each has an end, and one row if it reached it."""
    verdict = Verdict("soak on an engine")
    most = SIZE.of(300, 20_000)
    numbers = itertools.count()
    async with house(SERVER + tiny()) as running:
        async with running.client() as client:
            await client.chat(HONEST)
        async with pulse(running) as seen, _watched(running, verdict):
            asking = [asyncio.ensure_future(_real(running, verdict, numbers, most)) for _ in range(4)]
            victims = itertools.cycle(("engine", "guardian"))
            pauses = itertools.cycle(_KILL_EVERY_S)
            whole = asyncio.gather(*asking)
            while not whole.done():
                await asyncio.wait([whole], timeout=next(pauses))
                if not whole.done():
                    victim = next(victims)
                    strike(running, victim)
                    verdict.count(f"kills of the {victim}")
            await whole
        await asyncio.sleep(2)
        rows = [row["request_id"] for row in running.usage("request_id") if row["request_id"].startswith("siege-")]
        verdict.counts |= {"requests": most, "rows": len(rows), "doubled": len(rows) - len(set(rows))}
        told = {
            line["id"] for line in running.events("request") if line["instance"] and line["id"].startswith("siege-")
        }
        verdict.counts["lost"] = len(told - set(rows))
        verdict.expect(len(rows) == len(set(rows)), "rows are doubled")
        verdict.expect(not told - set(rows), f"{len(told - set(rows))} rows are lost")
        verdict.counts["restarts"] = len(running.events("instance restarts"))
        await judge_house(verdict, running, seen)
    return verdict


async def _real(running: House, verdict: Verdict, numbers: Iterator[int], most: int) -> None:
    async with running.client(timeout_s=180) as client:
        for number in numbers:
            if number >= most:
                return
            body: dict[str, Any] = HONEST | {"max_tokens": 1 + number % 40, "seed": number, "stream": number % 2 == 0}
            answer = await client.chat(body, X_Request_Id=request_id(number))
            verdict.count(outcome(answer))
            verdict.expect(answer.is_whole, f"{number}: no end")
            verdict.expect(answer.status in (200, 503), f"{number}: {answer.status} {answer.body[:100]!r}")
            if answer.status == 503:  # as clients do: asking on at once would spend the soak on refusals
                await asyncio.sleep(min(float(answer.headers.get("retry-after", 1)), _MOST_PATIENCE_S))


SCENARIOS: dict[str, Scenario] = {"soak": soak, "soak-engine": soak_engine}
