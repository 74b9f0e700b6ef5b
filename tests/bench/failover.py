"""`python -m tests.bench.failover`: three upstreams under constant load, while one is killed, one hangs, one fails.

    0        1/6            1/3          1/2               2/3          5/6        1
    all well │ C fails now and then ─────────────────────────────────────┤
             │              A is killed ─────────────┐ comes back
             │                     B hangs ──────────────────┐ goes on

Half of the requests are streams. Prints what became of them and the time to the first part of an answer by phase, and
how the breakers went.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import statistics
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import msgspec
from tests.integration.served import Served
from tests.programs import free_port

from enginehouse_kit.http.client import LocalClient
from enginehouse_kit.http.sse import SSEParser

FAILING = 0.1
NAMES = "ABC"
CONFIG = """
[server]
port = 0
hang_timeout_s = 3
try_timeout_s = 1
breaker_open_s = 2

[models.m]
prefer = "least_loaded"
context_tokens = 4096
placements = [
    { backend = "upstream", source = "http://127.0.0.1:%d", options = { health_interval_s = 1, probe_timeout_s = 2 } },
    { backend = "upstream", source = "http://127.0.0.1:%d", options = { health_interval_s = 1, probe_timeout_s = 2 } },
    { backend = "upstream", source = "http://127.0.0.1:%d", options = { health_interval_s = 1, probe_timeout_s = 2 } },
]
"""


class Ended(msgspec.Struct):
    """What became of one request; times in seconds from the beginning of the play."""

    began: float
    is_stream: bool
    first_s: float = 0.0
    has_begun: bool = False
    problem: str = ""


class Outcome(msgspec.Struct):
    """Of a play: the requests, how often each id was answered to the end, the instances' last figures, the log."""

    seconds: float
    requests: list[Ended]
    answered: Counter[str]
    metrics: str
    log: list[dict[str, Any]]

    @property
    def not_begun(self) -> list[Ended]:
        """Requests that failed before the first part of their answer."""
        return [one for one in self.requests if one.problem and not one.has_begun]

    @property
    def cut(self) -> list[Ended]:
        """Requests that failed after it."""
        return [one for one in self.requests if one.problem and one.has_begun]

    @property
    def twice(self) -> list[str]:
        """Ids of requests that were answered to the end more than once; the router's own probes may be."""
        return [name for number in range(len(self.requests)) if self.answered[name := request_id(number)] > 1]


def request_id(number: int) -> str:
    """What the message of a request says, and the upstream that answered it tells."""
    return f"r{number}"


class Upstreams:
    def __init__(self) -> None:
        self.ports = [free_port() for _ in NAMES]
        self.answered: Counter[str] = Counter()
        self.running: dict[str, subprocess.Popen[str]] = {}
        self.ended: list[subprocess.Popen[str]] = []

    def start(self, name: str) -> None:
        program = [sys.executable, str(Path(__file__).with_name("faulty.py"))]
        argv = [*program, str(self.ports[NAMES.index(name)]), name, str(FAILING)]
        self.running[name] = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)

    def signal(self, name: str, what: signal.Signals) -> None:
        self.running[name].send_signal(what)

    def kill(self, name: str) -> None:
        process = self.running.pop(name)
        process.kill()
        self.ended.append(process)

    def close(self) -> None:
        for name in list(self.running):
            self.signal(name, signal.SIGCONT)
            self.kill(name)
        for process in self.ended:
            output, _ = process.communicate()
            self.answered.update(output.split("\n")[:-1])


async def ask(client: LocalClient, name: str, began: float, *, is_stream: bool) -> Ended:
    ended = Ended(began, is_stream)
    start = time.perf_counter()
    body = {"model": "m", "messages": [{"role": "user", "content": name}], "stream": is_stream}
    try:
        exchange = await client.send("POST", "/v1/chat/completions", json.dumps(body).encode())
        try:
            if exchange.status != 200:
                ended.problem = f"{exchange.status} {(await exchange.body())[:200]!r}"
            elif not is_stream:
                answer = json.loads(await exchange.body())
                ended.first_s = time.perf_counter() - start
                ended.has_begun = bool(answer["choices"])
            else:
                await _stream(exchange, ended, start)
        finally:
            exchange.close()
    except Exception as error:  # noqa: BLE001  # whatever it is stands in the outcome
        ended.problem = repr(error)
    return ended


async def _stream(exchange: Any, ended: Ended, start: float) -> None:
    parser = SSEParser()
    is_done = False
    while data := await exchange.read():
        for payload in parser.feed(data):
            if payload == b"[DONE]":
                is_done = True
                continue
            chunk = json.loads(payload)
            if "error" in chunk:
                ended.problem = str(chunk["error"])
            elif not ended.has_begun and any(choice["delta"].get("content") for choice in chunk["choices"]):
                ended.has_begun = True
                ended.first_s = time.perf_counter() - start
    if not is_done and not ended.problem:
        ended.problem = "the stream ended without an end"


async def _load(address: tuple[str, int], seconds: float, rate: float, upstreams: Upstreams) -> list[Ended]:
    loop = asyncio.get_running_loop()
    begin = loop.time()
    for share, act in (
        (1 / 6, lambda: upstreams.signal("C", signal.SIGUSR1)),
        (1 / 3, lambda: upstreams.kill("A")),
        (5 / 12, lambda: upstreams.signal("B", signal.SIGSTOP)),
        (7 / 12, lambda: upstreams.start("A")),
        (2 / 3, lambda: upstreams.signal("B", signal.SIGCONT)),
        (5 / 6, lambda: upstreams.signal("C", signal.SIGUSR2)),
    ):
        loop.call_later(share * seconds, act)
    client = LocalClient(address, max_idle=256)
    tasks = []
    try:
        for number in range(int(seconds * rate)):
            await asyncio.sleep(max(0.0, begin + number / rate - loop.time()))
            at = loop.time() - begin
            tasks.append(asyncio.create_task(ask(client, request_id(number), at, is_stream=number % 2 == 0)))
        return list(await asyncio.gather(*tasks))
    finally:
        await client.close()


def play(folder: Path, seconds: float, rate: float) -> Outcome:
    """Let the play run for so many *seconds* with *rate* requests a second."""
    upstreams = Upstreams()
    served = None
    try:
        for name in NAMES:
            upstreams.start(name)
        served = Served(CONFIG % tuple(upstreams.ports), folder).wait_ready()
        requests = asyncio.run(_load(served.address, seconds, rate, upstreams))
        metrics = httpx.get(f"{served.url}/metrics", trust_env=False).text
        log = list(served.log)
    finally:
        if served is not None:
            served.close()
        upstreams.close()
    return Outcome(seconds, requests, upstreams.answered, metrics, log)


def _spread(values: list[float]) -> str:
    if len(values) < 2:
        return "- | - | -"
    cut = statistics.quantiles(values, n=100, method="inclusive")
    return f"{1000 * cut[49]:.0f} | {1000 * cut[98]:.0f} | {1000 * max(values):.0f}"


def report(outcome: Outcome) -> str:
    """The outcome in words and tables."""
    lines = [
        f"{len(outcome.requests)} requests; failed before they had begun: {len(outcome.not_begun)}",
        f"cut after it: {len(outcome.cut)}; answered twice: {len(outcome.twice)}",
        "",
        "| phase | form | requests | p50, ms | p99, ms | most, ms |",
        "|---|---|---|---|---|---|",
    ]
    of = outcome.seconds
    phases = (
        ("all well", 0, 1 / 6), ("C fails one in ten", 1 / 6, 1 / 3), ("and A is killed", 1 / 3, 5 / 12),
        ("and B hangs", 5 / 12, 7 / 12), ("A is back", 7 / 12, 2 / 3), ("B is back", 2 / 3, 5 / 6),
        ("all well", 5 / 6, 1),
    )  # fmt: skip
    for name, start, end in phases:
        for is_stream in (True, False):
            some = [
                one.first_s
                for one in outcome.requests
                if start * of <= one.began < end * of and one.is_stream == is_stream and not one.problem
            ]
            lines.append(f"| {name} | {'stream' if is_stream else 'whole'} | {len(some)} | {_spread(some)} |")
    lines += ["", *(f"{one.began:.1f} s: {one.problem}" for one in (*outcome.not_begun, *outcome.cut)[:10]), ""]
    lines += [line for line in outcome.metrics.splitlines() if line.startswith("enginehouse_instance_") and "#" in line]
    events = Counter((line["event"], line.get("instance")) for line in outcome.log if line["event"] != "request")
    lines += [f"{times} x {event} {instance or ''}" for (event, instance), times in sorted(events.items(), key=str)]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.failover", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--rate", type=float, default=40.0, help="requests a second")
    parser.add_argument("--folder", type=Path, required=True, help="where the router's files go")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    print(report(play(options.folder, options.seconds, options.rate)))


if __name__ == "__main__":
    main()
