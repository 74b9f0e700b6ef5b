"""What dies: engines and guardians under streams, and the router itself."""

from __future__ import annotations

import asyncio
import contextlib
import random
import signal
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any, Final

import psutil
from tests.siege.accounts import judge_books, request_id
from tests.siege.client import Answer
from tests.siege.house import SERVER, House, house, scripted, tiny
from tests.siege.judging import HONEST, judge_house
from tests.siege.pulse import pulse
from tests.siege.upstream import script, upstream
from tests.siege.verdict import Scenario, Verdict

_GONE_S: Final = 10.0
"""After the router's end everything below it has ended within this time."""
_KEPT_S: Final = 1.0
"""A row is kept within this time, also on a busy machine."""
_NO_END: Final = {"0": -100, "2": -100}
"""A bias that keeps the tiny model from ending its answers."""


def _guardian_of(engine: psutil.Process) -> psutil.Process:
    found = engine.parent()
    assert found is not None
    return found


def strike(running: House, victim: str) -> None:
    """Kill an engine, any one where there are several, or the guardian above it."""
    with contextlib.suppress(psutil.NoSuchProcess):
        if engines := running.engines():
            engine = random.choice(engines)
            (engine if victim == "engine" else _guardian_of(engine)).kill()


def outcome(answer: Answer) -> str:
    """What came of a request, in a word or two."""
    if answer.status != 200 or not answer.is_whole:
        return f"{answer.status} {answer.error_code}" if answer.is_whole else f"{answer.status} cut"
    if answer.headers.get("content-type", "").startswith("text/event-stream"):
        events = answer.events()
        return (
            "stream whole"
            if events and events[-1] == "[DONE]"
            else f"stream ended by {'an error' if events else 'nothing'}"
        )
    return "whole"


async def engine_kills(verdict: Verdict) -> None:
    """Engine and guardian are killed in turn under streams; each stream ends, and the next answer comes soon."""
    body: dict[str, Any] = HONEST | {"max_tokens": 1500, "stream": True, "logit_bias": _NO_END}
    until_s: list[float] = []
    async with house(SERVER + tiny()) as running:
        async with pulse(running) as seen:
            for turn in range(6):
                # Each is another one: what was there at two ends is refused.
                bodies = [body | {"seed": 10 * turn + at} for at in range(3)]
                asking = [asyncio.ensure_future(_once(running, each)) for each in bodies]
                await asyncio.sleep(0.5)
                strike(running, "engine" if turn % 2 == 0 else "guardian")
                struck_at = time.monotonic()
                for answer in await asyncio.gather(*asking):
                    verdict.count(outcome(answer))
                    verdict.expect(answer.is_whole, f"kill {turn}: a stream without an end")
                answer = await _once(running, HONEST)
                until_s.append(time.monotonic() - struck_at)
                verdict.expect(answer.status == 200, f"kill {turn}: the next answer is {answer.status}")
        verdict.counts["slowest next answer, s"] = round(max(until_s), 1)
        verdict.counts["restarts"] = len(running.events("instance restarts"))
        await judge_house(verdict, running, seen)


async def _once(running: House, body: dict[str, Any], **headers: str) -> Answer:
    async with running.client(timeout_s=120) as client:
        return await client.chat(body, **headers)


async def router_kills(verdict: Verdict) -> None:
    """The router is killed under load, again and again: nothing below it stays, no row is lost or doubled."""
    with tempfile.TemporaryDirectory(prefix="siege-") as folder:
        async with upstream() as told:
            at = 0
            for _ in range(4):
                async with house(SERVER + scripted(told.port) + tiny(), folder=Path(folder)) as running:
                    whole: list[int] = []
                    parts = [range(at + 1000 * part, at + 1000 * part + 999) for part in range(4)]
                    asking = [asyncio.ensure_future(_until_killed(running, part, whole)) for part in parts]
                    await asyncio.sleep(random.uniform(1.5, 3))
                    below = running.below()
                    kept, at = set(whole), at + 10_000
                    await asyncio.sleep(_KEPT_S)
                    running.process.send_signal(signal.SIGKILL)
                    await asyncio.gather(*asking)
                    _, alive = psutil.wait_procs(below, timeout=_GONE_S)
                    verdict.expect(not alive, f"{len(alive)} processes outlive the router")
                    verdict.count("kills")
                    verdict.count("answered", len(kept))
                async with house(SERVER + scripted(told.port) + tiny(), folder=Path(folder), ready=False) as running:
                    rows = Counter(row["request_id"] for row in running.usage())
                    lost = {request_id(number) for number in kept} - rows.keys()
                    verdict.expect(not lost, f"{len(lost)} rows are lost, {', '.join(sorted(lost)[:5])} among them")
                    doubled = [name for name, number in rows.items() if number > 1]
                    verdict.expect(not doubled, f"{len(doubled)} rows are doubled")
        verdict.counts["rows"] = len(rows)


async def _until_killed(running: House, numbers: range, whole: list[int]) -> None:
    async with running.client() as client:
        for number in numbers:
            try:
                answer = await client.chat(script(number, 5, stream=number % 2 == 0), X_Request_Id=request_id(number))
            except OSError:
                return
            if not answer.is_whole:
                return
            whole.append(number)


async def upstream_faults(verdict: Verdict) -> None:
    """An engine's server that resets, lies, cuts, or speaks no HTTP: each request has an end, the books are right."""
    from tests.siege.upstream import FAULTS

    async with upstream() as told, house(SERVER + scripted(told.port)) as running:
        async with pulse(running) as seen:
            number = 0
            for fault in (*FAULTS, ""):
                for stream in (True, False):
                    for _ in range(20):
                        number += 1
                        answer = await _once(
                            running, script(number, 6, fault, stream=stream), X_Request_Id=request_id(number)
                        )
                        verdict.count(f"{fault or 'none'}: {outcome(answer)}")
                        verdict.expect(answer.is_whole, f"{fault}: no end of {answer.body[:100]!r}")
                        verdict.expect(bool(fault) or answer.status == 200, f"no fault: {answer.status}")
            await asyncio.sleep(2)
        judge_books(verdict, running, told)
        await judge_house(verdict, running, seen)


SCENARIOS: dict[str, Scenario] = {
    "engine-kills": engine_kills,
    "router-kills": router_kills,
    "upstream-faults": upstream_faults,
}
