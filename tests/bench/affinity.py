"""`python -m tests.bench.affinity`: eight conversations of ten turns on two llama-servers, behind four ways to choose.

Enginehouse with and without `prefix_affinity`, and vllm-router with its cache-aware policy and round robin, each before
two fresh servers of the demo model. Prints how much of the prompts came from a cache, and the time to the first token.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
from tests.bench import peers
from tests.integration.served import Served

from enginehouse_kit.http.client import LocalClient
from enginehouse_kit.http.sse import SSEParser

ROOT = Path(__file__).parents[2]
LLAMA_SERVER = ROOT / "plugins/upstream/tests/llama_server.py"
WORDS = ("river", "stone", "lantern", "market", "winter", "copper", "garden", "signal", "thunder", "paper", "harbor")
CONFIG = """
[server]
port = 0

[models.m]
prefer = "fastest"
prefix_affinity = %s
context_tokens = 2048
placements = [
    { backend = "upstream", source = "%s", options = { server = "llamacpp", max_connections = 4 } },
    { backend = "upstream", source = "%s", options = { server = "llamacpp", max_connections = 4 } },
]
"""
WAYS = ("affinity", "no affinity", "vllm-router cache_aware", "vllm-router round_robin")


class Turn(msgspec.Struct):
    """One turn: tokens of its prompt, those of them from a cache, seconds to the first token."""

    prompt: int
    cached: int
    first_s: float


@contextmanager
def llama_servers(weights: str, number: int) -> Iterator[list[str]]:
    """*number* fresh servers; yields their URLs."""
    processes: list[subprocess.Popen[str]] = []
    try:
        for _ in range(number):
            argv = [sys.executable, str(LLAMA_SERVER), weights, "2048", "4"]
            env = {**os.environ, "OMP_WAIT_POLICY": "passive"}
            processes.append(
                subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=env)
            )
        yield [str(process.stdout.readline()).split()[-1] for process in processes if process.stdout is not None]
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.communicate()


async def ask(client: LocalClient, messages: list[dict[str, str]]) -> tuple[Turn, str]:
    body = {
        "model": "m", "messages": messages, "stream": True, "stream_options": {"include_usage": True},
        "max_tokens": 6, "temperature": 0,
    }  # fmt: skip
    start = time.perf_counter()
    exchange = await client.send("POST", "/v1/chat/completions", json.dumps(body).encode())
    parser, said, first_s, usage = SSEParser(), "", 0.0, {}
    try:
        assert exchange.status == 200, await exchange.body()
        while data := await exchange.read():
            for payload in parser.feed(data):
                if payload == b"[DONE]":
                    continue
                chunk: dict[str, Any] = json.loads(payload)
                usage = chunk.get("usage") or usage
                for choice in chunk["choices"]:
                    if text := choice["delta"].get("content"):
                        first_s = first_s or time.perf_counter() - start
                        said += text
    finally:
        exchange.close()
    cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0
    return Turn(usage["prompt_tokens"], cached, first_s or time.perf_counter() - start), said


async def converse(client: LocalClient, number: int, turns: int) -> list[Turn]:
    dice = random.Random(number)
    system = " ".join(dice.choices(WORDS, k=30))
    messages = [{"role": "system", "content": f"You are storyteller {number}. Your words: {system}."}]
    told = []
    for turn in range(turns):
        messages.append({"role": "user", "content": f"Part {turn}: {' '.join(dice.choices(WORDS, k=12))}?"})
        done, said = await ask(client, messages)
        told.append(done)
        messages.append({"role": "assistant", "content": said or "…"})
        await asyncio.sleep(dice.uniform(0.0, 0.3))
    return told


async def _all(address: tuple[str, int], conversations: int, turns: int) -> list[list[Turn]]:
    client = LocalClient(address)
    try:
        return list(await asyncio.gather(*(converse(client, number, turns) for number in range(conversations))))
    finally:
        await client.close()


def measure(way: str, weights: str, folder: Path, conversations: int, turns: int) -> str:
    folder.mkdir(parents=True)
    with llama_servers(weights, 2) as urls:
        if way.startswith("vllm-router"):
            first, second = (int(url.rsplit(":", 1)[1]) for url in urls)
            options = (f"http://127.0.0.1:{second}", "--policy", way.split()[1])
            with peers.vllm_router(folder, first, *options) as (port, _):
                told = asyncio.run(_all(("127.0.0.1", port), conversations, turns))
        else:
            served = Served(CONFIG % ("true" if way == "affinity" else "false", *urls), folder).wait_ready()
            try:
                told = asyncio.run(_all(served.address, conversations, turns))
            finally:
                served.close()
    later = [turn for one in told for turn in one[1:]]
    prompt, cached = sum(turn.prompt for turn in later), sum(turn.cached for turn in later)
    times = [1000 * turn.first_s for turn in later]
    cut = statistics.quantiles(times, n=100, method="inclusive")
    return f"| {way} | {prompt} | {cached} ({cached / prompt:.0%}) | {cut[49]:.0f} | {cut[94]:.0f} |"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.affinity", description=__doc__)
    parser.add_argument("--weights", required=True, help="a GGUF file")
    parser.add_argument("--folder", type=Path, required=True, help="where the routers' files go; new")
    parser.add_argument("--conversations", type=int, default=8)
    parser.add_argument("--turns", type=int, default=10)
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=WAYS)
    options = parser.parse_args()
    print("| way | prompt tokens from the second turn on | of these cached | first token p50, ms | p95, ms |")
    print("|---|---|---|---|---|")
    for way in options.ways:
        folder = options.folder / way.replace(" ", "-")
        print(measure(way, options.weights, folder, options.conversations, options.turns), flush=True)


if __name__ == "__main__":
    main()
