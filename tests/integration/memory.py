"""Three real models, a budget for two of them, and random requests: what memory, waits and swaps come to.

    python -m tests.integration.memory 500

One model of llama.cpp beside a larger one, and one of MLX. The resident memory of all engines' processes is sampled
ten times a second. Prints what was found, and ends with 1 if something was not as it must be.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import httpx
import msgspec
import psutil
from tests.integration.served import LoopBlocked, Served

from tests.weights import tiny_gguf, tiny_hf

MIB: Final = 1 << 20
LIMIT_MIB: Final = 700
TURN_S: Final = 4.0
SWAPS_PER_MINUTE: Final = 20.0
_CLIENTS: Final = 16
_SAMPLE_S: Final = 0.1
_FEW: Final = 100


class Found(msgspec.Struct, kw_only=True):
    """What came of it; times in seconds, memory in MiB."""

    requests: int = 0
    answered: int = 0
    problems: list[str] = []
    took_s: float = 0.0
    loads: int = 0
    wakes: int = 0
    longest_wake_s: float = 0.0
    swaps: int = 0
    kept_alive_ended: int = 0
    most_swaps_in_a_minute: int = 0
    longest_wait_s: float = 0.0
    median_wait_s: float = 0.0
    longest_load_s: float = 0.0
    longest_answer_s: float = 0.0
    peak_mib: float = 0.0
    most_reserved_at_once: int = 0
    samples: int = 0
    longest_block_s: float = 0.0

    @property
    def most_wait_s(self) -> float:
        """The bound of a wait: both other models go before, each with a load, its turn and its longest answer, and a
        pause between the swaps; then it loads itself.
        """
        ahead = TURN_S + self.longest_answer_s + 60.0 / SWAPS_PER_MINUTE + self.longest_load_s
        return 2 * ahead + self.longest_load_s

    def judge(self) -> list[str]:
        """What is not as it must be. Among a few requests there may be no contest, where loads take long."""
        wrong = list(self.problems)
        if self.answered != self.requests:
            wrong.append(f"{self.requests - self.answered} requests were not answered")
        if self.peak_mib > LIMIT_MIB:
            wrong.append(f"{self.peak_mib:.0f} MiB were resident, more than {LIMIT_MIB}")
        if self.most_swaps_in_a_minute > SWAPS_PER_MINUTE + 1:
            wrong.append(f"{self.most_swaps_in_a_minute} swaps in a minute")
        if self.longest_wait_s > self.most_wait_s:
            wrong.append(f"a request waited {self.longest_wait_s:.1f} s, longer than {self.most_wait_s:.1f} s")
        if self.requests > _FEW and (not self.swaps or self.most_reserved_at_once < 2):
            wrong.append("there was no contest for memory")
        return wrong


def configuration() -> str:
    """Three models that take about 110, 240 and 440 MiB by their backends' estimates."""
    common = "load = 'first_request'\nkeep_alive_s = 3\nload_timeout_s = 240\nmax_queue = 256\nqueue_timeout_s = 120"
    return f"""
[server]
port = 0
first_token_timeout_s = 280

[budget]
limits = {{ cpu = "{LIMIT_MIB}MiB" }}
turn_s = {TURN_S}
swaps_per_minute = {SWAPS_PER_MINUTE}

[models.small]
context_tokens = 512
{common}
placements = [{{ backend = "llamacpp", source = "{tiny_gguf()}", options = {{ slots = 2 }} }}]

[models.middle]
context_tokens = 1024
{common}
placements = [{{ backend = "llamacpp", source = "demo:smollm2-135m", options = {{ slots = 2 }} }}]

[models.large]
context_tokens = 512
{common}
placements = [{{ backend = "mlx", source = "{tiny_hf()}" }}]
"""


def resident_bytes(served: Served) -> int:
    """What all engines' processes hold now, without the guardians that watch over them."""
    total = 0
    for process in served.descendants():
        with contextlib.suppress(psutil.Error):
            if not any("guardian" in part for part in process.cmdline()):
                total += process.memory_info().rss
    return total


async def ask(client: httpx.AsyncClient, rng: random.Random, found: Found) -> None:
    """Have one request answered, streamed or not."""
    model, stream = rng.choice(("small", "middle", "large")), rng.random() < 0.5
    found.requests += 1
    body = {
        "model": model, "stream": stream, "max_tokens": rng.randint(4, 24),
        "messages": [{"role": "user", "content": f"Say {rng.random()}"}],
    }  # fmt: skip
    try:
        answer = await client.post("/v1/chat/completions", json=body)
    except httpx.HTTPError as error:
        found.problems.append(f"{model}: {type(error).__name__}: {error}")
        return
    if answer.status_code != 200:
        found.problems.append(f"{model}: {answer.status_code}: {answer.text[:300]}")
        return
    is_whole = answer.text.endswith("data: [DONE]\n\n") and '"error"' not in answer.text if stream else True
    if not is_whole or '"finish_reason":' not in answer.text:
        found.problems.append(f"{model}: not whole: {answer.text[-300:]}")
        return
    found.answered += 1


async def run(served: Served, n_requests: int, seed: int = 7) -> Found:
    """Ask *n_requests* random requests, and return what was found."""
    rng, found, began = random.Random(seed), Found(problems=[]), time.monotonic()
    left = iter(range(n_requests))
    is_over = asyncio.Event()

    async def watch() -> None:
        while not is_over.is_set():
            found.peak_mib = max(found.peak_mib, await asyncio.to_thread(resident_bytes, served) / MIB)
            found.samples += 1
            await asyncio.sleep(_SAMPLE_S)

    async def work(client: httpx.AsyncClient, mine: random.Random) -> None:
        for _ in left:
            await ask(client, mine, found)
            if mine.random() < 0.1:  # now and then long enough for what is idle to be unloaded
                await asyncio.sleep(mine.uniform(0, 4))

    watching = asyncio.create_task(watch())
    async with httpx.AsyncClient(base_url=served.url, timeout=600.0, trust_env=False) as client:
        await asyncio.gather(*(work(client, random.Random(rng.random())) for _ in range(_CLIENTS)))
    is_over.set()
    await watching
    found.took_s = time.monotonic() - began
    _read(served, found)
    return found


def _read(served: Served, found: Found) -> None:
    """Take from the log what it tells of loads, swaps and waits."""
    swaps: dict[str, float] = {}
    waits: list[float] = []
    ready: set[str] = set()
    for at, line in _timed(served):
        event, instance = line.get("event"), str(line.get("instance"))
        if event == "instance ready" and str(line.get("reason")).startswith(("loaded in", "woken in")):
            if is_woken := str(line["reason"]).startswith("woken"):
                found.wakes += 1
                found.longest_wake_s = max(found.longest_wake_s, float(str(line["reason"]).split()[2]))
            found.loads += not is_woken
            found.longest_load_s = max(found.longest_load_s, float(str(line["reason"]).split()[2]))
            ready.add(instance)
            found.most_reserved_at_once = max(found.most_reserved_at_once, len(ready))
        elif event in ("instance unloaded", "instance asleep"):
            ready.discard(instance)
            found.kept_alive_ended += str(line.get("reason")).startswith("unused for")
        elif event == "instance gives way":
            swaps[f"{line['to']} {at:.2f}"] = at  # several may give way for one
        elif event == "event loop blocked":
            found.longest_block_s = max(found.longest_block_s, line["computed_s"])
        elif event == "request":
            waits.append(line["queue_s"])
            found.longest_answer_s = max(found.longest_answer_s, line["duration_s"] - line["queue_s"])
    times = sorted(swaps.values())
    found.swaps = len(times)
    found.most_swaps_in_a_minute = max((sum(0 <= other - at < 60 for other in times) for at in times), default=0)
    if waits:
        found.longest_wait_s, found.median_wait_s = max(waits), sorted(waits)[len(waits) // 2]


def _timed(served: Served) -> Iterator[tuple[float, dict[str, Any]]]:
    for line in served.log:
        stamp = line.get("timestamp") or line.get("time")
        yield (datetime.fromisoformat(str(stamp).replace("Z", "+00:00")).timestamp() if stamp else 0.0), line


def main() -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("requests", type=int, nargs="?", default=500)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        served = Served(configuration(), Path(folder))
        try:
            found = asyncio.run(run(served, asked.requests))
        finally:
            with contextlib.suppress(LoopBlocked):  # told as a figure: with three engines the processors are busy
                served.close()
    wrong = found.judge()
    print(json.dumps(msgspec.to_builtins(found) | {"most_wait_s": found.most_wait_s, "wrong": wrong}, indent=2))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
