"""The head of a cluster, asked what the cluster is: in a process of its own, as Ray's client may end the one it is in.

`python -m enginehouse.cluster.asked HOST:PORT` prints the answer as JSON. It needs no node on this machine.
"""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import msgspec

from .node import LABEL, ClusterError, environment

_ASK_S: Final = 90.0
"""For the most part Ray's import, 5 s of a slow processor that may have much else to do."""


class AskedNode(msgspec.Struct, frozen=True, kw_only=True):
    """A node as the head knows it: `devices` are the numbers of each kind, as the node's labels say.

    `name` is empty where the node has not been started by Enginehouse.
    """

    name: str
    address: str
    is_alive: bool
    is_head: bool
    devices: dict[str, int]
    reason: str = ""


class ClusterAsked(msgspec.Struct, frozen=True, kw_only=True):
    """A cluster: the versions that all of it has, and its nodes."""

    ray: str
    python: str
    nodes: tuple[AskedNode, ...]


class _Failed(msgspec.Struct, frozen=True, tag=True):
    problem: str


class _Told(msgspec.Struct, frozen=True, tag=True):
    cluster: ClusterAsked


def ask(head: str, token: Path) -> ClusterAsked:
    """What the cluster is whose head is at *head*, asked with the token in the file *token*.

    Raises:
        ClusterError: no head answers there, or it refuses the token.
    """
    words = [sys.executable, "-m", "enginehouse.cluster.asked", head]
    try:
        done = subprocess.run(  # noqa: S603  # our own interpreter
            words, env=environment(token), stdin=subprocess.DEVNULL, capture_output=True, timeout=_ASK_S, check=False
        )
        told = msgspec.json.decode(done.stdout, type=_Failed | _Told)
    except (subprocess.TimeoutExpired, msgspec.DecodeError):
        raise ClusterError(f"No head of a cluster answers at {head}.") from None
    if isinstance(told, _Told):
        return told.cluster
    if told.problem == "AuthenticationError":
        raise ClusterError(f"The head at {head} refuses the token in {token}: copy that file from the head's machine.")
    raise ClusterError(f"No head of a cluster answers at {head} ({told.problem}).")


def main() -> None:
    """Ask, and print the answer."""
    # Private to Ray, and the only way that needs no node on this machine: why the extra names a range of versions.
    raylet: Any = importlib.import_module("ray._raylet")  # Any: Ray's types are not there
    private: Any = importlib.import_module("ray._private.state")
    head = sys.argv[1]
    try:
        told = raylet.GcsClient(address=head).internal_kv_get(b"CLUSTER_METADATA", namespace=b"cluster", timeout=10)
        state = private.GlobalState()
        state._initialize_global_state(
            raylet.GcsClientOptions.create(head, None, allow_cluster_id_nil=True, fetch_cluster_id_if_nil=False)
        )
        rows = state.node_table()
        versions = msgspec.json.decode(told)
    except Exception as error:  # noqa: BLE001  # of many kinds, and the reader is told
        answer: _Failed | _Told = _Failed(type(error).__name__)
    else:
        cluster = ClusterAsked(
            ray=versions["ray_version"],
            python=versions["python_version"],
            nodes=tuple(node_of(row) for row in rows),
        )
        answer = _Told(cluster)
    sys.stdout.buffer.write(msgspec.json.encode(answer))


def node_of(row: dict[str, object]) -> AskedNode:
    """A node as *row* of Ray's table has it."""
    labels = msgspec.convert(row.get("Labels") or {}, dict[str, str])
    own = {key.removeprefix(LABEL): value for key, value in labels.items() if key.startswith(LABEL)}
    name = own.pop("name", "")
    resources = msgspec.convert(row.get("Resources") or {}, dict[str, float])
    return AskedNode(
        name=name,
        address=str(row["NodeManagerAddress"]),
        is_alive=bool(row["Alive"]),
        is_head="node:__internal_head__" in resources,
        devices={kind: int(count) for kind, count in own.items() if count.isdigit()},
        reason=str(row.get("DeathReasonMessage") or ""),
    )


if __name__ == "__main__":
    main()
