"""`python -m tests.bench.instances`: the router's processor time for a request with 1, 8 and 64 instances of its model.

All instances are of the same instant upstream, and requests are plain ones of three messages. Rounds are interleaved:
prints medians with their spread, and the growth over one instance in the same round.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import get_args

from tests.bench import load, peers
from tests.bench.figures import spread
from tests.programs import free_port, running

from enginehouse.config import Prefer
from enginehouse_kit.http.client import LocalClient

COUNTS = (1, 8, 64)
CONNECTIONS = 16
MODEL = """
[models.m]
prefer = "{prefer}"
placements = [
{placements}
]
"""
PLACEMENT = '    {{ backend = "relay", source = "{number}", options = {{ port = {port}, slots = 256 }} }},'
MESSAGES = [*load.MESSAGES, {"role": "user", "content": "And of Spain? Tell me in one sentence, please."}]
BODY = json.dumps({**load.BODY, "messages": MESSAGES}).encode()


def model(upstream_port: int, count: int, prefer: str) -> str:
    """What the file says of a model with *count* instances."""
    placements = "\n".join(PLACEMENT.format(number=number, port=upstream_port) for number in range(count))
    return MODEL.format(placements=placements, prefer=prefer)


@contextmanager
def router(folder: Path, upstream_port: int, count: int, prefer: str, program: Path) -> Iterator[tuple[int, int]]:
    """A router with *count* instances; yields its port and process id."""
    folder.mkdir()
    port = free_port()
    server = peers.SERVER.format(port=port, sha256=hashlib.sha256(load.KEY.encode()).hexdigest())
    config = folder / "enginehouse.toml"
    config.write_text(server + model(upstream_port, count, prefer))
    env = {"PYTHONPATH": str(peers.install_plugin(folder))}
    argv = [str(program), "serve", "--config", str(config), "--log-format", "json"]
    with running(argv, folder, "enginehouse", env) as process:
        peers.wait_answer(f"http://127.0.0.1:{port}/ready", process)
        yield port, process.pid


async def _ask(port: int, number: int) -> None:
    client = LocalClient(("127.0.0.1", port), headers=(("authorization", f"Bearer {load.KEY}"),))

    async def some() -> None:
        for _ in range(number // CONNECTIONS):
            reply = await client.request("POST", "/v1/chat/completions", BODY)
            assert reply.status == 200, reply.body

    try:
        await asyncio.gather(*(some() for _ in range(CONNECTIONS)))
    finally:
        await client.close()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.instances", description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--requests", type=int, default=3200, help="in each round")
    parser.add_argument("--prefer", choices=get_args(Prefer), default="fastest")
    parser.add_argument("--server", type=Path, help="program `enginehouse` of another environment, measured beside")
    options = parser.parse_args()
    programs = {"as installed": Path(sys.executable).with_name("enginehouse")}
    if options.server is not None:
        programs["the other"] = options.server.absolute()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        upstream_port, _ = stack.enter_context(peers.upstream(folder))
        routers = {
            (label, count): stack.enter_context(
                router(folder / f"{label} {count}", upstream_port, count, options.prefer, program)
            )
            for label, program in programs.items()
            for count in COUNTS
        }
        figures: dict[tuple[str, int], list[float]] = {each: [] for each in routers}
        for turn in range(-1, options.rounds):  # the first is for warming up
            for each, (port, pid) in routers.items():
                before = load.processor_s(pid)
                asyncio.run(_ask(port, options.requests))
                spent_us = 1e6 * (load.processor_s(pid) - before) / options.requests
                if turn >= 0:
                    figures[each].append(spent_us)
    print("| | instances | processor, µs per request | more than with one |\n|---|---|---|---|")
    for (label, count), values in figures.items():
        more = [value - one for value, one in zip(values, figures[label, 1], strict=True)]
        print(f"| {label} | {count} | {spread(values)} | {spread(more, 1)} |")


if __name__ == "__main__":
    main()
