"""`python -m tests.bench.idle`: what streams cost on which nothing happens.

1, 64, 1,000 and 10,000 streams at once, begun and then silent, through each server in turn: resident memory of its
process tree, the memory per stream beyond what it took before the first, and processor time per minute. Silent streams
get a comment every 15 seconds from Enginehouse, as they do by default. The goal: under 64 KiB per stream.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from functools import partial
from pathlib import Path

import uvloop

from . import held, load, peers

COUNTS = (1, 64, 1_000, 10_000)
GOAL_KIB = 64
Server = Callable[[Path, int], AbstractContextManager[tuple[int, ...]]]
SERVERS: dict[str, Server] = {
    "nginx": partial(peers.nginx, connections=32768),
    "vllm-router": peers.vllm_router,
    "enginehouse": peers.enginehouse,
}


async def measure(name: str, port: int, pid: int, counts: list[int], seconds: float) -> list[str]:
    """Rows of the table: the streams of one count stay open while those of the next are added."""
    rows, clients = [], []
    try:
        warm = await held.open_streams(port, 1)
        warm[0].transport.abort()
        await asyncio.sleep(1)
        before = load.resident_mib(pid)
        for count in counts:
            clients += await held.open_streams(port, count - len(clients))
            await asyncio.sleep(1)
            spent = load.processor_s(pid)
            await asyncio.sleep(seconds)
            spent = (load.processor_s(pid) - spent) * 60 / seconds
            resident = load.resident_mib(pid)
            lost = sum(not client.is_open for client in clients)
            each = f"{(resident - before) * 1024 / count:.1f}" if count > 1 else "—"
            rows.append(f"| {name} | {count - lost:,} | {resident:.0f} | {each} | {spent:.2f} |")
    finally:
        for client in clients:
            client.transport.abort()
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=30, help="of silence that each count is watched")
    parser.add_argument("--counts", type=int, nargs="+", default=COUNTS)
    parser.add_argument("--servers", nargs="+", choices=SERVERS, default=SERVERS)
    chosen = parser.parse_args()
    files = held.raise_files()
    most = held.most_streams(files)
    counts = sorted({min(count, most) for count in chosen.counts})
    if most < max(chosen.counts):
        print(f"A process may open {files:,} files here, so that {most:,} streams are the most.\n")
    print("| server | idle streams | resident, MiB | KiB per stream | processor, s per minute |")
    print("|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as root:
        for name in chosen.servers:
            folder = Path(root) / name
            folder.mkdir()
            with ExitStack() as stack:
                upstream_port, _ = stack.enter_context(peers.upstream(folder, "held"))
                port, pid, *_ = stack.enter_context(SERVERS[name](folder, upstream_port))
                print(*uvloop.run(measure(name, port, pid, counts, chosen.seconds)), sep="\n", flush=True)
    print(f"\nThe goal of Enginehouse is under {GOAL_KIB} KiB per stream.")


if __name__ == "__main__":
    main()
