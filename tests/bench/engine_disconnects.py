"""`python -m tests.bench.engine_disconnects`: what `tests.bench.disconnects` measures with llama.cpp, for MLX and vLLM.

How long after a client has left its tokens stop, and a request that needs every slot is answered; printed beside one
step of the engine (a step cannot be interrupted), as median and worst, in milliseconds. vLLM tells by its own metrics
whether it still works on a request. MLX has no socket: its worker is asked through the contract, without the router.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from itertools import pairwise
from pathlib import Path

import httpx
from tests.asking import request
from tests.integration.raw import Raw, wait_until
from tests.integration.served import Served

from enginehouse_mlx.backend import MlxBackend
from enginehouse_mlx.options import MlxOptions
from enginehouse_plugin import GenerationRequest, Placement
from enginehouse_plugin.backend import Inspectable
from enginehouse_vllm.server import read_load
from tests.weights import smollm2_hf

from .beside_mlx import CONFIG, SLOTS
from .beside_vllm import vllm_behind_router
from .disconnects import LEAVE, TARGET_MS, shown
from .larger import larger_hf

LONG = "All work and no play makes Jack a dull boy. " * 70
WITHIN_S = 0.3  # by then a request is being worked on, and far from its end
MAX_TOKENS = 600

Begin = Callable[[Raw, int], None]
IsBusy = Callable[[], bool]


def before_first_token(client: Raw, turn: int) -> None:
    """The engine computes a long prompt that it has not seen before."""
    client.ask(model="m", messages=[{"role": "user", "content": f"{turn}: {LONG}"}], stream=turn % 2 == 0)
    time.sleep(WITHIN_S)


def mid_stream(client: Raw, _: int) -> None:
    """Three chunks of a stream have come."""
    client.ask(model="m", stream=True, max_tokens=MAX_TOKENS)
    events = client.events()
    for _ in range(3):
        next(events)


def one_body(client: Raw, _: int) -> None:
    """The client waits for an answer without a stream."""
    client.ask(model="m", max_tokens=MAX_TOKENS)
    time.sleep(WITHIN_S)


CASES: tuple[tuple[str, Begin], ...] = (
    ("before the first token", before_first_token),
    ("in mid-stream", mid_stream),
    ("waiting for one body", one_body),
)


def probe_ms(served: Served) -> float:
    """Milliseconds until something that needs every slot is answered."""
    asked_at = time.perf_counter()
    with Raw(served.address) as client:
        client.ask(model="m", n=SLOTS, max_tokens=1)
        client.answer()
        if client.status != 200:
            sys.exit(f"The probe got {client.status}.")
    return (time.perf_counter() - asked_at) * 1000


def answered(served: Served, begin: Begin, times: int) -> list[float]:
    """Milliseconds from leaving until the probe is answered."""
    found = []
    for turn in range(times):
        with Raw(served.address) as client:
            begin(client, turn)
            LEAVE[turn % 3](client)
            found.append(probe_ms(served))
    return found


def stopped(served: Served, is_busy: IsBusy, begin: Begin, times: int) -> list[float]:
    """Milliseconds from leaving until the engine works on nothing."""
    found = []
    for turn in range(times, 2 * times):
        with Raw(served.address) as client:
            begin(client, turn)
            wait_until(is_busy, "the engine works")
            left_at = time.perf_counter()
            LEAVE[turn % 3](client)
            wait_until(lambda: not is_busy(), "the engine works on nothing")
            found.append((time.perf_counter() - left_at) * 1000)
    return found


def decode_steps(served: Served) -> list[float]:
    """Milliseconds between the tokens of one stream."""
    with Raw(served.address) as client:
        client.ask(model="m", stream=True, max_tokens=40)
        at = [time.perf_counter() for _ in client.events()][2:-2]
    return [(b - a) * 1000 for a, b in pairwise(at)]


def prompt_steps(served: Served, batch_tokens: int, times: int = 3) -> list[float]:
    """Milliseconds that a step of *batch_tokens* of a long prompt takes."""
    found = []
    for turn in range(times):
        with Raw(served.address) as client:
            began_at = time.perf_counter()
            client.ask(model="m", messages=[{"role": "user", "content": f"step {turn}: {LONG}"}], max_tokens=1)
            tokens = client.answer()["usage"]["prompt_tokens"]
        found.append((time.perf_counter() - began_at) * 1000 / max(tokens / batch_tokens, 1))
    return found


def report(engine: str, served: Served, batch_tokens: int, stops: Callable[[str], list[float]], times: int) -> None:
    """Run all cases, and print the table; *stops* measures when tokens stop in the case called so."""
    probe_ms(served)
    idle = [probe_ms(served) for _ in range(times)]
    prompt, decode = prompt_steps(served, batch_tokens), decode_steps(served)
    print(
        f"\n**{engine}**: the probe on an idle engine takes {shown(idle)} ms; load average {os.getloadavg()[0]:.1f}.\n"
    )
    print("| the client leaves | one engine step | tokens stop | the probe is answered |")
    print("|---|---|---|---|")
    for name, begin in CASES:
        step = prompt if begin == before_first_token else decode
        print(
            f"| {name} | {shown(step)} | {shown(stops(name))} | {shown(answered(served, begin, times))} |", flush=True
        )


def vllm(times: int) -> None:
    """vLLM with real weights."""
    with (
        vllm_behind_router(smollm2_hf(), SLOTS) as (served, socket),
        httpx.Client(transport=httpx.HTTPTransport(uds=socket), timeout=60) as engine,
    ):

        def is_busy() -> bool:
            load = read_load(engine.get("http://engine/metrics").text)
            return load.running + load.waiting > 0

        cases = dict(CASES)
        report("vLLM", served, 2048, lambda name: stopped(served, is_busy, cases[name], times), times)


def mlx(times: int) -> None:
    """MLX with the larger random weights."""
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as work:
        weights = larger_hf(Path(folder))
        measured = asyncio.run(mlx_alone(weights, times))
        served = Served(CONFIG.format(folder=weights, slots=SLOTS), Path(work))
        try:
            served.wait_ready()
            report("MLX", served, 128, lambda name: measured[name], times)
        finally:
            served.close()


async def mlx_alone(weights: Path, times: int) -> dict[str, list[float]]:
    """Milliseconds from leaving until the worker works on nothing, by case."""
    placement = Placement(
        model="m",
        backend="mlx",
        source="larger",
        path=str(weights),
        context_tokens=2048,
        options=MlxOptions(slots=SLOTS),
    )
    instance = await MlxBackend().load(placement, (), lambda _: None)
    assert isinstance(instance, Inspectable)
    is_busy = instance.active_requests

    async def left(asked: GenerationRequest, deltas: int) -> float:
        """Read that many events, or for a while, and leave as the router does."""
        events = instance.generate(asked)
        for _ in range(deltas):
            await anext(events)
        pending = asyncio.ensure_future(anext(events))
        if not deltas:
            await pending  # it has been started
            pending = asyncio.ensure_future(anext(events))
            await asyncio.sleep(WITHIN_S)
        left_at = time.perf_counter()
        pending.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await pending
        await events.aclose()
        while await is_busy():
            pass
        return (time.perf_counter() - left_at) * 1000

    try:
        prompts: Sequence[tuple[str, Callable[[int], Awaitable[float]]]] = (
            ("before the first token", lambda turn: left(request(f"{turn}: {LONG}", max_tokens=MAX_TOKENS), 0)),
            ("in mid-stream", lambda turn: left(request(max_tokens=MAX_TOKENS), 4)),
            ("waiting for one body", lambda turn: left(request(max_tokens=MAX_TOKENS, stream=False), 4)),
        )
        return {name: [await leave(turn) for turn in range(times)] for name, leave in prompts}
    finally:
        await instance.unload()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=20, help="per case")
    parser.add_argument("--engine", choices=("mlx", "vllm", "both"), default="both")
    chosen = parser.parse_args()
    print(f"Target: one step + {TARGET_MS} ms. Median / worst of {chosen.times}, in ms.")
    if chosen.engine != "vllm":
        mlx(chosen.times)
    if chosen.engine != "mlx":
        vllm(chosen.times)


if __name__ == "__main__":
    main()
