"""`python -m tests.bench.beside_mlx`: Enginehouse's MLX plugin beside mlx_lm's own server and its `stream_generate`.

The same weights, the same requests, the same environment; every way answers once a round, in turn. With 8 requests
at once against `mlx_lm.server`, as it comes: without seeds, which it batches, and with seeds, where it answers one
after another. With one request against `mlx_lm.stream_generate`, which has no server at all.

The plugin is measured behind `enginehouse serve`, and alone: its worker, asked through the contract.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path

from tests.integration.served import Served
from tests.programs import free_port, running

from enginehouse_mlx.backend import MlxBackend
from enginehouse_mlx.options import MlxOptions
from enginehouse_plugin import Chat, GenerationRequest, Placement, UsageReport, UserMessage
from tests.weights import tiny_hf

from . import peers
from .larger import larger_hf
from .streams import Case, Fields, Way, busy_before, is_met, measure, over_http, table

SLOTS = 8
SERVER, ALONE = "mlx_lm.server", "mlx_lm.stream_generate"
PLUGIN, SERVE = "plugin alone", "enginehouse serve"
CONFIG = """
[server]
port = 0

[models.m]
context_tokens = 2048
placements = [{{ backend = "mlx", source = "{folder}", options = {{ slots = {slots} }} }}]
"""


@contextmanager
def mlx_server(folder: Path, weights: Path) -> Iterator[Way]:
    """`mlx_lm.server` as it comes."""
    port = free_port()
    program = str(Path(sys.executable).with_name("mlx_lm.server"))
    argv = [program, "--model", str(weights), "--port", str(port), "--log-level", "WARNING"]
    with running(argv, folder, "mlx_lm", {"HF_HUB_OFFLINE": "1"}) as process:
        peers.wait_answer(f"http://127.0.0.1:{port}/v1/models", process, timeout_s=300)
        yield over_http(("127.0.0.1", port), "default_model", process.pid)


@asynccontextmanager
async def mlx_alone(weights: Path) -> AsyncIterator[Way]:
    """mlx_lm without a server; one request at a time."""
    program = Path(__file__).with_name("mlx_alone.py")
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(sys.executable, program, weights, stdin=pipe, stdout=pipe)
    assert process.stdin is not None
    assert process.stdout is not None
    reader, writer = process.stdout, process.stdin

    async def ask(fields: Fields) -> int:
        writer.write(json.dumps(fields).encode() + b"\n")
        return int(await reader.readline())

    try:
        yield Way(ask, process.pid)
    finally:
        writer.close()
        await process.wait()


@asynccontextmanager
async def plugin_alone(weights: Path) -> AsyncIterator[Way]:
    """The plugin without the router. Its tree counts this process too: it reads the worker's events."""
    options = MlxOptions(slots=SLOTS)
    placement = Placement(
        model="m", backend="mlx", source=weights.name, path=str(weights), context_tokens=2048, options=options
    )
    instance = await MlxBackend().load(placement, (), lambda _: None)

    async def ask(fields: Fields) -> int:
        request = GenerationRequest(
            id="bench",
            prompt=Chat(tuple(UserMessage(message["content"]) for message in fields["messages"])),
            stream=True,
            **{name: value for name, value in fields.items() if name != "messages"},
        )
        tokens = 0
        async for event in instance.generate(request):
            if isinstance(event, UsageReport):
                tokens = event.completion_tokens
        return tokens

    try:
        yield Way(ask, os.getpid())
    finally:
        await instance.unload()


async def run(name: str, weights: Path, tokens: int, rounds: int) -> None:
    """Measure all cases with the weights in *weights*, and print their tables."""
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        served = Served(CONFIG.format(folder=weights, slots=SLOTS), folder)
        stack.callback(served.close)
        served.wait_ready()
        server = stack.enter_context(mlx_server(folder, weights))
        ways = {
            SERVER: server,
            PLUGIN: await stack.enter_async_context(plugin_alone(weights)),
            SERVE: over_http(served.address, "m", served.pid),
        }
        alone = await stack.enter_async_context(mlx_alone(weights))
        greedy: Fields = {"temperature": 0.0}
        sampled: Fields = {"temperature": 0.8}
        for case, compared, base, bar in (
            (Case(f"{name}: greedy", 8, tokens, greedy), ways, SERVER, 1.0),
            (Case(f"{name}: sampled", 8, tokens, sampled), ways, SERVER, 1.0),
            (Case(f"{name}: sampled with seeds", 8, tokens, sampled, is_seeded=True), ways, SERVER, 2.0),
            (Case(f"{name}: one stream", 1, tokens * 4, greedy), {ALONE: alone, **ways}, ALONE, 0.95),
        ):
            before = busy_before()
            found = await measure(compared, case, rounds)
            print(f"\n{table(case, found, base)}\n")
            print(before, *(is_met(found, way, base, bar) for way in (PLUGIN, SERVE)), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--weights", choices=("tiny", "larger", "both"), default="both")
    chosen = parser.parse_args()
    if chosen.weights != "larger":
        asyncio.run(run("tiny model", tiny_hf(), 64, chosen.rounds))
    if chosen.weights != "tiny":
        with tempfile.TemporaryDirectory() as folder:
            asyncio.run(run("larger model", larger_hf(Path(folder)), 48, chosen.rounds))


if __name__ == "__main__":
    main()
