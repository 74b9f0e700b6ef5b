"""`python -m tests.bench.slow_readers`: memory of the router while clients do not read.

200 clients ask for a stream that has no end, and never read a byte of it. What the sockets do not take must wait in the
engine: resident memory rises until all buffers are full, and then stays.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import uvloop

from . import held, load, peers

ALLOWED_MIB = 4
"""What resident memory may still rise by in the second half of the time: an allocator's own wanderings."""


async def measure(port: int, pid: int, clients: int, seconds: int) -> bool:
    """Print memory and processor time over *seconds*; returns whether memory stayed in their second half."""
    warm = await held.open_streams(port, 1)
    warm[0].transport.abort()
    await asyncio.sleep(1)
    before = load.resident_mib(pid)
    print("| after, s | resident, MiB | processor, s |\n|---|---|---|")
    print(f"| before | {before:.1f} | |")
    began_at, spent = time.perf_counter(), load.processor_s(pid)
    unread = await held.open_unread(port, clients)
    seen: list[float] = []
    every = max(1, seconds // 10)
    for second in range(1, seconds + 1):
        await asyncio.sleep(max(0, began_at + second - time.perf_counter()))
        seen.append(load.resident_mib(pid))
        if second % every == 0:
            print(f"| {second} | {seen[-1]:.1f} | {load.processor_s(pid) - spent:.2f} |", flush=True)
    is_bounded = max(seen[seconds // 2 :]) - seen[seconds // 2] <= ALLOWED_MIB
    each_kib = (max(seen) - before) * 1024 / clients
    print(
        f"\n{clients} clients that do not read: {max(seen):.0f} MiB at most, {each_kib:.0f} KiB for each; "
        f"{'bounded' if is_bounded else 'it was still rising'}."
    )
    for one in unread:
        one.close()
    return is_bounded


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--seconds", type=int, default=60)
    chosen = parser.parse_args()
    held.raise_files()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        upstream_port, _ = stack.enter_context(peers.upstream(folder, "endless"))
        port, pid, _ = stack.enter_context(peers.enginehouse(folder, upstream_port))
        if not uvloop.run(measure(port, pid, chosen.clients, chosen.seconds)):
            sys.exit(1)


if __name__ == "__main__":
    main()
