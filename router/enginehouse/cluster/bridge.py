"""Holds Ray's client, in a process of its own: what ends that does not end the router.

`python -m enginehouse.cluster.bridge FD HEAD ADDRESS ROUTER`: FD is a socket to the router, HEAD the cluster's, ADDRESS
that of this machine as a node. Ends with the router.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import socket
import sys
from typing import Any, Final

import msgspec

from enginehouse import __version__

from .agent import Agent
from .messages import (
    Answer,
    Asked,
    Failed,
    Fit,
    Keep,
    Nodes,
    NodeSeen,
    NodeTold,
    Problem,
    Start,
    Stop,
    Told,
    decode_asked,
    encode,
)
from .node import LABEL

_NODES_S: Final = 1.0
_MAKE_S: Final = 120.0
"""An actor may take so long to start, on a node that has much to do."""
_BEAT_S: Final = 10.0
_AWAY_AFTER: Final = 2
"""Beats without an answer."""
_NAMESPACE: Final = "enginehouse"
_LIMIT: Final = 16 << 20

_decode_node = msgspec.json.Decoder(NodeTold).decode
_decode_answer = msgspec.json.Decoder(Answer).decode


class _Node:
    """A node that the head knows, followed by a task."""

    def __init__(self, seen: NodeSeen, node_id: str) -> None:
        self.seen = seen
        self.node_id = node_id
        self.agent: Any = None  # Ray's handle of an actor
        self.task: asyncio.Task[None] | None = None


class Bridge:
    """Between the router called *router*, at the end of *writer*, and the nodes that *ray* knows."""

    def __init__(self, ray: Any, router: str, writer: asyncio.StreamWriter) -> None:  # Any: Ray's module
        self._ray = ray
        self._router = router
        self._writer = writer
        self._nodes: dict[str, _Node] = {}  # by Ray's ids
        self._wanted: dict[str, tuple[str, ...]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_settled = False
        self._remote = ray.remote(Agent)

    async def run(self, reader: asyncio.StreamReader) -> None:
        """Do what the router asks until it is gone."""
        watching = asyncio.create_task(self._watch())
        try:
            async for line in reader:
                self._hear(decode_asked(line))
        finally:
            watching.cancel()

    def _hear(self, asked: Asked) -> None:
        if isinstance(asked, Keep):
            self._wanted = asked.wanted
            return
        task = asyncio.create_task(self._do(asked))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _do(self, asked: Fit | Start | Stop) -> None:
        node = next((one for one in self._nodes.values() if one.seen.name == asked.node), None)
        if node is None or node.agent is None:
            problem = Problem(message=f"The node '{asked.node}' is not there.")
            self._send(Answer(asked.number, problem=problem))
            return
        try:
            match asked:
                case Fit():
                    told = await node.agent.fit.remote(asked.number, encode(asked.spec))
                case Start():
                    told = await node.agent.start.remote(asked.number, self._router, asked.key, encode(asked.spec))
                case Stop():
                    told = await node.agent.stop.remote(asked.number, self._router, asked.key)
            self._send(_decode_answer(told))
        except Exception as error:  # noqa: BLE001  # of Ray, of many kinds: the node or its agent has gone
            problem = Problem(message=f"The node '{asked.node}' was lost meanwhile: {type(error).__name__}.")
            self._send(Answer(asked.number, problem=problem))

    def _send(self, told: Told) -> None:
        self._writer.write(encode(told) + b"\n")

    def _tell(self) -> None:
        """Tell the router of the nodes that have said something, or do not answer; at first of all of them at once,
        so that not everything is placed on the one that was quickest.
        """
        if not self._is_settled and any(n.seen.told is None and n.seen.state == "up" for n in self._nodes.values()):
            return
        self._is_settled = True
        heard = [node.seen for node in self._nodes.values() if node.seen.told is not None or node.seen.state == "away"]
        self._send(Nodes(tuple(heard)))

    async def _watch(self) -> None:
        """Ask the head for nodes. While it is away nothing changes, and the nodes are asked all the same."""
        while True:
            rows = await asyncio.to_thread(self._alive)
            if rows is not None:
                self._settle(rows)
            await asyncio.sleep(_NODES_S)

    def _alive(self) -> dict[str, NodeSeen] | None:
        try:
            rows = self._ray.nodes()
        except Exception:  # noqa: BLE001  # the head is away
            return None
        found: dict[str, NodeSeen] = {}
        names: set[str] = set()
        for row in rows:
            labels = {key.removeprefix(LABEL): value for key, value in row["Labels"].items() if key.startswith(LABEL)}
            # Asked is only who has devices by its labels: what Ray cannot satisfy it leaves pending without a word.
            if not row["Alive"] or "name" not in labels or len(labels) == 1:
                continue
            name = labels["name"] if labels["name"] not in names else f"{labels['name']}-{row['NodeID'][:6]}"
            names.add(name)
            found[row["NodeID"]] = NodeSeen(name=name, address=row["NodeManagerAddress"], state="up")
        return found

    def _settle(self, rows: dict[str, NodeSeen]) -> None:
        gone = [node_id for node_id in self._nodes if node_id not in rows]
        for node_id in gone:
            node = self._nodes.pop(node_id)
            if node.task is not None:
                node.task.cancel()
        for node_id, seen in rows.items():
            if node_id not in self._nodes:
                node = self._nodes[node_id] = _Node(seen, node_id)
                node.task = asyncio.create_task(self._follow(node))
        if gone or not rows:
            self._tell()

    async def _follow(self, node: _Node) -> None:
        """Ask *node* how it is, for as long as the head knows of it."""
        version, misses = -1, 0
        while True:
            try:
                if node.agent is None:
                    async with asyncio.timeout(_MAKE_S):
                        node.agent = await asyncio.to_thread(self._make, node)
                    timeout_s = _MAKE_S  # it has to start
                else:
                    timeout_s = _BEAT_S
                wanted = list(self._wanted.get(node.seen.name, ()))
                async with asyncio.timeout(timeout_s):
                    version, told = await node.agent.beat.remote(self._router, wanted, version)
                misses = 0
                node.seen = msgspec.structs.replace(node.seen, state="up", reason="", told=_decode_node(told))
            except Exception as error:  # noqa: BLE001  # whatever is wrong with one node costs no other
                # Without its actor it is away at once: without a head the next call for one waits for minutes.
                misses += 1 if isinstance(error, TimeoutError) else _AWAY_AFTER
                if node.seen.told is None or misses >= _AWAY_AFTER:
                    reason = f"its agent does not answer ({type(error).__name__}: {str(error)[:300]})"
                    node.seen = msgspec.structs.replace(node.seen, state="away", reason=reason)
                if not isinstance(error, TimeoutError):
                    node.agent, version = None, -1
                    self._tell()
                    await asyncio.sleep(_NODES_S)
            self._tell()

    def _make(self, node: _Node) -> Any:
        affinity: Any = importlib.import_module("ray.util.scheduling_strategies")
        return self._remote.options(
            name=f"{__version__}-{node.node_id}",  # one for all routers of a version
            namespace=_NAMESPACE,
            lifetime="detached",
            get_if_exists=True,
            max_restarts=-1,
            max_concurrency=1000,
            num_cpus=0,
            scheduling_strategy=affinity.NodeAffinitySchedulingStrategy(node.node_id, soft=False),
        ).remote(node.seen.address)


async def _run(ray: Any, connection: socket.socket, router: str) -> None:
    reader, writer = await asyncio.open_connection(sock=connection, limit=_LIMIT)
    await Bridge(ray, router, writer).run(reader)


def main() -> None:
    """Connect, and do what the router asks."""
    fd, head, address, router = sys.argv[1:]
    connection = socket.socket(fileno=int(fd))
    ray: Any = importlib.import_module("ray")
    try:
        ray.init(
            address=head, namespace=_NAMESPACE, log_to_driver=False, logging_level="ERROR",
            **({"_node_ip_address": address} if address else {}),
        )  # fmt: skip
    except Exception as error:  # noqa: BLE001  # of many kinds, and the router is told
        reason = f"{type(error).__name__}: {str(error)[:1000]}"
        with contextlib.suppress(OSError):
            connection.sendall(encode(Failed(reason)) + b"\n")
        sys.exit(1)
    asyncio.run(_run(ray, connection, router))


if __name__ == "__main__":
    main()
