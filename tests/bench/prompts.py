"""`python -m tests.bench.prompts`: how long long prompts take to be read, beside the bare engine with its own defaults.

llama.cpp with the embedded weights: behind `enginehouse serve` as it comes, behind it with `reproducible = true`, and
llama.cpp's own server. Prompts of 1,000 and 6,000 tokens that no cache has seen, one at a time, each way once a round;
the answer is one token. Processor time is that of the whole process tree.
"""

from __future__ import annotations

import argparse
import http.client
import json
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.integration.served import Served

from enginehouse.weights import resolve

from . import load, peers
from .figures import spread
from .streams import busy_before

DEMO = "demo:smollm2-135m"
CONFIG = """
[server]
port = 0

[models.m]
reproducible = {reproducible}
placements = [{{ backend = "llamacpp", source = "{source}" }}]
"""
BARE = """
import signal, sys, xllamacpp
params = xllamacpp.CommonParams()
params.model.path, params.port, params.n_ctx = sys.argv[1], int(sys.argv[2]), 8192
server = xllamacpp.Server(params)
while True:
    signal.pause()
"""
Ask = Callable[[str], int]


def over_http(address: tuple[str, int]) -> Ask:
    """A way to ask the server at *address*; returns the tokens of the prompt."""

    def ask(text: str) -> int:
        body = {"model": "m", "messages": [{"role": "user", "content": text}], "max_tokens": 1}
        connection = http.client.HTTPConnection(*address, timeout=600)
        connection.request("POST", "/v1/chat/completions", json.dumps(body), {"content-type": "application/json"})
        answer = json.loads(connection.getresponse().read())
        connection.close()
        return int(answer["usage"]["prompt_tokens"])

    return ask


@contextmanager
def bare(folder: Path) -> Iterator[tuple[Ask, int]]:
    """llama.cpp's own server as it comes."""
    port = peers.free_port()
    with peers.running([sys.executable, "-c", BARE, str(resolve(DEMO)), str(port)], folder, "bare") as process:
        peers.wait_answer(f"http://127.0.0.1:{port}/health", process)
        yield over_http(("127.0.0.1", port)), process.pid


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    words = random.Random(1)
    with ExitStack() as stack:
        ways: dict[str, tuple[Ask, int]] = {}
        for name, reproducible in (("reproducible", "true"), ("as it comes", "false")):
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            served = Served(CONFIG.format(reproducible=reproducible, source=DEMO), folder)
            stack.callback(served.close)
            served.wait_ready()
            ways[f"enginehouse serve, {name}"] = over_http(served.address), served.pid
        ways["llama.cpp's own server"] = stack.enter_context(
            bare(Path(stack.enter_context(tempfile.TemporaryDirectory())))
        )
        print(busy_before(), "\n")
        print("| prompt | way | seconds | processor-seconds | tokens a processor-second |\n|---|---|---|---|---|")
        for count in (1000, 6000):
            found: dict[str, list[tuple[float, float, float]]] = {name: [] for name in ways}
            for _ in range(rounds):
                for name, (ask, pid) in ways.items():
                    text = " ".join(str(words.randrange(10)) for _ in range(count // 2))
                    spent, began_at = load.processor_s(pid), time.perf_counter()
                    tokens = ask(text)
                    seconds, spent = time.perf_counter() - began_at, load.processor_s(pid) - spent
                    found[name].append((seconds, spent, tokens / max(spent, 0.01)))
            for name, values in found.items():
                figures = " | ".join(spread([one[at] for one in values], (2, 2, 0)[at]) for at in range(3))
                print(f"| {count} | {name} | {figures} |", flush=True)


if __name__ == "__main__":
    main()
