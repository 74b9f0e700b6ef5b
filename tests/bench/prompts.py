"""`python -m tests.bench.prompts`: how long long prompts take to be read, beside the bare engine with its own defaults.

Each engine with SmolLM2-135M: behind `enginehouse serve` as it comes, and its own server beside it. llama.cpp, which
has the embedded weights, is behind it with `reproducible = true`, too; MLX and vLLM have them in f32, and vLLM's own
server is told so, because it would take half precision. Prompts of 1,000 and 6,000 tokens that no cache has seen, one
at a time, each way once a round; the answer is one token. Processor time is that of the whole process tree; what its
threads waited for a processor, beside other work on this host, stands beside it: where that is much, seconds say
little, as an engine's threads wait for each other.
"""

from __future__ import annotations

import argparse
import http.client
import json
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.integration.served import Served
from tests.programs import free_port, running

from enginehouse.weights import resolve
from tests.weights import smollm2_hf

from . import load, peers
from .beside_vllm import interpreter
from .figures import spread
from .streams import busy_before

DEMO = "demo:smollm2-135m"
CONTEXT_TOKENS = 8192
CONFIG = """
[server]
port = 0
first_token_timeout_s = 3600

[models.m]
context_tokens = {context}
reproducible = {reproducible}
placements = [{{ backend = "{backend}", source = "{source}"{more} }}]
"""
BARE = """
import signal, sys, xllamacpp
params = xllamacpp.CommonParams()
params.model.path, params.port, params.n_ctx = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
server = xllamacpp.Server(params)
while True:
    signal.pause()
"""
START_S = 900.0
Ask = Callable[[str], int]
Ways = dict[str, tuple[Ask, int]]


def over_http(address: tuple[str, int], model: str = "m") -> Ask:
    """A way to ask the server at *address*, which calls the model *model*; returns the tokens of the prompt."""

    def ask(text: str) -> int:
        body = {"model": model, "messages": [{"role": "user", "content": text}], "max_tokens": 1}
        connection = http.client.HTTPConnection(*address, timeout=3600)
        connection.request("POST", "/v1/chat/completions", json.dumps(body), {"content-type": "application/json"})
        response = connection.getresponse()
        told = response.read()
        connection.close()
        if response.status != 200:
            raise RuntimeError(f"{address} answered {response.status}: {told.decode()[:300]}")
        return int(json.loads(told)["usage"]["prompt_tokens"])

    return ask


def bare_argv(engine: str, port: int) -> Sequence[str]:
    """The command line of the engine's own server, as it comes."""
    if engine == "llamacpp":
        return [sys.executable, "-c", BARE, str(resolve(DEMO)), str(port), str(CONTEXT_TOKENS)]
    weights = str(smollm2_hf())
    if engine == "mlx":
        return [str(Path(sys.executable).with_name("mlx_lm.server")), "--model", weights, "--port", str(port)]
    serve = [interpreter(), "-m", "vllm.entrypoints.cli.main", "serve", weights, "--served-model-name", "default_model"]
    return [*serve, "--dtype", "float32", "--max-model-len", str(CONTEXT_TOKENS), "--port", str(port)]


@contextmanager
def bare(engine: str, folder: Path) -> Iterator[tuple[Ask, int]]:
    """The engine's own server."""
    port = free_port()
    env = {"HF_HUB_OFFLINE": "1", "VLLM_CPU_KVCACHE_SPACE": "1"}
    with running(list(bare_argv(engine, port)), folder, "bare", env) as process:
        path = "v1/models" if engine == "mlx" else "health"
        peers.wait_answer(f"http://127.0.0.1:{port}/{path}", process, timeout_s=START_S)
        yield over_http(("127.0.0.1", port), "default_model"), process.pid


@contextmanager
def all_ways(engine: str) -> Iterator[Ways]:
    """The ways in which *engine* is asked; the bare one comes last."""
    more = f', python = "{interpreter()}", options = {{ cache_gib = 1 }}' if engine == "vllm" else ""
    source = DEMO if engine == "llamacpp" else str(smollm2_hf())
    with ExitStack() as stack:
        ways: Ways = {}
        for is_reproducible in (True, False) if engine == "llamacpp" else (False,):
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            reproducible = "true" if is_reproducible else "false"
            config = CONFIG.format(
                context=CONTEXT_TOKENS, reproducible=reproducible, backend=engine, source=source, more=more
            )
            served = Served(config, folder)
            stack.callback(served.close)
            served.wait_ready(START_S)
            name = "reproducible" if is_reproducible else "as it comes"
            ways[f"enginehouse serve, {name}"] = over_http(served.address), served.pid
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        ways["its own server"] = stack.enter_context(bare(engine, folder))
        yield ways


def measure(engine: str, ways: Ways, counts: Sequence[int], rounds: int) -> None:
    """Print a table of all *ways*; ratios are of seconds, to the last way in the same round."""
    words = random.Random(1)
    for ask, _ in ways.values():
        ask("Hello.")
    print(f"\n**{engine}**. {busy_before()}\n")
    print("| prompt | way | seconds | ratio | processor-seconds | waited for one, s | tokens a processor-second |")
    print("|---|---|---|---|---|---|---|")
    for count in counts:
        found: dict[str, list[tuple[float, float, float, float]]] = {name: [] for name in ways}
        for turn in range(rounds):
            for name in [*list(ways)[turn % len(ways) :], *list(ways)[: turn % len(ways)]]:
                ask, pid = ways[name]
                text = " ".join(str(words.randrange(10)) for _ in range(count // 2))
                spent, waited, began_at = load.processor_s(pid), load.waited_s(pid), time.perf_counter()
                tokens = ask(text)
                seconds, spent = time.perf_counter() - began_at, load.processor_s(pid) - spent
                found[name].append((seconds, spent, load.waited_s(pid) - waited, tokens / max(spent, 0.01)))
        last = [one[0] for one in list(found.values())[-1]]
        for name, values in found.items():
            ratio = statistics.median(one[0] / other for one, other in zip(values, last, strict=True))
            seconds, spent, waited, rate = (spread([one[at] for one in values], (2, 2, 2, 0)[at]) for at in range(4))
            print(f"| {count} | {name} | {seconds} | {ratio:.2f} | {spent} | {waited} | {rate} |", flush=True)


def main() -> None:
    """Measure, and print a table for each engine."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tokens", type=int, nargs="+", default=(1000, 6000))
    parser.add_argument(
        "--engines", nargs="+", choices=("llamacpp", "mlx", "vllm"), default=("llamacpp", "mlx", "vllm")
    )
    given = parser.parse_args()
    for engine in given.engines:
        with all_ways(engine) as ways:
            measure(engine, ways, given.tokens, given.rounds)


if __name__ == "__main__":
    main()
