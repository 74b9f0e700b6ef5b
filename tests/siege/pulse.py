"""The router's pulse: `/health` asked all the time by a process of its own, beside a server that does nothing else.

A machine that others use makes answers late, and the router is not to blame for that. So each answer is judged by what
is left of its time when the waits for a processor are taken off, those of the router's loop, of who asks, and of that
thread of the router which waited longest beside them: it may have had the interpreter's lock. The kernel counts them,
thread by thread; what the router computes, or waits for otherwise, stays in. And the router's own watchdog tells of
blocks of its loop in processor time. All these times and the blocks are printed. Where no kernel counts waits, the idle
server tells what the machine adds to any answer, and `stretch` how much longer than its processor time work takes.

Run as a program with the router's address and process, it ends when its standard input does.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.siege.house import BLOCKED_MS, House

SPACING_S = 0.02
MOST_MS = 50.0
_ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
_BLOCKED = "event loop blocked"
_WAIT_S = 120.0
_WORK = 100_000


@dataclass
class Pulse:
    """What was seen: answers, and the slowest of the router and of the idle server, in ms."""

    answers: int = 0
    missing: int = 0
    slowest_ms: float = 0.0
    idle_slowest_ms: float = 0.0
    own_slowest_ms: float = 0.0
    """The slowest without the waits for a processor; it may be another answer than the slowest one."""
    loop_slowest_ms: float = 0.0
    """The slowest where the waits of the router's other threads stay in."""
    computed_most_ms: float = 0.0
    """The most that the router's loop computed from a question to its answer."""
    is_waiting_known: bool = False
    stretch: float = 1.0
    slow: list[float] = field(default_factory=list)
    """Of the router, those of more than `MOST_MS`."""
    blocks: list[dict[str, Any]] | None = field(default_factory=list)
    """What the router's watchdog has told meanwhile; None: it has no log that could be read."""

    @property
    def is_steady(self) -> bool:
        """Whether each answer came in time, the machine's part taken off, and the loop was never blocked."""
        if self.missing or self.blocks:
            return False
        if self.is_waiting_known:
            return self.own_slowest_ms <= MOST_MS
        return self.slowest_ms <= MOST_MS * self.stretch + 2 * self.idle_slowest_ms

    def text(self) -> str:
        """What was seen, in a few words."""
        wall = f"/health {self.slowest_ms:.0f} ms ({len(self.slow)} of {self.answers} over {MOST_MS:.0f} ms"
        own = (
            f"without waits for a processor {self.own_slowest_ms:.0f} ms, without the loop's alone "
            f"{self.loop_slowest_ms:.0f} ms, computed {self.computed_most_ms:.0f} ms"
        )
        if not self.is_waiting_known:
            own = f"waits for a processor are not known here, stretch {self.stretch:.1f}"
        return f"{wall}; idle server {self.idle_slowest_ms:.0f} ms; {own}); {self._told()}"

    def _told(self) -> str:
        if self.blocks is None:
            return "blocks of the loop are not known: no log"
        if not self.blocks:
            return f"loop never blocked for {BLOCKED_MS} ms"
        worst = max(self.blocks, key=lambda told: float(told["computed_s"]))
        return (
            f"loop blocked {len(self.blocks)} times, at most {worst['computed_s'] * 1000:.0f} ms of processor "
            f"({worst['late_s'] * 1000:.0f} ms on the wall) in {', '.join(worst['where'])}"
        )


@contextlib.asynccontextmanager
async def pulse(running: House, spacing_s: float = SPACING_S) -> AsyncIterator[Pulse]:
    """Take the pulse of the router meanwhile, *spacing_s* behind each answer; it is whole on leaving."""
    given = [*map(str, running.address), str(running.process.pid), str(spacing_s)]
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.siege.pulse", *given, stdin=pipe, stdout=pipe
    )
    assert process.stdin is not None
    assert process.stdout is not None
    await process.stdout.readline()  # it has begun
    found = Pulse()
    told = len(running.events(_BLOCKED))
    try:
        yield found
    finally:
        process.stdin.close()
        for name, value in json.loads(await process.stdout.read()).items():
            setattr(found, name, value)
        await process.wait()
        found.blocks = running.events(_BLOCKED)[told:] if running.has_log else None


def _threads(pid: int) -> dict[int, tuple[int, int]]:
    """By thread of *pid*: nanoseconds that it has computed, and has waited for a processor; empty: not known."""
    found = {}
    for folder in Path(f"/proc/{pid}/task").glob("*"):
        with contextlib.suppress(OSError, ValueError):  # it may end meanwhile, or no kernel counts
            computed, waited, _ = (folder / "schedstat").read_text().split()
            found[int(folder.name)] = int(computed), int(waited)
    return found


async def _ask(host: str, port: int) -> float:
    """Milliseconds to a whole answer, on a connection of its own."""
    began = time.perf_counter()
    async with asyncio.timeout(_WAIT_S):
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(b"GET /health HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n")
        head = await reader.readuntil(b"\r\n\r\n")
        writer.close()
    if b" 200 " not in head.partition(b"\r\n")[0]:
        raise ConnectionError(head.decode("latin-1"))
    return (time.perf_counter() - began) * 1000


async def _idle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(_ANSWER)
    writer.close()


async def _take(host: str, port: int, pid: int, spacing_s: float) -> None:
    loop = asyncio.get_running_loop()
    is_over = asyncio.Event()
    loop.add_reader(sys.stdin.fileno(), is_over.set)
    idle = await asyncio.start_server(_idle, "127.0.0.1", 0)
    found = Pulse(is_waiting_known=pid in _threads(pid))
    print("begun", flush=True)
    took_s, cost_s = 1e-9, 1e-9
    while not is_over.is_set():
        with contextlib.suppress(OSError, TimeoutError, EOFError):
            found.idle_slowest_ms = max(found.idle_slowest_ms, await _ask(*idle.sockets[0].getsockname()))
        before = _threads(pid), _threads(os.getpid())
        try:
            own_ms = await _ask(host, port)
        except (OSError, TimeoutError, EOFError):
            found.missing += 1
        else:
            _note(found, own_ms, pid, before, (_threads(pid), _threads(os.getpid())))
        if not found.is_waiting_known:
            wall, own_time = time.perf_counter(), time.process_time()
            sum(range(_WORK))
            took_s, cost_s = took_s + time.perf_counter() - wall, cost_s + time.process_time() - own_time
            found.stretch = max(1.0, took_s / cost_s)
        await asyncio.sleep(spacing_s)
    print(json.dumps(vars(found)))


_Times = tuple[dict[int, tuple[int, int]], dict[int, tuple[int, int]]]  # of the router's threads, and of this process


def _note(found: Pulse, took_ms: float, pid: int, before: _Times, after: _Times) -> None:
    found.answers += 1
    found.slowest_ms = max(found.slowest_ms, took_ms)
    if took_ms > MOST_MS:
        found.slow.append(took_ms)
    if not found.is_waiting_known:
        return
    waits_ms = {thread: (waited - before[0].get(thread, (0, 0))[1]) / 1e6 for thread, (_, waited) in after[0].items()}
    asker = os.getpid()
    loop_ms = took_ms - waits_ms.pop(pid) - (after[1][asker][1] - before[1][asker][1]) / 1e6
    computed_ms = (after[0][pid][0] - before[0][pid][0]) / 1e6
    # Never less than was computed: several may have waited at the same time.
    own_ms = max(loop_ms - max(waits_ms.values(), default=0.0), computed_ms)
    found.own_slowest_ms = max(found.own_slowest_ms, min(took_ms, own_ms))
    found.loop_slowest_ms = max(found.loop_slowest_ms, min(took_ms, max(loop_ms, computed_ms)))
    found.computed_most_ms = max(found.computed_most_ms, computed_ms)


if __name__ == "__main__":
    asyncio.run(_take(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])))
