"""An operator's bad days: the disk, the log, the database, the clock and memory."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import resource
import sqlite3
import tempfile
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Final

from tests.siege.accounts import judge_books, request_id
from tests.siege.house import SERVER, House, house, scripted
from tests.siege.judging import judge_house
from tests.siege.pulse import pulse
from tests.siege.upstream import Upstream, script, upstream
from tests.siege.verdict import Scenario, Verdict

_SETTLED_S: Final = 3.0
"""Rows are there by then."""


@contextlib.asynccontextmanager
async def _scripted_house(
    under: Sequence[str] = (), *, has_log: bool = True, server: str = SERVER
) -> AsyncIterator[tuple[House, Upstream]]:
    async with upstream() as told, house(server + scripted(told.port), under=under, has_log=has_log) as running:
        yield running, told


async def _ask(running: House, verdict: Verdict, numbers: range, *, tokens: int = 5, fault: str = "") -> None:
    """Ask for each number, one after another; all are answered."""
    async with running.client() as client:
        for number in numbers:
            body = script(number, tokens, fault, stream=bool(fault) or number % 2 == 0)
            answer = await client.chat(body, X_Request_Id=request_id(number))
            verdict.count(f"status {answer.status}")
            verdict.expect(answer.status == 200, f"request {number}: {answer.status} {answer.body[:120]!r}")


async def full_disk(verdict: Verdict) -> None:
    """No file can grow: requests go on, log lines are lost, and rows wait until there is room."""
    under = ("prlimit", f"--fsize={100_000}:unlimited", "--")
    async with _scripted_house(under) as (running, told):
        async with pulse(running) as seen:
            await _ask(running, verdict, range(1500))
        verdict.counts["lines lost"] = (await running.metrics())["enginehouse_log_lines_lost_total"]
        verdict.counts["rows meanwhile"] = len(running.usage())
        verdict.expect(len(running.usage()) < 1500, "the disk was not full")
        resource.prlimit(running.process.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
        await asyncio.sleep(_SETTLED_S)
        judge_books(verdict, running, told)
        verdict.expect(bool(running.events("usage is written again")), "the log does not say that it works again")
        await judge_house(verdict, running, seen)


async def broken_logs(verdict: Verdict) -> None:
    """A log that is full, stuck, or not there: requests go on, usage is kept, and SIGTERM ends the router."""
    with tempfile.TemporaryDirectory() as folder:
        fifo = Path(folder) / "fifo"
        os.mkfifo(fifo)
        holder = os.open(fifo, os.O_RDWR)  # somebody has it open, and reads nothing
        try:
            for name, redirection in (("full", ">/dev/full"), ("stuck", f">{fifo}"), ("closed", ">&-")):
                under = ("sh", "-c", f'exec "$@" 2{redirection}', "sh")
                async with _scripted_house(under, has_log=False) as (running, told):
                    async with pulse(running) as seen:
                        await _ask(running, verdict, range(1000))
                    await asyncio.sleep(_SETTLED_S)
                    judge_books(verdict, running, told)
                    lost = (await running.metrics())["enginehouse_log_lines_lost_total"]
                    verdict.counts[name] = f"{lost:.0f} lines lost, {seen.text()}"
                    verdict.expect(seen.is_steady, f"{name}: {seen.text()}")
                    code = await running.end()
                    verdict.expect(code == 0, f"{name}: SIGTERM ended it with {code}")
        finally:
            os.close(holder)


async def bad_database(verdict: Verdict) -> None:
    """Usage is locked by another, deleted, and replaced while requests go on: nothing that can be kept is lost."""
    async with _scripted_house() as (running, told):
        file = running.folder / "usage.db"
        async with pulse(running) as seen:
            with contextlib.closing(sqlite3.connect(file, isolation_level=None)) as other:
                other.execute("BEGIN EXCLUSIVE")
                await _ask(running, verdict, range(300))
                await asyncio.sleep(_SETTLED_S)
            await asyncio.sleep(_SETTLED_S * 4)
            judge_books(verdict, running, told)
            before = running.usage()
            for path in running.folder.glob("usage.db*"):
                path.unlink()
            told.counted.clear()
            await _ask(running, verdict, range(300, 600))
            await asyncio.sleep(_SETTLED_S)
            judge_books(verdict, running, told)
            verdict.counts["rows before it was deleted"] = len(before)
        said = running.events("usage cannot be written and is kept in memory")
        verdict.expect(len(said) >= 1, "the log does not tell of the deleted file")
        await judge_house(verdict, running, seen)


async def stepping_clock(verdict: Verdict) -> None:
    """The clock steps by an hour and back while streams run: each is one row, with its own tokens."""
    async with _scripted_house() as (running, told):
        asking = [
            asyncio.ensure_future(_ask(running, verdict, range(at, at + 1), tokens=60, fault="slow")) for at in range(8)
        ]
        for step, off_s in enumerate((3600, 0, -3600, 5, -5, 86_400 * 365, 0), start=1):
            await asyncio.sleep(0.8)
            running.set_clock(off_s)
            await _ask(running, verdict, range(100 * step, 100 * step + 3))
        await asyncio.gather(*asking)
        await asyncio.sleep(_SETTLED_S)
        judge_books(verdict, running, told)
        times = [row["ended_at"] for row in running.usage()]
        verdict.expect(max(times) - min(times) > 86_400, "the clock did not step")
        await judge_house(verdict, running)


async def little_memory(verdict: Verdict) -> None:
    """Many large bodies at once where there is little memory: some are refused, and the router goes on."""
    server = SERVER.replace("port = 0", "port = 0\nmax_in_flight_bytes = 67_108_864")
    async with _scripted_house(server=server) as (running, _):
        await _ask(running, verdict, range(5))
        most = running.router.memory_info().vms + (512 << 20)
        resource.prlimit(running.process.pid, resource.RLIMIT_AS, (most, most))
        body = json.dumps(script(1, 3) | {"user": "u" * 15_000_000}).encode()

        async def ask() -> None:
            async with running.client() as client:
                try:
                    answer = await client.chat(body)
                except (TimeoutError, ConnectionError):
                    verdict.count("no answer")
                    return
                verdict.count(f"status {answer.status}")

        await asyncio.gather(*(ask() for _ in range(24)))
        end = running.process.returncode
        if not verdict.expect(end is None, f"the router ended with {end}: {running.log()[-1000:]}"):
            return
        await _ask(running, verdict, range(100, 120))
        verdict.counts["resident MiB"] = round(running.resident_mib())


SCENARIOS: dict[str, Scenario] = {
    "full-disk": full_disk,
    "broken-logs": broken_logs,
    "bad-database": bad_database,
    "stepping-clock": stepping_clock,
    "little-memory": little_memory,
}
