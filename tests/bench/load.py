"""Load from wrk, and processor time and memory of the process tree under load."""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

KEY = "sk-bench"
MESSAGES = [
    {"role": "system", "content": "You are a helpful assistant."},
    {"role": "user", "content": "What is the capital of France?"},
]
BODY = {"model": "m", "messages": MESSAGES, "temperature": 0.7, "max_tokens": 256}


def write_script(folder: Path, *, stream: bool, body: dict[str, Any] = BODY, name: str = "") -> Path:
    """Write the wrk script that posts a request: a chat's, or *body* for the endpoint *name*."""
    body = body | ({"stream": True} if stream else {})
    body_json = json.dumps(body, separators=(",", ":"))
    path = folder / (f"{name}stream.lua" if stream else f"{name}plain.lua")
    path.write_text(
        'wrk.method="POST"\n'
        'wrk.headers["Content-Type"]="application/json"\n'
        f'wrk.headers["Authorization"]="Bearer {KEY}"\n'
        f"wrk.body=[[{body_json}]]\n"
    )
    return path


@dataclass
class Sample:
    """One run: requests answered, processor seconds of the tree, latency in milliseconds, resident MiB."""

    requests: int
    processor_s: float
    p50_ms: float
    p99_ms: float
    resident_mib: float

    @property
    def processor_us_per_request(self) -> float:
        return self.processor_s * 1e6 / self.requests


def tree(pid: int) -> list[psutil.Process]:
    root = psutil.Process(pid)
    return [root, *root.children(recursive=True)]


def processor_s(pid: int) -> float:
    return sum(_clock_s(process) for process in tree(pid))


def _clock_s(process: psutil.Process) -> float:
    """Processor time of *process*, of threads that have ended, too."""
    if sys.platform == "linux":  # by its clock, in nanoseconds: what is told of it elsewhere is rounded to 10 ms
        return time.clock_gettime((~process.pid << 3) | 2)
    return sum(process.cpu_times()[:2])


def waited_s(pid: int) -> float:
    """Seconds that threads of the process and its children were ready to run and had no processor, on Linux; else 0."""
    if sys.platform != "linux":
        return 0.0
    nanoseconds = 0
    for path in (path for process in tree(pid) for path in Path(f"/proc/{process.pid}/task").glob("*/schedstat")):
        with contextlib.suppress(OSError):  # a thread that ends meanwhile
            nanoseconds += int(path.read_text().split()[1])
    return nanoseconds / 1e9


def resident_mib(pid: int) -> float:
    return sum(process.memory_info().rss for process in tree(pid)) / 2**20


_UNIT_MS = {"us": 1e-3, "ms": 1.0, "s": 1e3, "m": 6e4}


def _ms(text: str) -> float:
    found = re.fullmatch(r"([\d.]+)(us|ms|s|m)", text)
    if found is None:
        raise ValueError(f"not a latency: {text}")
    return float(found[1]) * _UNIT_MS[found[2]]


def run_wrk(
    port: int, pid: int, script: Path, *, connections: int, duration_s: int, path: str = "/v1/chat/completions"
) -> Sample:
    """Load *path* of the listener on *port* and measure the tree of *pid* meanwhile."""
    before = processor_s(pid)
    output = subprocess.run(
        ["wrk", "-t1", f"-c{connections}", f"-d{duration_s}s", "--latency", "-s", str(script),
         f"http://127.0.0.1:{port}{path}"],
        check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    spent = processor_s(pid) - before
    if "Non-2xx" in output or "Socket errors" in output:
        raise RuntimeError(f"wrk saw failures:\n{output}")
    found = re.search(r"(\d+) requests in", output)
    p50, p99 = (re.search(rf"^\s+{share}%\s+(\S+)\s*$", output, re.MULTILINE) for share in (50, 99))
    if found is None or p50 is None or p99 is None:
        raise RuntimeError(f"cannot read wrk's output:\n{output}")
    return Sample(int(found[1]), spent, _ms(p50[1]), _ms(p99[1]), resident_mib(pid))
