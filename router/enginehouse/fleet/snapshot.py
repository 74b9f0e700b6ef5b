"""The fleet at one moment, as frozen data: every listing is a view of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import msgspec

from enginehouse.certificates import Standing
from enginehouse.config import ModelConfig, Trust
from enginehouse_plugin import Capabilities, Device, LoadProgress

from .plan import InstancePlan, Rejected

State = Literal["unloaded", "loading", "ready", "failed", "draining", "closed"]
ModelState = State | Literal["unplaced"]
FleetState = Literal["ready", "starting", "unplaced", "draining"]


class InstanceSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """An instance: the decision for it, its state and why it is in it, and the figures of its gate.

    `declared` is what its backend says of it and `capabilities` what requests may use, None before it has loaded;
    `standing` is how it stands to its certificate, None while not compared. `progress` is told while it loads.
    `running` counts sequences and `waiting` requests; `capacity` is how many sequences run at once, 0 until known.
    """

    planned: InstancePlan
    state: State
    reason: str
    progress: LoadProgress | None
    declared: Capabilities | None
    capabilities: Capabilities | None
    standing: Standing | None
    running: int
    waiting: int
    capacity: int
    restarts: int

    @property
    def id(self) -> str:
        """Its id, as `model#0`."""
        return self.planned.id


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
        states: list[State] = [instance.state for instance in self.instances]
        return "ready" if "ready" in states else states[0]

    @property
    def described(self) -> InstanceSnapshot | None:
        """The instance that stands for what the model can do; None before the first has loaded."""
        return next((instance for instance in self.instances if instance.capabilities), None)

    @property
    def loading(self) -> LoadProgress | None:
        """How far it is, while it loads and its engine has told."""
        if self.state != "loading":
            return None
        return next((instance.progress for instance in self.instances if instance.state == "loading"), None)


class FleetSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """All models by name, and the devices of this host."""

    models: dict[str, ModelSnapshot]
    devices: tuple[Device, ...]
    is_draining: bool

    @property
    def state(self) -> FleetState:
        """Whether it serves: `ready` when all models with a place here that load at start are, of which there must be
        some; those without a place are for other hosts.
        """
        if self.is_draining:
            return "draining"
        placed = [model for model in self.models.values() if model.has_place]
        if not placed:
            return "unplaced"
        awaited = [model.state for model in placed if model.config.load == "start"]
        return "ready" if all(state == "ready" for state in awaited) else "starting"

    @property
    def instances(self) -> Iterator[InstanceSnapshot]:
        """All instances of all models."""
        for model in self.models.values():
            yield from model.instances
