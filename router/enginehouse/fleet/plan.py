"""Which placements of a model become its instances on this host, on which devices, and why not the others.

Pure functions of configuration, devices, backends, and of what loading has told so far.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from enginehouse.config import ModelConfig, PlacementConfig, absent_backends, binary_size
from enginehouse_plugin import DEVICE_KINDS, BackendType, Device, DeviceKind, Placement
from enginehouse_plugin.errors import EnginehouseError


class InstancePlan(msgspec.Struct, frozen=True, kw_only=True):
    """The decision for one instance: its placement, the devices that it takes (none for a remote one), and why.

    `index` is the placement's among those of its model. `fault` says why it is not known whether it fits; without one
    it does, or its backend cannot tell. A fault is no reason to pass a placement over: its owner would not hear of it.
    """

    id: str
    model: str
    index: int
    placement: PlacementConfig
    backend: BackendType
    devices: tuple[Device, ...]
    context_tokens: int | None
    reason: str
    fault: EnginehouseError | None = None

    @property
    def device_ids(self) -> tuple[str, ...]:
        """The ids of its devices."""
        return tuple(device.id for device in self.devices)

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
        )


class Rejected(msgspec.Struct, frozen=True, kw_only=True):
    """A placement that is not used, and why, in words."""

    index: int
    placement: PlacementConfig
    reason: str


class ModelPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What becomes of one model on this host: its instances, and every placement that is not used."""

    instances: tuple[InstancePlan, ...]
    rejected: tuple[Rejected, ...]

    @property
    def reasons(self) -> str:
        """Why the placements that are not used are not, in one line."""
        return "; ".join(f"{rejected.index}: {rejected.reason}" for rejected in self.rejected)


class Experience(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a model's placements beyond what its configuration says.

    `footprints` are the bytes that the placement at an index takes on each device, by its id, when it runs on devices
    of a kind; what is not among them is taken to fit. `unusable` says in words why its engine cannot use devices of a
    kind, which only loading tells.
    """

    footprints: Mapping[tuple[int, DeviceKind], Mapping[str, int]] = {}
    unusable: Mapping[tuple[int, DeviceKind], str] = {}


NO_EXPERIENCE = Experience()


def plan_model(
    name: str,
    model: ModelConfig,
    devices: Sequence[Device],
    backends: Mapping[str, BackendType],
    experience: Experience = NO_EXPERIENCE,
    count: int = 1,
) -> ModelPlan:
    """Plan *count* instances of the first placement of *model* that holds and fits; within one, kinds of device are
    tried in the order of `requires`, else of the backend. Instances take different devices where there are enough.

    Fitting is judged by the memory that a device has, not by what is free at the moment: so a restart plans alike.
    """
    instances: list[InstancePlan] = []
    rejected: list[Rejected] = []
    for index, placement in enumerate(model.placements):
        if instances:
            reason = f"placement {instances[0].index} comes first"
            rejected.append(Rejected(index=index, placement=placement, reason=reason))
            continue
        backend = backends.get(placement.backend)
        footprints: dict[DeviceKind, Mapping[str, int]] = {
            kind: needed for (at, kind), needed in experience.footprints.items() if at == index
        }
        useless: dict[DeviceKind, str] = {
            kind: reason for (at, kind), reason in experience.unusable.items() if at == index
        }
        taken: set[str] = set()
        for number in range(count):
            free_first = sorted(devices, key=lambda device: device.id in taken)
            found = _devices_for(placement, free_first, backend, footprints, useless)
            if backend is None or isinstance(found, str):
                rejected.append(Rejected(index=index, placement=placement, reason=str(found)))
                break
            taken.update(device.id for device in found)
            reason = _runs_on(found, footprints.get(found[0].kind, {})) if found else "needs no device of this host"
            instances.append(
                InstancePlan(
                    id=f"{name}#{number}",
                    model=name,
                    index=index,
                    placement=placement,
                    backend=backend,
                    devices=found,
                    context_tokens=model.context_tokens,
                    reason=reason,
                )
            )
    return ModelPlan(instances=tuple(instances), rejected=tuple(rejected))


def _devices_for(
    placement: PlacementConfig,
    devices: Sequence[Device],
    backend: BackendType | None,
    footprints: Mapping[DeviceKind, Mapping[str, int]],
    useless: Mapping[DeviceKind, str],
) -> tuple[Device, ...] | str:
    """The devices that *placement* takes, or why it cannot be used."""
    absent = absent_backends().get(placement.backend)
    if backend is not None:
        can_use = backend.kinds
        if not can_use and not _asks_for_hardware(placement):
            return ()
    elif absent is not None:
        can_use = absent.kinds
    elif placement.requires:
        can_use = placement.requires
    else:
        return _no_plugin(placement.backend)
    kinds = placement.requires or can_use or tuple(dict.fromkeys([*DEVICE_KINDS, *(device.kind for device in devices)]))
    usable: tuple[DeviceKind, ...] = tuple(kind for kind in kinds if not can_use or kind in can_use)
    if not usable:
        return f"it requires {_either(kinds)}, but the backend '{placement.backend}' runs on {_either(can_use)}"
    problems: list[str] = []
    for kind in usable:
        here = [device for device in devices if device.kind == kind]
        if not here:
            continue
        if kind in useless:
            problems.append(useless[kind])
            continue
        found = _enough(placement, here, devices, footprints.get(kind, {}))
        if isinstance(found, str):
            problems.append(found)
        elif backend is None:
            return _no_plugin(placement.backend)
        else:
            # A remote backend may be tied to a kind of host, and still takes none of its devices.
            return found if backend.kinds else ()
    if problems:
        return "; ".join(problems)
    there = ", ".join(dict.fromkeys(device.kind for device in devices)) or "no device"
    return f"it needs {_either(usable)}; this host has {there}"


def _asks_for_hardware(placement: PlacementConfig) -> bool:
    return bool(placement.requires or placement.min_memory_bytes or placement.min_capability)


def _enough(
    placement: PlacementConfig, here: Sequence[Device], devices: Sequence[Device], needed: Mapping[str, int]
) -> tuple[Device, ...] | str:
    """As many of *here*, devices of one kind, as *placement* takes; or why there are not so many."""
    wanted = placement.devices
    kind = here[0].kind
    problems = {
        device.id: problem for device in here if (problem := _problem(placement, device, needed.get(device.id, 0)))
    }
    left = [device for device in here if device.id not in problems]
    if len(left) < wanted:
        too_few = [f"it takes {wanted} {kind} devices at once, and {len(left)} of this host would do"]
        return "; ".join([*(too_few if wanted > 1 else ()), *problems.values()])
    # What stays on the processor beside the devices (layers that are not offloaded) needs its memory, too.
    for device in devices:
        if device.kind != kind and (share := needed.get(device.id, 0)) > device.memory_bytes:
            return _too_small(device, share)
    return _alike(left, wanted)


def _problem(placement: PlacementConfig, device: Device, needed_bytes: int) -> str | None:
    """Why *placement* cannot use *device*, or None."""
    if wanted := placement.min_capability:
        if device.compute_capability is None:
            return f"{_named(device)} has no compute capability, and at least {_version(wanted)} is required"
        if device.compute_capability < wanted:
            has = _version(device.compute_capability)
            return f"{_named(device)} has compute capability {has}, and at least {_version(wanted)} is required"
    if device.memory_bytes < placement.min_memory_bytes:
        return (
            f"{_named(device)} has {binary_size(device.memory_bytes)} of memory, and at least "
            f"{binary_size(placement.min_memory_bytes)} is required"
        )
    if device.memory_bytes < needed_bytes:
        return _too_small(device, needed_bytes)
    if placement.devices > 1 and (device.uuid or "").startswith("MIG-"):
        return f"{_named(device)} is a part of a device, and parts cannot work together"
    return None


def _too_small(device: Device, needed_bytes: int) -> str:
    return f"it takes {binary_size(needed_bytes)} on {_named(device)}, which has {binary_size(device.memory_bytes)}"


def _alike(devices: Sequence[Device], count: int) -> tuple[Device, ...]:
    """*count* of *devices*, of one model where there are so many: the slowest sets the pace of all."""
    for first in devices:
        same = [device for device in devices if device.name == first.name]
        if len(same) >= count:
            return tuple(same[:count])
    return tuple(devices[:count])


def _runs_on(devices: Sequence[Device], needed: Mapping[str, int]) -> str:
    names = ", ".join(dict.fromkeys(device.name for device in devices))
    words = f"runs on {' and '.join(device.id for device in devices)} ({names})"
    if not all(needed.get(device.id) for device in devices):
        return words
    takes = dict.fromkeys(_takes(device, needed[device.id]) for device in devices)
    if len(devices) > 1 and len(takes) == 1:
        return f"{words}, takes {next(iter(takes))} on each"
    places = [f" on {device.id}" if len(devices) > 1 else "" for device in devices]
    return f"{words}, takes {' and '.join(map(''.join, zip(takes, places, strict=True)))}"


def _takes(device: Device, needed_bytes: int) -> str:
    words = f"{binary_size(needed_bytes)} of {binary_size(device.memory_bytes)}"
    if device.free_bytes is not None and device.free_bytes < needed_bytes:
        words += f" (of which only {binary_size(device.free_bytes)} is free at the moment)"
    return words


def _no_plugin(backend: str) -> str:
    if absent := absent_backends().get(backend):
        return f"no plugin offers the backend '{backend}' here; to add it: pip install '{absent.requirement}'"
    return f"no plugin offers the backend '{backend}'"


def _named(device: Device) -> str:
    return f"{device.id} ({device.name})"


def _version(capability: tuple[int, int]) -> str:
    return f"{capability[0]}.{capability[1]}"


def _either(kinds: Sequence[str]) -> str:
    return " or ".join(kinds)
