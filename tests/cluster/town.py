"""A router on the last node of a network, asked from outside, and what its engines have written."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tests.cluster.network import Node
from tests.docs.fenced import blocks
from tests.programs import end
from tests.siege.client import Answer, Client

from enginehouse.accounts import hash_secret

KEY = "eh-a-key-of-the-cluster"
PORT = 8000
SERVER = f'[server]\nhost = "0.0.0.0"\n[[keys]]\nname = "town"\nadmin = true\nsha256 = "{hash_secret(KEY)}"\n'
ACCOUNTS = '[accounts]\nurl = "sqlite:///accounts.db"\n'


def page(name: str) -> str:
    """A configuration of the page on growing."""
    (block,) = [block for block in blocks("docs/growing.md") if block.value == name]
    return block.text


TWO_LINES = page("cluster")


def model_of(name: str, backend: str, source: Path, *, replicas: int = 2, more: str = "") -> str:
    """A model called *name*, with *more* lines of its own."""
    return (
        f"[models.{name}]\nreplicas = {replicas}\ncontext_tokens = 1024\n{more}[[models.{name}.placements]]\n"
        f'backend = "{backend}"\nsource = {json.dumps(str(source))}\n'
    )


class Router:
    """`enginehouse serve` on *node*, with the file *house*."""

    def __init__(self, node: Node, house: str) -> None:
        self.node = node
        self.file = node.folder / "house.toml"
        self.file.write_text(house)
        self.log_file = node.folder / "router.log"
        self.address = (node.address, PORT)
        self._process: subprocess.Popen[bytes] | None = None

    @contextlib.contextmanager
    def running(self) -> Iterator[Router]:
        """Serve for as long as the block lasts."""
        program = str(Path(sys.executable).with_name("enginehouse"))
        with self.log_file.open("ab") as log:
            self._process = subprocess.Popen(
                [*self.node.under, program, "serve", "--config", str(self.file), "--log-format", "json"],
                env=self.node.environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip
        try:
            yield self
        finally:
            end(self._process, patience_s=60)

    def client(self, timeout_s: float = 120.0) -> Client:
        """A client of it."""
        return Client(self.address, timeout_s=timeout_s, key=KEY)

    @property
    def is_there(self) -> bool:
        """Whether its process runs."""
        return self._process is not None and self._process.poll() is None

    async def kill(self) -> None:
        """End it without a word."""
        assert self._process is not None
        self._process.kill()
        await asyncio.to_thread(self._process.wait)

    async def instances(self) -> dict[str, dict[str, Any]]:
        """Its instances by their ids; none where it does not answer."""
        try:
            async with self.client(10.0) as client:
                return {one["id"]: one for one in (await client.get("/admin/instances")).json()["instances"]}
        except (OSError, TimeoutError, ValueError, KeyError):
            return {}

    async def ready(self) -> int:
        """How many instances are ready."""
        return sum(one["state"] == "ready" for one in (await self.instances()).values())

    async def lacks(self) -> bool:
        """Whether an instance is not ready."""
        return any(one["state"] != "ready" for one in (await self.instances()).values())

    async def knows(self, node: Node) -> bool:
        """Whether *node* has devices that it places on."""
        async with self.client(10.0) as client:
            told = (await client.get("/hosts/snapshot")).json()
        return any(device["id"].startswith(f"{node.name}/") for device in told["devices"])

    async def until_ready(self, count: int, timeout_s: float = 400.0) -> float:
        """Wait until *count* instances are ready; returns after how many seconds."""
        loop = asyncio.get_running_loop()
        began_at = loop.time()
        while True:
            states = Counter(one["state"] for one in (await self.instances()).values())
            if states["ready"] >= count:
                return loop.time() - began_at
            assert loop.time() - began_at < timeout_s, (states, self.log()[-4000:])
            await asyncio.sleep(0.25)

    async def nodes_of(self, model: str) -> dict[str, str]:
        """The node of each instance of *model* that is ready."""
        return {
            key: one["devices"][0].partition("/")[0]
            for key, one in (await self.instances()).items()
            if one["model"] == model and one["state"] == "ready"
        }

    def usage(self) -> dict[str, tuple[int, int]]:
        """Requests and completion tokens of each model, by its ledger."""
        rows = json.loads(self.node.cli("usage", "--config", str(self.file), "--by", "model", "--json").stdout)
        return {row["model"]: (row["requests"], row["completion_tokens"]) for row in rows}

    def log(self) -> str:
        """What it has written."""
        return self.log_file.read_text("utf-8", "replace")

    def bridge(self) -> int:
        """The process of its bridge."""
        return self._one("enginehouse.cluster.bridge")

    def _one(self, word: str) -> int:
        (found,) = [pid for pid in self.node.pids() if word in words_of(pid)]
        return found


def words_of(pid: int) -> list[str]:
    """The command line of the process *pid*."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")
    except OSError:
        return []


def engines_of(node: Node) -> list[int]:
    """The processes of the engines' servers on *node*."""
    return [pid for pid in node.pids() if words_of(pid)[-3:-1] == ["cluster", "engine"]]


def kill_engines(node: Node) -> int:
    """End the engines on *node* without a word; returns how many there were."""
    engines = engines_of(node)
    for pid in engines:
        os.kill(pid, signal.SIGKILL)
    return len(engines)


def told_by_engines(nodes: Sequence[Node]) -> Counter[str]:
    """Completion tokens of each model, as engines have written of requests."""
    counted: Counter[str] = Counter()
    for row in engine_requests(nodes):
        counted[row["model"]] += row["completion_tokens"]
    return counted


def engine_requests(nodes: Sequence[Node]) -> Iterator[dict[str, Any]]:
    """What engines have written of each request in the logs that Ray keeps of them."""
    for node in nodes:
        for file in (node.folder / "r").glob("session_2*/logs/worker-*.err"):
            for line in file.read_text("utf-8", "replace").splitlines():
                if '"event":"request"' in line:
                    yield json.loads(line)


def asking(model: str, number: int, tokens: int = 16) -> dict[str, Any]:
    """A streamed chat request that tells its usage."""
    return {
        "model": model, "stream": True, "max_tokens": tokens, "stream_options": {"include_usage": True},
        "messages": [{"role": "user", "content": f"Say something, number {number}."}],
    }  # fmt: skip


def verdict(answer: Answer) -> str:
    """How a streamed request ended: whole, an error event after it had begun, refused, or cut."""
    if answer.status != 200:
        return f"refused: {answer.error_code}" if answer.status else "no answer"
    events = answer.events()
    if events and events[-1] == "[DONE]":
        return "whole"
    if events and "error" in events[-1]:
        has_begun = any('"content":"' in event and '"content":""' not in event for event in events)
        return "ended after it had begun" if has_begun else f"lost: {json.loads(events[-1])['error']['code']}"
    return "cut"


def tokens_of(answer: Answer) -> int:
    """The completion tokens that a whole answer tells."""
    for event in reversed(answer.events()):
        if event != "[DONE]" and (usage := json.loads(event).get("usage")):
            return int(usage["completion_tokens"])
    return 0
