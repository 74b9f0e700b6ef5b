"""`python -m tests.bench.beside_vllm`: vLLM behind Enginehouse beside the same `vllm serve` asked directly.

One engine answers both ways, through the router and on its own socket, in interleaved pairs, with 1, 8 and 32
streams at once. Needs an environment with vLLM: `make vllm-env` builds the one for processors that is taken where
ENGINEHOUSE_VLLM_PYTHON names no other.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.integration.served import Served

from enginehouse_vllm.environment import PYTHON_VARIABLE
from tests.weights import smollm2_hf, tiny_hf

from .streams import Case, busy_before, is_met, measure, over_http, table

STREAMS = (1, 8, 32)
DIRECT, SERVE = "vllm serve", "enginehouse serve"
BAR = 0.97
CONFIG = """
[server]
port = 0

[models.m]
context_tokens = 1024
[[models.m.placements]]
backend = "vllm"
source = "{folder}"
python = "{python}"
options = {{ max_sequences = {sequences}, cache_gib = 1 }}
"""
_START_S = 600.0
_BUILT = Path(__file__).parents[2] / ".cache/vllm-venv/bin/python"


def interpreter() -> str:
    """The interpreter that vLLM is installed for."""
    found = os.environ.get(PYTHON_VARIABLE) or (str(_BUILT) if _BUILT.exists() else None)
    if found is None:
        sys.exit(f"There is no environment with vLLM: make vllm-env builds one, or name one in {PYTHON_VARIABLE}.")
    return found


@contextmanager
def vllm_behind_router(weights: Path, sequences: int) -> Iterator[tuple[Served, str]]:
    """A router with vLLM behind it, and the socket that vLLM listens on."""
    config = CONFIG.format(folder=weights, python=interpreter(), sequences=sequences)
    with tempfile.TemporaryDirectory() as folder:
        served = Served(config, Path(folder))
        try:
            served.wait_ready(timeout_s=_START_S)
            yield served, engine_socket(served)
        finally:
            served.close()


def engine_socket(served: Served) -> str:
    """The path that follows `--uds` on the command line of the engine below *served*."""
    for process in served.descendants():
        words = process.cmdline()
        if "serve" in words and "--uds" in words:
            return words[words.index("--uds") + 1]
    raise RuntimeError("there is no engine below the router")


async def run(name: str, weights: Path, tokens: int, rounds: int, counts: Sequence[int]) -> None:
    """Measure with each of *counts* as the number of streams, and print the tables."""
    with vllm_behind_router(weights, max(counts)) as (served, socket):
        ways = {DIRECT: over_http(socket, "m", served.pid), SERVE: over_http(served.address, "m", served.pid)}
        for streams in counts:
            case = Case(name, streams, tokens, {"temperature": 0.8})
            before = busy_before()
            found = await measure(ways, case, rounds)
            print(f"\n{table(case, found, DIRECT)}\n\n{before} {is_met(found, SERVE, DIRECT, BAR)}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--weights", choices=("tiny", "real", "both"), default="both")
    parser.add_argument("--streams", type=int, nargs="+", default=STREAMS, help="how many at once, in turn")
    chosen = parser.parse_args()
    if chosen.weights != "real":
        asyncio.run(run("tiny model", tiny_hf(), 64, chosen.rounds, chosen.streams))
    if chosen.weights != "tiny":
        asyncio.run(run("SmolLM2-135M, f32", smollm2_hf(), 24, chosen.rounds, chosen.streams))


if __name__ == "__main__":
    main()
