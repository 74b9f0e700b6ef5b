"""Soaks: many requests of all kinds for a long time, and what the router looks like before and after."""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import sys
import time
from collections import Counter
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
_AT_ONCE: Final = 4
_WARM: Final = 0.25
"""Memory is flat from this share of the soak on."""
_GROWTH_MIB: Final = 40.0
_ENGINES: Final = ("llamacpp", "mlx")
_KILL_EVERY_S: Final = (20.0, 20.0, 150.0)
"""In turn: a day's bad luck, and no loop of crashes. An engine that ends again and again without a minute of health is
given up, rightly; so behind each few blows there is time for that minute, also where a load takes half of it."""
_MOST_PATIENCE_S: Final = 5.0
_NO_ANSWER_S: Final = 600.0
"""Beyond all of the router's own limits: what is not answered by then never will be."""
_SPACING_S: Final = 0.1
"""Engines are to have the machine: asked as often as elsewhere, `/health` takes a third of it."""
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
    middle = len(warm) // 2
    by_minute = {int(at // 60): mib for at, mib in memory}
    verdict.counts["resident MiB by minute"] = " ".join(f"{mib:.0f}" for mib in by_minute.values())
    verdict.counts["descriptors"] = f"{descriptors} before, {running.descriptors()} after"
    if middle:  # the least of either half: what a load takes for an instant is given back
        growth = min(warm[middle:]) - min(warm[:middle])
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


async def soak(verdict: Verdict) -> None:
    """Requests of all kinds on the scripted upstream."""
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


def _settle_leavers(running: House, told: Upstream) -> None:
    """What the upstream wrote after its client had left is nobody's: rows of those say how far they came."""
    for row in running.usage("request_id, is_cancelled, completion_tokens"):
        number = row["request_id"].removeprefix("siege-")
        if row["is_cancelled"] and number.isdecimal() and told.counted.get(int(number), 0) > row["completion_tokens"]:
            told.counted[int(number)] = row["completion_tokens"]


async def soak_engine(verdict: Verdict) -> None:
    """Requests on real engines that are killed again and again; each has an end, and one row if it reached one."""
    most = SIZE.of(300, 20_000)
    numbers = itertools.count()
    told: dict[str, int] = {}
    async with house(SERVER + "".join(tiny(name, backend=name) for name in _ENGINES)) as running:
        async with running.client() as client:
            for name in _ENGINES:
                await client.chat(HONEST | {"model": name})
        began = time.monotonic()
        async with pulse(running, _SPACING_S) as seen, _watched(running, verdict):
            asking = [
                asyncio.ensure_future(_real(running, verdict, name, numbers, most, told))
                for name in _ENGINES * _AT_ONCE
            ]
            victims = itertools.cycle(("engine", "guardian"))
            pauses = itertools.cycle(_KILL_EVERY_S)
            whole = asyncio.gather(*asking)
            while not whole.done():
                await asyncio.wait([whole], timeout=next(pauses))
                if not whole.done():
                    victim = next(victims)
                    strike(running, victim)
                    verdict.count(f"kills of an {victim}" if victim == "engine" else f"kills of a {victim}")
            await whole
        asked, took_s = next(numbers) - len(asking), time.monotonic() - began
        verdict.counts |= {"requests": f"{asked} of {most}", "requests per second": round(asked / took_s, 1)}
        await asyncio.sleep(2)
        _judge_rows(verdict, running, told)
        verdict.counts["restarts"] = len(running.events("instance restarts"))
        verdict.counts["given up"] = len(running.events("instance given up"))
        causes = Counter(_cause(failed["reason"]) for failed in running.events("instance failed"))
        verdict.counts["ends by cause"] = ", ".join(f"{number} x {cause}" for cause, number in causes.most_common())
        verdict.expect(not verdict.counts["given up"], "an engine was given up")
        await judge_house(verdict, running, seen)


def _cause(reason: str) -> str:
    return reason.partition(";")[0].partition(" (")[0]


def _judge_rows(verdict: Verdict, running: House, told: dict[str, int]) -> None:
    """Compare rows with the log, none lost and none doubled, and their tokens with those that clients were *told*."""
    rows = [row for row in running.usage("request_id, completion_tokens") if row["request_id"].startswith("siege-")]
    kept = {row["request_id"]: row["completion_tokens"] for row in rows}
    reached = {line["id"] for line in running.events("request") if line["instance"] and line["id"].startswith("siege-")}
    lost = (reached | told.keys()) - kept.keys()
    wrong = [name for name, tokens in told.items() if kept.get(name, tokens) != tokens]
    verdict.counts |= {
        "rows": len(rows), "doubled": len(rows) - len(kept), "lost": len(lost),
        "answers compared with their rows": len(told), "tokens": sum(told.values()), "rows of other tokens": len(wrong),
    }  # fmt: skip
    verdict.expect(len(rows) == len(kept), "rows are doubled")
    verdict.expect(not lost, f"{len(lost)} rows are lost")
    verdict.expect(not wrong, f"{len(wrong)} rows have other tokens than their answers, {wrong[:3]} among them")


async def _real(
    running: House, verdict: Verdict, model: str, numbers: Iterator[int], most: int, told: dict[str, int]
) -> None:
    """One client of *model*: whole answers and streams, as fast as they come."""
    async with running.client(timeout_s=_NO_ANSWER_S) as client:
        for number in numbers:
            if number >= most or time.monotonic() > SIZE.ends_at:
                return
            body: dict[str, Any] = HONEST | {"model": model, "seed": number, "max_tokens": 1 + number % 16}
            if number % 2:
                body |= {"stream": True, "stream_options": {"include_usage": True}}
            answer = await client.chat(body, X_Request_Id=request_id(number))
            came = outcome(answer)
            verdict.count(f"{model}: {came}")
            verdict.expect(answer.is_whole, f"{number}: no end")
            verdict.expect(answer.status in (200, 503), f"{number}: {answer.status} {answer.body[:100]!r}")
            if came == "whole":
                told[request_id(number)] = answer.json()["usage"]["completion_tokens"]
            elif came == "stream whole":
                told[request_id(number)] = json.loads(answer.events()[-2])["usage"]["completion_tokens"]
            if answer.status == 503:  # as clients do: asking on at once would spend the soak on refusals
                await asyncio.sleep(min(float(answer.headers.get("retry-after", 1)), _MOST_PATIENCE_S))


SCENARIOS: dict[str, Scenario] = {"soak": soak, "soak-engine": soak_engine}
