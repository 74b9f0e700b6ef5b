"""The fleet at one moment, as frozen data: every listing is a view of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import msgspec

from enginehouse.certificates import Difference, Standing
from enginehouse.config import ModelConfig, Trust
from enginehouse_plugin import TASKS, Capabilities, Device, LoadProgress, Task

from .breaker import BreakerState
from .budget import DeviceBudget, Holding
from .defaults import OWN_PROFILE, Decided, decide
from .plan import InstancePlan, Rejected

State = Literal["unloaded", "loading", "ready", "asleep", "failed", "draining", "closed"]
ModelState = State | Literal["unplaced"]
FleetState = Literal["ready", "starting", "unplaced", "draining"]


class InstanceSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """An instance: the decision for it, its state and why it is in it, and the figures of its gate.

    `declared` is what its backend says of it and `capabilities` what requests may use, None before it has loaded;
    `standing` is how it stands to its certificate, None while not compared. `progress` is told while it loads.
    `defaults`, by the label of a profile, are judged by what it can honour once it has loaded.
    `running` counts sequences and `waiting` requests; `capacity` is how many sequences run at once, 0 until known.
    `starts` counts how often it has loaded or woken. `hangs` counts the ends for want of progress, all of them among
    the `restarts`. `is_pinned`: nothing that needs its memory takes it. `is_held`: its owner has taken it out. `doing`
    is state, reason and progress in words, `memory` what it holds, None while it holds nothing.
    `tokens_s` is how many tokens a second a request got of late, prompt included; None: not measured.
    `cache_used` is the share of its KV cache that is in use, asked for while somebody looks alone; None: not known.
    `others` are sequences that others have given to the same engine, and `start_s` how long it takes to start, by the
    last time (0: not known).
    `difference` is how far its answers are from those of its model's reference, `aside` why it is set aside because of
    that, and `identity` what is known of its answers, in words. `probe_tokens` are those that the router's own probes
    took, of prompts and of answers.
    `retried` counts requests that it failed, or did not begin in time, and that were tried again.
    """

    planned: InstancePlan
    state: State
    reason: str
    progress: LoadProgress | None
    declared: Capabilities | None
    capabilities: Capabilities | None
    standing: Standing | None
    defaults: dict[str, Decided]
    running: int
    waiting: int
    capacity: int
    restarts: int
    starts: int
    hangs: int
    is_pinned: bool = False
    is_held: bool = False
    doing: str = ""
    breaker: BreakerState = "closed"
    breaker_opened: int = 0
    retried: int = 0
    tokens_s: float | None = None
    others: int = 0
    cache_used: float | None = None
    start_s: float = 0.0
    memory: Holding | None = None
    difference: Difference | None = None
    aside: str | None = None
    identity: str = ""
    probe_tokens: tuple[int, int] = (0, 0)

    @property
    def id(self) -> str:
        """Its id, as `model#0`."""
        return self.planned.id

    @property
    def memory_bytes(self) -> dict[str, int]:
        """The bytes that are reserved for it, by the id of the device."""
        held = self.memory
        return {} if held is None else {device: held.on(device) for device in {**held.estimated, **held.measured}}


class ModelSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """A model: its configuration, its instances, and the placements that are not used with the reasons.

    `has_place` says whether a placement holds and fits here; a load may find that none does, and a later one that one
    does.
    """

    name: str
    config: ModelConfig
    trust: Trust
    has_place: bool
    instances: tuple[InstanceSnapshot, ...]
    rejected: tuple[Rejected, ...]

    @property
    def state(self) -> ModelState:
        """`unplaced` where no placement holds and fits; `ready` when an instance is; else the state of the first."""
        if not self.has_place:
            return "unplaced"
        states: list[State] = [
            "failed" if instance.aside is not None and instance.state == "ready" else instance.state
            for instance in self.instances
        ]
        return "ready" if "ready" in states else states[0]

    @property
    def task(self) -> Task | None:
        """What it is for, as its configuration says or its instances; None: not known yet."""
        if self.config.task is not None or (described := self.described) is None or described.capabilities is None:
            return self.config.task
        tasks = described.capabilities.tasks
        return next((task for task in TASKS if task in tasks), None)

    @property
    def described(self) -> InstanceSnapshot | None:
        """The instance that stands for what the model can do; None before the first has loaded."""
        return next((instance for instance in self.instances if instance.capabilities), None)

    @property
    def defaults(self) -> Decided:
        """What a request for it gets where it is silent, by the server's own profile."""
        return self.defaults_by(OWN_PROFILE)

    def defaults_by(self, profile: str) -> Decided:
        """What a request for it gets where it is silent, by the profile with this label."""
        shown = self.described or next(iter(self.instances), None)
        return shown.defaults[profile] if shown else decide(self.config.defaults, {}, {})

    @property
    def problem(self) -> str | None:
        """Why it is not served, where it is not and nothing is done about it: it has failed, or has no place here."""
        if not self.has_place:
            return "; ".join(f"placement {one.index}: {one.reason}" for one in self.rejected) or None
        return (self.instances[0].aside or self.instances[0].reason) if self.state == "failed" else None

    @property
    def loading(self) -> LoadProgress | None:
        """How far it is, while it loads and its engine has told."""
        if self.state != "loading":
            return None
        return next((instance.progress for instance in self.instances if instance.state == "loading"), None)


class FleetSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """All models by name, instances that are `leaving` because of a change, and this host's devices and memory."""

    models: dict[str, ModelSnapshot]
    leaving: tuple[InstanceSnapshot, ...] = ()
    devices: tuple[Device, ...]
    budgets: tuple[DeviceBudget, ...] = ()
    is_draining: bool

    @property
    def state(self) -> FleetState:
        """Whether it serves: `ready` when all models with a place here that load at start are, of which there must be
        some; those without a place are for other hosts, and those that gave their memory back load when they are asked.
        """
        if self.is_draining:
            return "draining"
        placed = [model for model in self.models.values() if model.has_place]
        if not placed:
            return "unplaced"
        awaited = [model.state for model in placed if model.config.load == "start"]
        return "ready" if all(state in ("ready", "unloaded", "asleep") for state in awaited) else "starting"

    @property
    def instances(self) -> Iterator[InstanceSnapshot]:
        """All instances of all models, and those that are leaving."""
        for model in self.models.values():
            yield from model.instances
        yield from self.leaving
