"""`python -m tests.identity.exchange`: engines in float32 behind one model ID, one of them exchanged while it serves.

Each engine stands behind a server of its own, which is an upstream of one router with `equivalence = "weights"`. A
client asks all the while. Then another server comes to the address of the second: llama.cpp with Q4_0. Printed is how
long it takes until that is set aside, by how many probes, and what became of the client's requests.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import httpx
from tests.integration.served import LoopBlocked, Served

from tests.weights import smollm2_gguf_f32, smollm2_hf

from .variants import FOLDER
from .weights import changed

_TIMEOUT_S = 400.0
_SERVER = """
[server]
port = {port}
[models.m]
context_tokens = 1024
[[models.m.placements]]
backend = "{backend}"
source = "{source}"
{more}
"""
_HOUSE = """
[server]
port = 0
[watch]
interval_s = {interval_s}
[models.m]
equivalence = "weights"
prefer = "least_loaded"
context_tokens = 1024
"""
_PLACEMENT = """
[[models.m.placements]]
backend = "upstream"
source = "{url}/v1"
options = {{ health_interval_s = 0 }}
"""


class Client:
    """Asks the model at *url* twice a second, with pauses in which probes may go; counts who answered, and failures."""

    def __init__(self, url: str) -> None:
        self.answered: Counter[str] = Counter()
        self.failed: list[str] = []
        self._url = url
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._ask)
        self._thread.start()

    def _ask(self) -> None:
        body = {"model": "m", "messages": [{"role": "user", "content": "Name a colour."}], "max_tokens": 2}
        with httpx.Client(timeout=_TIMEOUT_S, trust_env=False) as client:
            while not self._is_over.wait(0.5):
                answer = client.post(f"{self._url}/v1/chat/completions", json=body)
                if answer.status_code == 200:
                    self.answered[answer.headers["x-enginehouse-instance"]] += 1
                else:
                    self.failed.append(answer.text)

    def end(self) -> None:
        self._is_over.set()
        self._thread.join()


def main() -> int:
    """Serve, exchange, and print what was seen."""
    parser = argparse.ArgumentParser(prog="python -m tests.identity.exchange", description=__doc__)
    parser.add_argument("--interval-s", type=float, default=5.0, help="between two probes of an upstream")
    given = parser.parse_args()
    engines = {"llama.cpp": ("llamacpp", smollm2_gguf_f32()), "MLX": ("mlx", smollm2_hf())}
    if python := os.environ.get("ENGINEHOUSE_VLLM_PYTHON"):
        engines["vLLM"] = ("vllm", smollm2_hf())
    else:
        print("vLLM is left out: ENGINEHOUSE_VLLM_PYTHON names no Python", file=sys.stderr)
    with contextlib.ExitStack() as stack:
        servers = []
        for name, (backend, source) in engines.items():
            print(f"{name} …", file=sys.stderr, flush=True)
            more = f'python = "{python}"\noptions = {{ cache_gib = 1 }}' if backend == "vllm" else ""
            servers.append(
                stack.enter_context(_serving(_SERVER.format(port=0, backend=backend, source=source, more=more)))
            )
        placements = "".join(_PLACEMENT.format(url=server.url) for server in servers)
        house = stack.enter_context(_serving(_HOUSE.format(interval_s=given.interval_s) + placements))
        for at in range(len(servers)):
            house.wait_for_log(
                "instance is watched", lambda line, at=at: line["instance"] == f"m#{at}", timeout_s=_TIMEOUT_S
            )
        aside = [line["instance"] for line in house.log if line.get("event") == "instance set aside"]
        print(f"{len(servers)} engines are watched; set aside: {', '.join(aside) or 'none'}", flush=True)
        client = Client(house.url)
        stack.callback(client.end)
        time.sleep(5)
        port = servers[1].address[1]
        servers[1].end()
        other = changed("Q4_0", FOLDER)
        stack.enter_context(_serving(_SERVER.format(port=port, backend="llamacpp", source=other, more="")))
        began = time.monotonic()
        print("the second is Q4_0 now …", file=sys.stderr, flush=True)
        line = house.wait_for_log("instance set aside", lambda line: line["instance"] == "m#1", timeout_s=_TIMEOUT_S)
        took_s = time.monotonic() - began
        time.sleep(3)
        client.end()
        print(f"set aside after {took_s:.0f} s, with a probe each {given.interval_s:g} s: {line['reason']}")
        told = ", ".join(f"{instance} {number}" for instance, number in sorted(client.answered.items()))
        every = client.answered.total() + len(client.failed)
        print(f"{len(client.failed)} of {every} requests failed; answered by {told}")
    return 0


@contextlib.contextmanager
def _serving(config: str) -> Iterator[Served]:
    with tempfile.TemporaryDirectory() as folder:
        served = Served(config, Path(folder))
        try:
            yield served.wait_ready(_TIMEOUT_S)
        finally:
            with contextlib.suppress(LoopBlocked):  # what is measured is answers, on whatever machine
                served.close()


if __name__ == "__main__":
    sys.exit(main())
