"""The router's pulse: `/health` asked all the time by a process of its own, beside a server that does nothing else.

The idle server tells what a busy machine adds to any answer, and `stretch` how much longer than its processor time a
piece of work takes on it. Run as a program with the router's address, it ends when its standard input does.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

SPACING_S = 0.02
MOST_MS = 50.0
_ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
_WAIT_S = 120.0
_WORK = 100_000


@dataclass
class Pulse:
    """What was seen: answers, and the slowest of the router and of the idle server, in ms."""

    answers: int = 0
    missing: int = 0
    slowest_ms: float = 0.0
    idle_slowest_ms: float = 0.0
    stretch: float = 1.0
    slow: list[float] = field(default_factory=list)
    """Of the router, those of more than `MOST_MS`."""

    @property
    def is_steady(self) -> bool:
        """Whether each answer came in time, give or take what the machine took from a server that does nothing."""
        return not self.missing and self.slowest_ms <= MOST_MS * self.stretch + 2 * self.idle_slowest_ms

    def text(self) -> str:
        """What was seen, in a few words."""
        return f"/health {self.slowest_ms:.0f} ms (idle {self.idle_slowest_ms:.0f} ms, stretch {self.stretch:.1f})"


@contextlib.asynccontextmanager
async def pulse(address: tuple[str, int]) -> AsyncIterator[Pulse]:
    """Take the pulse of the router at *address* meanwhile; it is whole on leaving."""
    command = [sys.executable, "-m", "tests.siege.pulse", address[0], str(address[1])]
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe)
    assert process.stdin is not None
    assert process.stdout is not None
    await process.stdout.readline()  # it has begun
    found = Pulse()
    try:
        yield found
    finally:
        process.stdin.close()
        for name, value in json.loads(await process.stdout.read()).items():
            setattr(found, name, value)
        await process.wait()


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


async def _take(host: str, port: int) -> None:
    loop = asyncio.get_running_loop()
    is_over = asyncio.Event()
    loop.add_reader(sys.stdin.fileno(), is_over.set)
    idle = await asyncio.start_server(_idle, "127.0.0.1", 0)
    found = Pulse()
    print("begun", flush=True)
    took_s, cost_s = 1e-9, 1e-9
    while not is_over.is_set():
        beside, own = await asyncio.gather(
            _ask(*idle.sockets[0].getsockname()), _ask(host, port), return_exceptions=True
        )
        if isinstance(own, BaseException):
            found.missing += 1
        else:
            found.answers += 1
            found.slowest_ms = max(found.slowest_ms, own)
            if own > MOST_MS:
                found.slow.append(own)
        if not isinstance(beside, BaseException):
            found.idle_slowest_ms = max(found.idle_slowest_ms, beside)
        wall, own_time = time.perf_counter(), time.process_time()
        sum(range(_WORK))
        took_s, cost_s = took_s + time.perf_counter() - wall, cost_s + time.process_time() - own_time
        found.stretch = max(1.0, took_s / cost_s)
        await asyncio.sleep(SPACING_S)
    print(json.dumps(vars(found)))


if __name__ == "__main__":
    asyncio.run(_take(sys.argv[1], int(sys.argv[2])))
