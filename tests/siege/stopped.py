"""Engines that are stopped in each phase of their life, and a stopped guardian of a dead engine.

Each must be noticed within a stated time, while everything else says so, and be answered again after it. Run as a
program it prints a table of both times for all engines that are here; `--full` is the router's own limit.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import signal
import sys
import time
from collections.abc import Callable

import psutil
from tests.siege.client import Answer
from tests.siege.house import MOST_TO_LOAD_S, SERVER, VLLM_PYTHON, House, house, is_here, of_engine
from tests.siege.verdict import SIZE, Scenario, Verdict

ENGINES = ("llamacpp", "mlx", "vllm")
_LOAD_NOTICE_S = 75.0  # 60 s of doing nothing, looked at each 5 s
_SLACK_S = 15.0  # of a machine that others use
_LONG = "word " * 1500
_STREAMS = 12
"""More than have slots: some have begun when the engine stops, which are cut, and those that wait move on."""
_LONG_TOKENS = 1500
_NO_END = {"0": -100, "2": -100}
_MOST_TO_NOTICE_S = 300.0

_BOTH = ": s until noticed / answered"

Stop = Callable[[House], None]


class NotNoticed(Exception):
    """The router has not noticed; with the last lines of its log."""


def hang_timeout_s() -> float:
    """The limit that the routers of this scenario get: their own default, or a short one."""
    return 60.0 if SIZE.is_full else 6.0


def _guardians(running: House) -> list[psutil.Process]:
    found = []
    for process in running.router.children():
        with contextlib.suppress(psutil.NoSuchProcess):  # a question to the system that has just been answered
            if any("guardian.py" in word for word in process.cmdline()):
                found.append(process)
    return found


def _of_engines(running: House) -> list[psutil.Process]:
    return [process for guardian in _guardians(running) for process in guardian.children(recursive=True)]


def stop_all(running: House) -> None:
    """Stop every process of the engine."""
    for process in _of_engines(running):
        process.send_signal(signal.SIGSTOP)


def stop_innermost(running: House) -> None:
    """Stop the last processes of the engine alone: what stands before them lives and answers."""
    for process in _of_engines(running):
        if not process.children():
            process.send_signal(signal.SIGSTOP)


def stop_guardian(running: House) -> None:
    """Stop the guardian, and kill the engine behind it."""
    engines = _of_engines(running)
    for guardian in _guardians(running):
        guardian.send_signal(signal.SIGSTOP)
    for process in engines:
        process.kill()


async def _ask(running: House, **fields: object) -> Answer:
    async with running.client(timeout_s=600) as client:
        message = {"role": "user", "content": "Hello."}
        return await client.chat({"model": "tiny", "max_tokens": 4, "messages": [message], **fields})


def _config(backend: str, load: str = "start") -> str:
    placed = of_engine(backend)
    placed = placed.replace("context_tokens = 2048", f'context_tokens = 2048\nqueue_timeout_s = 300\nload = "{load}"')
    return SERVER.replace("port = 0", f"port = 0\nhang_timeout_s = {hang_timeout_s()}") + placed


async def _noticed(running: House, since: float, failures: int) -> float:
    """Wait for the next failure in the log; the time from *since* to it.

    Raises:
        NotNoticed: there was none.
    """
    while len(running.events("instance failed")) <= failures:
        if time.monotonic() - since > _MOST_TO_NOTICE_S:
            raise NotNoticed("\n".join(running.log().splitlines()[-12:]))
        await asyncio.sleep(0.05)
    return time.monotonic() - since


async def _phase(verdict: Verdict, running: House, phase: str, stop: Stop, limit_s: float) -> None:
    """Stop the engine in *phase*, and write down how long it took."""
    failures = len(running.events("instance failed"))
    asked: list[asyncio.Task[Answer]] = []
    if phase == "prefill":
        asked = [
            asyncio.create_task(_ask(running, messages=[{"role": "user", "content": f"{n} {_LONG}"}])) for n in range(4)
        ]
        await asyncio.sleep(0.05)
    elif phase.startswith("streaming"):
        lengths = [_LONG_TOKENS] * 8 + [4] * (_STREAMS - 8)
        asked = [
            asyncio.create_task(_ask(running, stream=True, max_tokens=most, seed=n, logit_bias=_NO_END))
            for n, most in enumerate(lengths)
        ]
        await asyncio.sleep(0.5)
    elif phase.startswith("loading"):
        asked = [asyncio.create_task(_ask(running))]
        async with asyncio.timeout(60):
            while not _of_engines(running):  # noqa: ASYNC110  # another process
                await asyncio.sleep(0.001)
    stop(running)
    stopped_at = time.monotonic()
    noticed_s = await _noticed(running, stopped_at, failures)
    if not phase.startswith("loading"):  # a model that loads for the first request is not waited for
        async with running.client() as client:
            verdict.expect((await client.get("/ready")).status == 503, f"{phase}: /ready says that all is well")
    again = await _ask(running)
    answered_s = time.monotonic() - stopped_at
    verdict.counts[f"{phase}{_BOTH}"] = f"{noticed_s:.1f} / {answered_s:.0f}"
    verdict.expect(noticed_s < limit_s, f"{phase}: noticed after {noticed_s:.1f} s")
    verdict.expect(again.status == 200, f"{phase}: {again.status} {again.body[:200]!r}")
    died = 0
    for answer in await asyncio.gather(*asked):
        has_died = phase.startswith("streaming") and b'"engine_died"' in answer.body
        died += has_died
        is_right = has_died or (answer.status == 200 and answer.is_whole)
        verdict.expect(is_right, f"{phase}: a request ended with {answer.status} {answer.body[-200:]!r}")
    if phase.startswith("streaming"):
        verdict.counts[f"{phase}, of {_STREAMS} streams cut"] = died
        verdict.expect(0 < died < _STREAMS, f"{phase}: {died} streams were cut")


async def _stopped(backend: str, verdict: Verdict) -> None:
    if not is_here(backend):
        verdict.counts["left out"] = f"{VLLM_PYTHON} names no interpreter"
        return
    limit_s = hang_timeout_s() * 7 / 6 + _SLACK_S
    if sys.platform.startswith("linux"):
        async with house(_config(backend, load="first_request"), ready=False) as running:
            await _phase(verdict, running, "loading", stop_all, _LOAD_NOTICE_S + _SLACK_S)
        async with house(_config(backend, load="first_request"), ready=False) as running:
            await _phase(verdict, running, "loading, its guardian stopped and it dead", stop_guardian, _SLACK_S)
    async with house(_config(backend), ready=False) as running:
        await running.wait_ready(MOST_TO_LOAD_S)
        for phase in ("idle", "prefill", "streaming"):
            await _phase(verdict, running, phase, stop_all, limit_s)
        if backend == "vllm":
            await _phase(verdict, running, "idle, its core alone", stop_innermost, limit_s)
        for phase in ("idle", "streaming"):
            name = f"{phase}, its guardian stopped and it dead"
            await _phase(verdict, running, name, stop_guardian, _SLACK_S if sys.platform == "linux" else limit_s)
        verdict.counts["hangs counted"] = (await running.metrics())[
            'enginehouse_instance_hangs_total{model="tiny",instance="tiny#0"}'
        ]


SCENARIOS: dict[str, Scenario] = {f"stopped-{backend}": functools.partial(_stopped, backend) for backend in ENGINES}


async def _table() -> bool:
    """Run all that are here, print the table and what fell; returns whether nothing did."""
    found = {}
    for backend in ENGINES:
        print(f"{backend} …", file=sys.stderr)
        found[backend] = verdict = Verdict(backend)
        try:
            await _stopped(backend, verdict)
        except Exception as error:  # noqa: BLE001  # the others go on
            verdict.failures.append(f"it could not be carried out to its end: {error!r}")
    phases = dict.fromkeys(name for each in found.values() for name in each.counts if name.endswith(_BOTH))
    print(f"| seconds until noticed / answered | {' | '.join(ENGINES)} |\n|---|{'---|' * len(ENGINES)}")
    for phase in phases:
        cells = (str(each.counts.get(phase, "")) for each in found.values())
        print(f"| {phase.removesuffix(_BOTH)} | {' | '.join(cells)} |")
    for each in found.values():
        print(each.text())
    return not any(each.failures for each in found.values())


if __name__ == "__main__":
    SIZE.is_full = "--full" in sys.argv[1:]
    sys.exit(not asyncio.run(_table()))
