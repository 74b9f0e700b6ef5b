"""How long after a client has left its tokens stop, and a request that needs every slot is answered.

On llama.cpp with the embedded model and its default options, over real sockets, 50 times per case. Printed
beside one step of the engine (a step cannot be interrupted) and the same request to an idle engine, as median
and worst, in milliseconds. A client leaves by a close, a reset and a half close in turn.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path

from tests.integration.raw import NO_END, Engine, Raw, engines, metric, wait_until
from tests.integration.served import MODEL, Served

SLOTS = 4
CONFIG = f"""
[server]
port = 0

[models."{MODEL}"]
context_tokens = 4096
placements = [{{ backend = "llamacpp", source = "demo:{MODEL}", options = {{ slots = {SLOTS} }} }}]
"""
LEAVE: tuple[Callable[[Raw], None], ...] = (Raw.close, Raw.reset, Raw.half_close)
TARGET_MS = 250
LONG = "All work and no play makes Jack a dull boy. " * 250


class Bench:
    """A server and its engine, and what one case does before the client leaves."""

    def __init__(self, served: Served, engine: Engine, batch_tokens: int) -> None:
        self.served = served
        self.engine = engine
        self.batch_tokens = batch_tokens

    def mid_stream(self, client: Raw, _: int) -> None:
        """Three chunks of a stream have come."""
        client.ask(stream=True, max_tokens=3000, logit_bias=NO_END)
        events = client.events()
        for _ in range(3):
            next(events)

    def no_stream(self, client: Raw, _: int) -> None:
        """Some tokens of an answer without stream are there."""
        client.ask(max_tokens=3000, logit_bias=NO_END)
        wait_until(lambda: self.engine.written_tokens() > 2, "some tokens")

    def full_socket(self, client: Raw, _: int) -> None:
        """The client has read nothing, and all buffers are full."""
        for _ in range(2):
            client.get("/openapi.json")
        client.ask(stream=True, n=2, logprobs=True, top_logprobs=20, max_tokens=3000, logit_bias=NO_END)
        wait_until(lambda: self.engine.written_tokens() > 20, "more than the buffers take")

    def before_first_token(self, client: Raw, turn: int) -> None:
        """The engine computes a long prompt that it has not seen before."""
        client.ask(messages=[{"role": "user", "content": f"{turn}: {LONG}"}], stream=turn % 2 == 0)
        wait_until(lambda: self.engine.busy_slots() > 0, "the engine begins")

    def probe(self) -> float:
        """Ask for something that needs every slot; returns when it was answered."""
        with Raw(self.served.address) as client:
            client.ask(n=SLOTS, max_tokens=1)
            client.answer()
            if client.status != 200:
                sys.exit(f"The probe got {client.status}.")
        return time.perf_counter()

    def run(self, begin: Callable[[Raw, int], None], times: int) -> tuple[list[float], list[float]]:
        """Milliseconds from leaving until no slot is busy, and until the probe is answered, in turn."""
        stops, answers = [], []
        for turn in range(2 * times):
            with Raw(self.served.address, tiny_buffers=begin == self.full_socket) as client:
                begin(client, turn)
                left_at = time.perf_counter()
                LEAVE[turn % 3](client)
                if turn % 2:
                    wait_until(lambda: self.engine.busy_slots() == 0, "no slot is busy")
                    stops.append((time.perf_counter() - left_at) * 1000)
                else:
                    answers.append((self.probe() - left_at) * 1000)
            wait_until(lambda: self.engine.busy_slots() == 0, "no slot is busy")
        return stops, answers

    def queued(self, times: int) -> list[float]:
        """Milliseconds from leaving the queue until it is empty."""
        found = []
        with ExitStack() as stack:
            for _ in range(SLOTS):
                holder = stack.enter_context(Raw(self.served.address))
                holder.ask(stream=True, max_tokens=3000, logit_bias=NO_END)
                next(holder.events())
            for turn in range(times):
                with Raw(self.served.address) as client:
                    client.ask(stream=turn % 2 == 0)
                    wait_until(lambda: metric(self.served, "enginehouse_queued_requests") == 1, "it waits")
                    left_at = time.perf_counter()
                    LEAVE[turn % 3](client)
                    wait_until(lambda: metric(self.served, "enginehouse_queued_requests") == 0, "it is out")
                    found.append((time.perf_counter() - left_at) * 1000)
        return found

    def decode_step(self) -> list[float]:
        """Milliseconds between the tokens of one stream."""
        with Raw(self.served.address) as client:
            client.ask(stream=True, max_tokens=100, logit_bias=NO_END)
            at = [time.perf_counter() for _ in client.events()][2:-2]
        return [(b - a) * 1000 for a, b in pairwise(at)]

    def prompt_step(self, times: int) -> list[float]:
        """Milliseconds that a batch of a long prompt takes."""
        found = []
        for turn in range(times):
            with Raw(self.served.address) as client:
                began_at = time.perf_counter()
                client.ask(messages=[{"role": "user", "content": f"step {turn}: {LONG}"}], max_tokens=1)
                steps = client.answer()["usage"]["prompt_tokens"] / self.batch_tokens
            found.append((time.perf_counter() - began_at) * 1000 / steps)
        return found


def shown(values: Sequence[float]) -> str:
    """Median and worst."""
    return f"{statistics.median(values):.0f} / {max(values):.0f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=50, help="per case")
    times = parser.parse_args().times
    with tempfile.TemporaryDirectory() as folder:
        served = Served(CONFIG, Path(folder))
        try:
            served.wait_ready()
            ((settings, _),) = engines(served)
            with Engine(settings["socket"]) as engine:
                report(Bench(served, engine, settings["batch_tokens"]), times)
        finally:
            served.close()


def report(bench: Bench, times: int) -> None:
    """Run all cases and print the table."""
    bench.probe()
    decode, prompt = bench.decode_step(), bench.prompt_step(3)
    ended_at = [bench.probe() for _ in range(times + 1)]
    idle = [(b - a) * 1000 for a, b in pairwise(ended_at)]
    print(f"The probe on an idle engine: {shown(idle)} ms. Target: one step + {TARGET_MS} ms. Median / worst, in ms.\n")
    print("| the client leaves | one engine step | tokens stop | the probe is answered |")
    print("|---|---|---|---|")
    cases = (
        ("before the first token", prompt, bench.before_first_token),
        ("in mid-stream", decode, bench.mid_stream),
        ("with a full socket", decode, bench.full_socket),
        ("waiting for one body", decode, bench.no_stream),
    )
    for name, step, begin in cases:
        stops, answers = bench.run(begin, times)
        print(f"| {name} | {shown(step)} | {shown(stops)} | {shown(answers)} |", flush=True)
    print(f"| while queued | — | {shown(bench.queued(times))} | — |")


if __name__ == "__main__":
    main()
