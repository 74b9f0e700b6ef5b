"""The router's side of the bridge: starts it again whenever it ends, and knows the nodes as it told of them last."""

from __future__ import annotations

import asyncio
import itertools
import secrets
import socket
import sys
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

from enginehouse import __version__
from enginehouse.config import ClusterConfig
from enginehouse.telemetry import get_logger
from enginehouse_plugin import Device
from enginehouse_plugin.errors import LoadFailed

from .messages import (
    Answer,
    Asked,
    EngineTold,
    Failed,
    Fit,
    Keep,
    Nodes,
    NodeSeen,
    Spec,
    Start,
    Stop,
    decode_told,
    encode,
)
from .node import environment, running, token_file

_LEAST_S: Final = 1.0
_MOST_S: Final = 30.0
_STEADY_S: Final = 60.0
_LIMIT: Final = 16 << 20
_STOP_S: Final = 30.0
_GONE: Final = "the cluster cannot be asked: "

log = get_logger()


class Ended(msgspec.Struct, frozen=True):
    """How an engine on a node has ended."""

    reason: str
    last_words: tuple[str, ...] = ()


class Link:
    """A bridge to the cluster of *config*; *on_nodes* hears whenever nodes have said something new."""

    def __init__(self, config: ClusterConfig, on_nodes: Callable[[], None]) -> None:
        self.nodes: dict[str, NodeSeen] = {}
        self.reason = "the cluster has not been asked yet"
        self._config = config
        self._on_nodes = on_nodes
        self._router = secrets.token_hex(8)
        self._numbers = itertools.count(1)
        self._asked: dict[int, asyncio.Future[Answer]] = {}
        self._engines: dict[tuple[str, str], asyncio.Future[Ended]] = {}
        self._writer: asyncio.StreamWriter | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def token(self) -> Path:
        """The file with the cluster's token."""
        here = running()
        return Path(self._config.token_file or (here.token_file if here is not None else token_file()))

    def start(self) -> None:
        """Begin to bridge."""
        self._task = asyncio.create_task(self._run(), name="cluster")

    async def close(self) -> None:
        """End the bridge; engines end when no other router wants them."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    # ---- for backends ----

    async def fit(self, node: str, spec: Spec) -> dict[str, int]:
        """The bytes that *spec* takes of each device of *node*.

        Raises:
            LoadFailed: it cannot be told, or the node is not there.
        """
        return (await self._ask(Fit(next(self._numbers), node, spec))).footprint

    async def run(self, node: str, spec: Spec) -> tuple[str, EngineTold]:
        """Have *node* run *spec*; returns its key there, and the engine, which takes requests.

        Raises:
            LoadFailed: it does not; cancelling leaves nothing behind.
        """
        key = next(key for number in itertools.count() if (node, key := spec.key(number)) not in self._engines)
        self._engines[node, key] = asyncio.get_running_loop().create_future()
        self._keep()
        try:
            answer = await self._ask(Start(next(self._numbers), node, key, spec))
            if answer.engine is None:
                raise LoadFailed(f"The node '{node}' has started nothing.")
        except BaseException:
            self.forget(node, key)
            raise
        return key, answer.engine

    def forget(self, node: str, key: str) -> None:
        """Want the engine *key* of *node* no more, without waiting for its end."""
        self._engines.pop((node, key), None)
        self._keep()
        self._send(Stop(next(self._numbers), node, key))

    async def stop(self, node: str, key: str) -> None:
        """End the engine *key* of *node*, unless another router wants it; returns when its memory is given back."""
        if self._engines.pop((node, key), None) is None:
            return
        self._keep()
        try:
            async with asyncio.timeout(_STOP_S):
                await self._ask(Stop(next(self._numbers), node, key))
        except (LoadFailed, TimeoutError) as error:
            log.warning("engine may still run on its node", node=node, reason=str(error))

    async def wait_ended(self, node: str, key: str) -> Ended:
        """Wait until the engine *key* of *node* has ended, or its node is gone."""
        return await asyncio.shield(self._engines[node, key])

    # ---- the bridge ----

    async def _run(self) -> None:
        delay_s = _LEAST_S
        loop = asyncio.get_running_loop()
        while True:
            began_at = loop.time()
            words = await self._bridge()
            self.reason = words[-1] if words else "its bridge has ended"
            if loop.time() - began_at > _STEADY_S:
                delay_s = _LEAST_S
            log.warning("bridge to the cluster ended", reason=self.reason, again_in_s=delay_s)
            await asyncio.sleep(delay_s)
            delay_s = min(_MOST_S, 2 * delay_s)

    async def _bridge(self) -> list[str]:
        """Run one bridge to its end; returns its last words."""
        here = running()
        head = self._config.address or (here.head if here is not None else "")
        if here is None:
            return ["this machine is no node of a cluster: `enginehouse cluster join` it, with --no-devices if need be"]
        ours, theirs = socket.socketpair()
        words: deque[str] = deque(maxlen=20)
        process: asyncio.subprocess.Process | None = None
        try:
            with theirs:
                process = await asyncio.create_subprocess_exec(
                    sys.executable, "-m", "enginehouse.cluster.bridge",
                    str(theirs.fileno()), head, here.address, self._router,
                    pass_fds=(theirs.fileno(),), env=environment(self.token), start_new_session=True,
                    stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE,
                )  # fmt: skip
            draining = asyncio.create_task(_drain(process, words))
            reader, self._writer = await asyncio.open_connection(sock=ours, limit=_LIMIT)
            self._keep()
            async for line in reader:
                self._hear(line, words)
            await draining
            return list(words)
        finally:
            if self._writer is not None:
                self._writer.close()
                self._writer = None
            if process is not None and process.returncode is None:
                process.kill()
                await process.wait()
            for future in self._asked.values():
                if not future.done():
                    future.set_exception(LoadFailed(f"{_GONE}its bridge has ended."))

    def _hear(self, line: bytes, words: deque[str]) -> None:
        match told := decode_told(line):
            case Nodes():
                self._settle({node.name: node for node in told.nodes})
            case Answer():
                future = self._asked.get(told.number)
                if future is not None and not future.done():
                    future.set_result(told)
            case Failed():
                words.append(told.reason)

    def _settle(self, nodes: dict[str, NodeSeen]) -> None:
        before, self.nodes = self.nodes, nodes
        for name in before.keys() | nodes.keys():
            was, now = before.get(name), nodes.get(name)
            if (was and was.state) != (now and now.state):
                write = log.info if now is not None and now.state == "up" else log.warning
                write(f"node {now.state if now is not None else 'gone'}", node=name, reason=now.reason if now else "")
        for (node, key), ended in self._engines.items():
            if not ended.done() and (how := self._end_of(before, node, key)) is not None:
                ended.set_result(how)
        self._on_nodes()

    def _end_of(self, before: dict[str, NodeSeen], node: str, key: str) -> Ended | None:
        """How the engine *key* of *node* has ended, if it has; what was not there *before* may be about to start."""
        seen = self.nodes.get(node)
        if seen is None:
            return Ended(f"the node '{node}' is gone") if node in before else None
        engine = seen.told.engines.get(key) if seen.told is not None else None
        if engine is not None:
            return Ended(engine.reason, engine.last_words) if engine.state == "ended" else None
        had = before[node].told if node in before else None
        if seen.told is not None and had is not None and key in had.engines:
            return Ended(f"the node '{node}' does not run it any more")
        return None

    async def _ask(self, asked: Fit | Start | Stop) -> Answer:
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._asked[asked.number] = future
        try:
            if not self._send(asked):
                raise LoadFailed(f"{_GONE}{self.reason}.")
            answer = await future
        finally:
            del self._asked[asked.number]
        if (problem := answer.problem) is not None:
            raise LoadFailed(
                problem.message, code=problem.code, retryable=problem.retryable, last_words=problem.last_words
            )
        return answer

    def _keep(self) -> None:
        wanted: dict[str, tuple[str, ...]] = {}
        for node, key in self._engines:
            wanted[node] = (*wanted.get(node, ()), key)
        self._send(Keep(wanted))

    def _send(self, asked: Asked) -> bool:
        if self._writer is None or self._writer.is_closing():
            return False
        self._writer.write(encode(asked) + b"\n")
        return True


async def _drain(process: asyncio.subprocess.Process, words: deque[str]) -> None:
    while process.stderr is not None:
        try:
            line = await process.stderr.readline()
        except ValueError:  # a line without an end
            continue
        if not line:
            return
        words.append(line.decode("utf-8", "replace").strip()[:1000])


def is_usable(node: NodeSeen) -> str | None:
    """Why nothing can be placed on *node*, or None."""
    if node.told is None or node.state == "away":
        return node.reason or "it has not answered yet"
    if node.told.enginehouse != __version__:
        return f"it has Enginehouse {node.told.enginehouse}, and this router {__version__}"
    return None


def device_on(node: str, device: Device) -> Device:
    """*device* of *node*, as it is called in plans."""
    return msgspec.structs.replace(device, id=f"{node}/{device.id}")
