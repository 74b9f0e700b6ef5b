"""Three nodes of a Ray cluster, and streamed requests while an engine, a node, then the head are killed and return.

`python -m tests.cluster`. Nodes are network namespaces of this machine, which needs root; on them are llama.cpp and MLX
with tiny weights. Prints what failed, for how long, what moved, and whether the ledger agrees with the engines.

With `--routers 2 --store postgresql` routers and their database are killed instead: see `tests.cluster.credit`.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import statistics
import time
from collections import Counter

from tests.cluster.credit import shared
from tests.cluster.network import Node, network
from tests.cluster.town import (
    ACCOUNTS,
    SERVER,
    TWO_LINES,
    Router,
    asking,
    kill_engines,
    model_of,
    tokens_of,
    told_by_engines,
    verdict,
)
from tests.hosts.machines import until
from tests.siege.client import Client
from tests.siege.verdict import Verdict

from enginehouse.cluster.messages import engine_key
from tests.weights import tiny_gguf, tiny_hf

_AT_ONCE = 6
_MEASURED = 100
_MODELS = ("tiny", "mac")


class Load:
    """Streamed requests, one after another in each of a few places, until told to stop."""

    def __init__(self, router: Router) -> None:
        self.counted: dict[str, Counter[str]] = {}
        self.asked: Counter[str] = Counter()
        self.tokens: Counter[str] = Counter()
        self.phase = "quiet"
        self.slowest_s: dict[str, float] = {}
        self._router = router
        self._numbers = itertools.count()
        self._is_over = False

    async def run(self) -> None:
        """Ask until `stop`."""
        await asyncio.gather(*(self._ask() for _ in range(_AT_ONCE)))

    def stop(self) -> None:
        """Ask no more."""
        self._is_over = True

    @property
    def total(self) -> int:
        """How many have ended."""
        return sum(sum(one.values()) for one in self.counted.values())

    async def _ask(self) -> None:
        async with self._router.client(300.0) as client:
            while not self._is_over:
                number = next(self._numbers)
                model, phase = _MODELS[number % len(_MODELS)], self.phase
                began_at = time.monotonic()
                answer = await client.chat(asking(model, number))
                how = verdict(answer)
                self.counted.setdefault(phase, Counter())[f"{model}: {how}"] += 1
                took_s = time.monotonic() - began_at
                self.slowest_s[phase] = max(took_s, self.slowest_s.get(phase, 0.0))
                self.asked[model] += how == "whole"
                self.tokens[model] += tokens_of(answer) if how == "whole" else 0
                await asyncio.sleep(0.05)


async def hop(router: Router) -> None:
    """Print what the way over the router costs beside the way straight to an engine, by so many tokens on each."""
    url = next(
        line.split('"url":"')[1].split('/v1"')[0].removeprefix("http://")
        for line in _engine_lines(router.node)
        if '"event":"listening"' in line and '"models":["tiny"]' in line
    )
    host, _, port = url.rpartition(":")
    key = engine_key(router.node.token.read_text())
    took: dict[str, list[float]] = {"straight": [], "by the router": []}
    body = {**asking("tiny", 0, tokens=1), "stream": False}
    del body["stream_options"]
    async with Client((host, int(port)), key=key) as straight, router.client() as routed:
        for _ in range(_MEASURED):
            for name, client in (("straight", straight), ("by the router", routed)):
                began_at = time.perf_counter()
                answer = await client.chat(body)
                assert answer.status == 200, answer
                took[name].append(time.perf_counter() - began_at)
    for name, times in took.items():
        print(f"  a request for one token, {name}: {statistics.median(times) * 1000:.1f} ms (median of {len(times)})")


def _engine_lines(node: Node) -> list[str]:
    files = (node.folder / "r").glob("session_2*/logs/worker-*.err")
    return [line for file in files for line in file.read_text("utf-8", "replace").splitlines()]


async def more(load: Load, what: str, count: int) -> None:
    """Wait until *count* more requests have ended."""
    wanted = load.total + count
    while load.total < wanted:  # noqa: ASYNC110  # nobody tells
        await asyncio.sleep(0.1)
    print(f"{what}: {load.total} requests by now", flush=True)


async def healed(router: Router) -> None:
    """Print after how long it is noticed that instances are lost, and after how long there are as many again."""
    began_at = time.monotonic()
    noticed_s = await until(router.lacks, "it is noticed", timeout_s=120)
    ready = await router.ready()
    await router.until_ready(4)
    print(f"  {4 - ready} instances lost, noticed after {noticed_s:.1f} s, "
          f"replaced after {time.monotonic() - began_at:.0f} s: {await _where(router)}", flush=True)  # fmt: skip


async def campaign(nodes: dict[str, Node], requests: int) -> None:
    """The whole of it."""
    head, other, home = nodes.values()
    models = model_of("tiny", "llamacpp", tiny_gguf()) + model_of("mac", "mlx", tiny_hf())
    router = Router(home, SERVER + ACCOUNTS + models + TWO_LINES)
    share = requests // 5
    with router.running():
        print(f"4 instances ready after {await router.until_ready(4):.0f} s: {await _where(router)}", flush=True)
        await hop(router)
        load = Load(router)
        load.tokens["tiny"], load.asked["tiny"] = _MEASURED, _MEASURED
        running = asyncio.create_task(load.run())
        await more(load, "quiet", share)

        load.phase = "an engine killed"
        assert kill_engines(other)
        await healed(router)
        await more(load, load.phase, share)

        load.phase = "a node killed"
        await asyncio.to_thread(other.kill)
        await healed(router)
        await more(load, load.phase, share)
        load.phase = "the node joins again"
        await asyncio.to_thread(other.join, head)
        await until(lambda: router.knows(other), "the router knows the node", timeout_s=300)

        load.phase = "the head killed"
        await asyncio.to_thread(head.kill)
        await healed(router)
        await more(load, load.phase, share)
        load.phase = "the head up again"
        await asyncio.to_thread(head.up)
        await until(lambda: router.knows(head), "the router knows the head's node", timeout_s=300)
        await more(load, load.phase, max(share, requests - load.total))
        print(f"  {await router.until_ready(4):.0f} s: {await _where(router)}", flush=True)
        load.stop()
        await running
    lost = sum(count for one in load.counted.values() for how, count in one.items() if not _is_kept(how))
    for phase, counted in load.counted.items():
        print(f"  {phase}: {dict(sorted(counted.items()))}, the slowest {load.slowest_s[phase]:.1f} s")
    print(f"{load.total} requests; lost before they had begun: {lost}")
    ledger, engines = router.usage(), told_by_engines(list(nodes.values()))
    engines["tiny"] -= _MEASURED  # those that were asked straight
    for model in _MODELS:
        asked, tokens = ledger[model]
        print(
            f"  {model}: clients were told {load.tokens[model]} tokens of {load.asked[model]} whole answers, "
            f"the ledger has {tokens} of {asked} with those that broke, the engines' logs {engines[model]}"
        )
    broken = [line for line in router.log().splitlines() if "Traceback" in line or "broke" in line]
    print("\n".join(broken[:5]) or "no tracebacks")


def _is_kept(how: str) -> bool:
    """Whether a request that ended so was answered, or had begun when its engine went."""
    return how.endswith((": whole", ": ended after it had begun"))


async def _where(router: Router) -> dict[str, str]:
    return {key: node for model in _MODELS for key, node in (await router.nodes_of(model)).items()}


def main() -> None:
    """Make the nodes, run, and end them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=1000)
    parser.add_argument("--routers", type=int, default=1, help="with PostgreSQL; one of several is killed for good")
    parser.add_argument(
        "--store", choices=("sqlite", "postgresql"), default="sqlite", help="postgresql: as `credit` has it"
    )
    asked = parser.parse_args()
    if asked.store == "sqlite" and asked.routers > 1:
        parser.error("several routers need --store postgresql")
    with network("one", "two", "three") as nodes:
        head, other, home = nodes.values()
        for node in (head, other, home):
            began_at = time.monotonic()
            _ = node.up() if node is head else node.join(head)
            print(f"'{node.name}' is there after {time.monotonic() - began_at:.1f} s", flush=True)
        if asked.store == "sqlite":
            asyncio.run(campaign(nodes, asked.requests))
            return
        verdict = Verdict(f"{asked.routers} routers on PostgreSQL")
        dies = asked.routers > 1
        asyncio.run(shared(verdict, list(nodes.values()), routers=asked.routers, streams=40, keys=8, dies=dies))
        print(verdict.text())


if __name__ == "__main__":
    main()
