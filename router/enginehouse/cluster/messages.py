"""What router, bridge and nodes tell each other, as lines of JSON.

router ── Fit, Start, Stop, Keep ──▶ bridge ── calls of an actor ──▶ node ── Order, on a pipe ──▶ engine
       ◀── Nodes, Answer ──────────        ◀── NodeTold ──────────      ◀── Said, on a pipe ───
"""

from __future__ import annotations

import hashlib
import hmac
from typing import Any, Literal, TypeAlias

import msgspec

from enginehouse.config import Trust
from enginehouse_plugin import Device


class Spec(msgspec.Struct, frozen=True, kw_only=True):
    """An engine to run: the model called `model` as its `table` in a configuration has it, on `devices` of a node."""

    model: str
    table: dict[str, Any]
    devices: tuple[str, ...]
    trust: Trust = "declared"

    def key(self, number: int) -> str:
        """What names the engine on its node: who wants the same gets the same; *number* tells replicas apart."""
        digest = hashlib.sha256(msgspec.json.encode(self, order="deterministic")).hexdigest()
        return f"{digest[:16]}-{number}"


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """Why something cannot be done."""

    message: str
    code: str | None = None
    retryable: bool = True
    last_words: tuple[str, ...] = ()


class EngineHere(msgspec.Struct, frozen=True, kw_only=True):
    """Whether a node has an engine, by the name of its backend: `problem` says why not."""

    version: str | None = None
    problem: str | None = None


class EngineTold(msgspec.Struct, frozen=True, kw_only=True):
    """An engine that was started on a node: where it is once it is `ready`, and how many requests it takes at once."""

    state: Literal["loading", "ready", "ended"] = "loading"
    url: str = ""
    capacity: int = 0
    reason: str = ""
    last_words: tuple[str, ...] = ()


class NodeTold(msgspec.Struct, frozen=True, kw_only=True):
    """What a node tells of itself; `engines` by their keys."""

    enginehouse: str
    devices: tuple[Device, ...] = ()
    backends: dict[str, EngineHere] = {}
    engines: dict[str, EngineTold] = {}


class NodeSeen(msgspec.Struct, frozen=True, kw_only=True):
    """A node as the bridge sees it: one that is `away` does not answer, though the head knows of it."""

    name: str
    address: str
    state: Literal["up", "away"]
    reason: str = ""
    told: NodeTold | None = None


class Fit(msgspec.Struct, frozen=True, tag=True):
    """Ask what `spec` would take on `node`."""

    number: int
    node: str
    spec: Spec


class Start(msgspec.Struct, frozen=True, tag=True):
    """Have `node` run `spec` under `key`; answered once requests may go there."""

    number: int
    node: str
    key: str
    spec: Spec


class Stop(msgspec.Struct, frozen=True, tag=True):
    """Have `node` end the engine `key`, if nobody else wants it."""

    number: int
    node: str
    key: str


class Keep(msgspec.Struct, frozen=True, tag=True):
    """The keys of the engines that this router wants, by their nodes."""

    wanted: dict[str, tuple[str, ...]]


class Nodes(msgspec.Struct, frozen=True, tag=True):
    """The nodes that there are."""

    nodes: tuple[NodeSeen, ...]


class Answer(msgspec.Struct, frozen=True, tag=True):
    """What has come of what was asked under `number`."""

    number: int
    footprint: dict[str, int] = {}
    engine: EngineTold | None = None
    problem: Problem | None = None


class Failed(msgspec.Struct, frozen=True, tag=True):
    """The bridge cannot go on."""

    reason: str


Asked: TypeAlias = Fit | Start | Stop | Keep
Told: TypeAlias = Nodes | Answer | Failed


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What an engine's process is told on its standard input: what to run, where to listen, whose requests to take."""

    spec: Spec
    host: str
    key_sha256: str


class Said(msgspec.Struct, frozen=True, kw_only=True):
    """What an engine's process says on its standard output: `listening`, then each state of its instance."""

    state: str
    url: str = ""
    capacity: int = 0
    reason: str = ""


encode = msgspec.json.Encoder(enc_hook=str).encode
decode_asked = msgspec.json.Decoder(Asked).decode
decode_told = msgspec.json.Decoder(Told).decode


def engine_key(token: str) -> str:
    """The key with which engines are asked, made of the cluster's *token*, which itself goes nowhere."""
    return "eh-" + hmac.digest(token.strip().encode(), b"enginehouse engines 1", "sha256").hex()
