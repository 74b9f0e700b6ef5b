"""`enginehouse serve` as a user starts it: a process with a configuration file, its address and its log."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import psutil

MODEL = "smollm2-135m"
SLASHED = "team/assistant/small"
"""A second name of the same weights, loaded when somebody asks."""

EMBEDDED = f"""
[server]
port = 0

[usage]
path = "usage.db"

[models."{MODEL}"]
context_tokens = 2048
reproducible = true
description = "small and quick"

[[models."{MODEL}".placements]]
backend = "llamacpp"
source = "demo:smollm2-135m"

[models."{SLASHED}"]
load = "first_request"
reproducible = true
placements = [{{ backend = "llamacpp", source = "demo:smollm2-135m" }}]
"""

LAZY = f"""
[server]
port = 0

[models."{MODEL}"]
load = "first_request"
placements = [{{ backend = "llamacpp", source = "demo:smollm2-135m" }}]
"""
"""For tests that need no model, or want to see it load."""

MOST_BLOCKED_MS = 50
_PACE_ROUNDS, _PACE_ITEMS, _PACE_ROUND_S = 20, 20_000, 0.003
"""Rounds of a fixed piece of work, and what one takes of a processor of 3 GHz that has nothing else to do."""
_BACKLOG = 0.1
"""What has come in while the loop waited for a processor is done at a stretch: at most so much of that time."""
_START_S = 120.0
_END_S = 60.0
LogLine = dict[str, Any]  # what a line of the log holds depends on its event


def locked(key: str, config: str = LAZY) -> str:
    """*config* with one key."""
    return f'{config}\n[[keys]]\nname = "tests"\nsha256 = "{hashlib.sha256(key.encode()).hexdigest()}"\n'


class LoopBlocked(AssertionError):
    """The router's watchdog saw its event loop blocked; the message says by what."""


def pace() -> float:
    """How many times as long as on a quiet machine the same work takes now, at its slowest; never less than 1.

    Processor time grows too: with a neighbour on the same core, and where a virtual machine is kept waiting unseen.
    """
    return max(1.0, max(_round_s() for _ in range(_PACE_ROUNDS)) / _PACE_ROUND_S)


def _round_s() -> float:
    began_s = time.thread_time()
    texts: dict[int, str] = {}
    for number in range(_PACE_ITEMS):
        texts[number % 97] = str(number)
    return time.thread_time() - began_s


class Served:
    """A running server. `log` grows while it runs; each item is a line, parsed.

    Its event loop must not compute for longer than *most_blocked_ms* at a stretch: `close` fails where it did. They are
    milliseconds of a quiet machine; on a slower one the same work may take as much longer as any work does there, at
    the moment when the block is told of.
    """

    def __init__(self, config: str, folder: Path, *options: str, most_blocked_ms: int = MOST_BLOCKED_MS) -> None:
        self.folder = folder
        self._most_blocked_ms = most_blocked_ms
        self.config_file = folder / "enginehouse.toml"
        self.config_file.write_text(config)
        self.log: list[LogLine] = []
        self._raw: list[str] = []
        self._blocks: list[LogLine] = []
        self._has_grown = threading.Condition()
        self._is_read_whole = False
        self._process = subprocess.Popen(
            [
                *(str(Path(sys.executable).with_name("enginehouse")), "serve", "--config", str(self.config_file)),
                *("--log-format", "json", *options),
            ],
            cwd=folder,
            env={
                **{name: value for name, value in os.environ.items() if not name.startswith("ENGINEHOUSE_")},
                "ENGINEHOUSE_BLOCKED_LOOP_MS": str(most_blocked_ms),
            },
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
        )
        self._reader = threading.Thread(target=self._read_log)
        self._reader.start()
        try:
            self.url: str = self.wait_for_log("listening", timeout_s=_START_S)["url"].removesuffix("/v1")
        except BaseException:
            self.close()
            raise
        parsed = httpx.URL(self.url)
        self.address = (parsed.host, parsed.port or 0)

    @property
    def pid(self) -> int:
        """The router's own process."""
        return self._process.pid

    def wait_ready(self, timeout_s: float = _START_S) -> Served:
        """Wait until every model that loads at the start has loaded; where that fails, end what is left."""
        ends_at = time.monotonic() + timeout_s
        try:
            with httpx.Client(verify=False, trust_env=False, timeout=60.0) as client:
                while not self._is_ready(client):
                    assert time.monotonic() < ends_at, self.text()
                    time.sleep(0.05)
        except BaseException:
            self.close()
            raise
        return self

    def _is_ready(self, client: httpx.Client) -> bool:
        try:
            return client.get(f"{self.url}/ready").status_code == 200
        except httpx.TransportError as error:
            raise AssertionError(self.text()) from error

    def wait_for_log(
        self, event: str, matches: Callable[[LogLine], bool] = lambda _: True, *, timeout_s: float = 30.0
    ) -> LogLine:
        """The first line of *event* that *matches*; waits for it."""
        found: list[LogLine] = []

        def is_there() -> bool:
            found[:] = [line for line in self.log if line.get("event") == event and matches(line)]
            return bool(found) or self._is_read_whole

        with self._has_grown:
            self._has_grown.wait_for(is_there, timeout_s)
        assert found, f"no line '{event}':\n{self.text()}"
        return found[0]

    def text(self) -> str:
        """The whole log as it was written."""
        return "".join(self._raw)

    def descendants(self) -> list[psutil.Process]:
        """Processes below the router: guardians and engines."""
        return psutil.Process(self.pid).children(recursive=True)

    def signal(self, number: int) -> None:
        """Send a signal to the router."""
        self._process.send_signal(number)

    def wait(self, timeout_s: float = _END_S) -> int:
        """Wait for the router's end; returns its exit code."""
        code = self._process.wait(timeout_s)
        self._reader.join()
        return code

    def end(self) -> int:
        """Ask the router to end (SIGTERM) and wait for it; returns its exit code."""
        if self._process.poll() is None:
            self._process.terminate()
        return self.wait()

    def close(self) -> None:
        """End what is left, however it must be."""
        below = self.descendants() if self._process.poll() is None else []
        try:
            if self._process.poll() is None:
                self._process.terminate()
                self._process.wait(_END_S)
        finally:
            for process in below:
                if process.is_running():
                    process.kill()
            self._process.kill()
            self._process.wait()
            self._reader.join()
            assert self._process.stderr is not None
            self._process.stderr.close()
        if self._blocks:
            raise LoopBlocked(f"the event loop was blocked, for more than {self._most_blocked_ms} ms: {self._blocks}")

    def _read_log(self) -> None:
        assert self._process.stderr is not None
        for text in self._process.stderr:
            line: LogLine = json.loads(text) if text.startswith("{") else {}
            with self._has_grown:
                self._raw.append(text)
                if line:
                    self.log.append(line)
                self._has_grown.notify_all()
            if line.get("event") == "event loop blocked" and line["computed_s"] * 1000 > self._most_ms(line):
                self._blocks.append(line)
        with self._has_grown:
            self._is_read_whole = True
            self._has_grown.notify_all()

    def _most_ms(self, line: LogLine) -> float:
        """How long the loop might compute at a stretch when *line* told of it, which is now."""
        waited_s: float = max(0.0, line["late_s"] - line["computed_s"])
        return self._most_blocked_ms * pace() + _BACKLOG * waited_s * 1000
