"""Which placements of a model become its instances on this host, on which devices, and why not the others.

Pure functions of configuration, devices, backends, and of what loading has told so far.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Final, Literal

import msgspec

from enginehouse.config import ModelConfig, PlacementConfig
from enginehouse_plugin import BackendType, Device, DeviceKind, Placement, Task
from enginehouse_plugin.errors import EnginehouseError

from .nodes import Ranking, Stay, node_of, numbers, place, staying
from .requirements import runs_on


class InstancePlan(msgspec.Struct, frozen=True, kw_only=True):
    """The decision for one instance: its placement, the devices that it takes (none for a remote one), and why.

    `index` is the placement's among those of its model; `footprint_bytes` is what it takes of each device, as far as
    that is known. `host` is the other host that serves it, None for this one. `fault` says why it is not known whether
    it fits; without one it does, or its backend cannot tell. `is_spare`: it starts only for what would wait too long
    elsewhere. `number` is what tells it from others of its model. A fault is no reason to pass a placement over: its
    owner would not hear of it.
    """

    id: str
    model: str
    index: int
    placement: PlacementConfig
    backend: BackendType
    devices: tuple[Device, ...]
    context_tokens: int | None
    reason: str
    host: str | None = None
    footprint_bytes: Mapping[str, int] = {}
    fault: EnginehouseError | None = None
    task: Task | None = None
    dimensions: tuple[int, ...] = ()
    is_spare: bool = False
    number: int = 0

    @property
    def device_ids(self) -> tuple[str, ...]:
        """The ids of its devices."""
        return tuple(device.id for device in self.devices)

    @property
    def node(self) -> str:
        """The node of a cluster that it runs on; empty: this host."""
        return node_of(self.devices[0].id) if self.devices else ""

    @property
    def explanation(self) -> str:
        """The reason, with the fault if there is one."""
        if self.fault is None:
            return self.reason
        return f"{self.reason}; whether it fits is not known: {self.fault.message}"

    def for_backend(self, path: str | None) -> Placement:
        """What the backend is asked to load; *path* is where its weights are."""
        return Placement(
            model=self.model,
            backend=self.placement.backend,
            source=self.placement.source,
            path=path,
            context_tokens=self.context_tokens,
            python=self.placement.python,
            options=self.placement.options,
            task=self.task,
            dimensions=self.dimensions,
        )


class Rejected(msgspec.Struct, frozen=True, kw_only=True):
    """A placement that is not used, and why, in words."""

    index: int
    placement: PlacementConfig
    reason: str


class ModelPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What becomes of one model on this host: its instances, and every placement that is not used.

    `short` says why there are fewer instances than are asked for, None where there are as many.
    """

    instances: tuple[InstancePlan, ...]
    rejected: tuple[Rejected, ...]
    short: str | None = None

    @property
    def reasons(self) -> str:
        """Why the placements that are not used are not, and why there are no more instances, in one line."""
        reasons = [f"{rejected.index}: {rejected.reason}" for rejected in self.rejected]
        return "; ".join([*reasons, self.short] if self.short else reasons)


class Experience(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a model's placements beyond what its configuration says.

    `footprints` are the bytes that the placement at an index takes on each device, by its id, when it runs on devices
    of a kind; what is not among them is taken to fit. `unusable` says in words why its engine cannot use devices of a
    kind, which only loading tells. `room` are the bytes that instances may hold of a device, `contexts` the longest
    context that fits there where it is to be as long as that, and `speeds` the tokens a second that requests got.
    `unproven` says of placements, where only what is proven is trusted, why nothing of them is. `running` are the
    instances that run on a cluster, by their numbers: they stay there; `busy` counts those of other models on each
    device, and `lacking` says why nodes lack an engine.
    """

    footprints: Mapping[tuple[int, DeviceKind], Mapping[str, int]] = {}
    unusable: Mapping[tuple[int, DeviceKind], str] = {}
    room: Mapping[str, int] = {}
    contexts: Mapping[tuple[int, DeviceKind], int] = {}
    speeds: Mapping[int, float] = {}
    unproven: Mapping[int, str] = {}
    running: Mapping[int, Stay] = {}
    busy: Mapping[str, int] = {}
    lacking: Mapping[str, Mapping[str, str]] = {}


NO_EXPERIENCE = Experience()
MAX_REPLICAS: Final = 64
SPARE: Final = "spare"
"""In place of a number, in the id of what `overflow` goes to."""


def plan_model(
    name: str,
    model: ModelConfig,
    devices: Sequence[Device],
    backends: Mapping[str, BackendType],
    experience: Experience = NO_EXPERIENCE,
    count: int | Literal["auto"] = 1,
    first_number: int = 0,
) -> ModelPlan:
    """Plan *count* instances of the first placement of *model* that holds and fits; within one, kinds of device are
    tried in the order of `requires`, else of the backend. Instances take different devices where there are enough,
    and share them where they fit beside each other; `auto` is one wherever they take different ones. Behind a remote
    placement, which takes no device, each further remote one that holds is an instance too. With `overflow` the next
    placement that holds beside them is one more, which is spare. Numbers begin with *first_number*.

    Where instances run on a cluster, their placement and kind of device go first: others begin when these have ended.

    Fitting is judged by the memory that a device has, not by what is free at the moment: so a restart plans alike.
    """
    instances: list[InstancePlan] = []
    rejected: list[Rejected] = []
    short: str | None = None
    beside: Counter[str] = Counter()  # bytes of those that are planned
    running = experience.running
    stays = staying(running, devices)
    following = numbers(stays, first_number)
    own = next(following)
    occupied = {stay.index for stay in stays.values()}
    for index in sorted(in_order(model, experience.speeds, experience.unproven), key=lambda at: at not in occupied):
        placement = model.placements[index]
        first = instances[0] if instances else None
        is_spare = model.overflow and first is not None and bool(first.devices) and not instances[-1].is_spare
        if not is_spare and first is not None and (first.devices or _is_on_devices(placement, backends)):
            reason = _why_first(first.index, index, model, experience, occupied)
            rejected.append(Rejected(index=index, placement=placement, reason=reason))
            continue
        backend = backends.get(placement.backend)
        footprints: dict[DeviceKind, Mapping[str, int]] = {
            kind: needed for (at, kind), needed in experience.footprints.items() if at == index
        }
        useless: dict[DeviceKind, str] = {
            kind: reason for (at, kind), reason in experience.unusable.items() if at == index
        }
        ranking = Ranking(devices, running, experience.busy)
        kind: DeviceKind | None = None  # of all of them: one on a slower kind would not be a replica
        wanted = 1 if first is not None else MAX_REPLICAS if count == "auto" else count
        for number in range(wanted):
            kept = running[own].devices if own in running else ()
            ranking.release(kept)
            found = place(
                placement, ranking, kept, backend, footprints, useless,
                beside=beside, only=kind, room=experience.room, lacking=experience.lacking,
            )  # fmt: skip
            if backend is None or isinstance(found, str):
                if not number:
                    rejected.append(Rejected(index=index, placement=placement, reason=str(found)))
                elif count != "auto":
                    short = f"{number} of {count} replicas have a place: for one more {found}"
                break
            needed: Mapping[str, int] = footprints.get(found[0].kind, {}) if found else {}
            device_ids = [device.id for device in found]
            (ranking.drop if count == "auto" else ranking.take)(device_ids)
            kind = found[0].kind if found else None
            # Also of what stays on the processor beside its devices.
            node = node_of(found[0].id) if found else ""
            takes = {*found, *(one for one in ranking.on(node) if one.kind != kind)}
            beside.update({device.id: needed.get(device.id, 0) for device in takes})
            context = experience.contexts.get((index, kind)) if kind is not None else None
            reason = runs_on(found, needed) if found else "needs no device of this host"
            if is_spare and first is not None:
                reason += f"; it starts where the queue of placement {first.index} takes longer than that"
            if model.context_tokens == "auto" and context is not None:
                reason += f", with a context of {context:,} tokens, the longest that fits"
            instances.append(
                InstancePlan(
                    id=f"{name}#{f'{SPARE}{first_number or str()}' if is_spare else own}",
                    number=own,
                    model=name,
                    index=index,
                    placement=placement,
                    backend=backend,
                    devices=found,
                    context_tokens=context if model.context_tokens == "auto" else model.context_tokens,
                    reason=reason,
                    footprint_bytes={device.id: needed[device.id] for device in takes if needed.get(device.id)},
                    task=model.task,
                    dimensions=model.dimensions,
                    is_spare=is_spare,
                )
            )
            own = next(following)
            if not found and count == "auto":
                break
    rejected.sort(key=lambda one: one.index)
    return ModelPlan(instances=tuple(instances), rejected=tuple(rejected), short=short)


def in_order(model: ModelConfig, speeds: Mapping[int, float], unproven: Mapping[int, str] | None = None) -> list[int]:
    """The placements of *model* in the order in which they are tried: those of which nothing is proven come last.

    The fastest first needs measures: a placement that has none comes before, so that it gets one.
    """
    order = list(range(len(model.placements)))
    if model.prefer == "fastest":
        order.sort(key=lambda index: (index in speeds, -speeds.get(index, 0.0)))
    if unproven:
        order.sort(key=lambda index: index in unproven)
    return order


def _why_first(first: int, index: int, model: ModelConfig, experience: Experience, occupied: Collection[int]) -> str:
    if first in occupied and index not in occupied:
        return f"placement {first} has instances that run, and stay where they are"
    speeds, unproven = experience.speeds, experience.unproven
    if index in unproven and first not in unproven:
        return f"placement {first} comes first: of this one nothing is proven, as {unproven[index]}"
    if model.prefer == "order" or (first < index and first not in speeds and index not in speeds):
        return f"placement {first} comes first"
    if first not in speeds:
        return f"placement {first} comes first: it has not been measured yet"
    return f"placement {first} is faster: {speeds[first]:.1f} tokens a second, and {speeds[index]:.1f} here"


def _is_on_devices(placement: PlacementConfig, backends: Mapping[str, BackendType]) -> bool:
    backend = backends.get(placement.backend)
    return backend is None or bool(backend.kinds)
