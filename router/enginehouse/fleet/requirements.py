"""Which devices of a host have what a placement requires, or why none do, in words. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from enginehouse.config import PlacementConfig, absent_backends, binary_size
from enginehouse_plugin import DEVICE_KINDS, BackendType, Device, DeviceKind


def devices_for(
    placement: PlacementConfig,
    devices: Sequence[Device],
    backend: BackendType | None,
    footprints: Mapping[DeviceKind, Mapping[str, int]],
    useless: Mapping[DeviceKind, str],
    *,
    beside: Mapping[str, int],
    only: DeviceKind | None = None,
    room: Mapping[str, int] | None = None,
) -> tuple[Device, ...] | str:
    """The devices that *placement* takes, or why it cannot be used.

    *footprints* are the bytes on each device, by the kind that it runs on; *useless* says why its engine cannot use
    a kind; *beside* are the bytes of each device that further instances of the model take. Devices are of the kind
    *only*, if one is given. *room* are the bytes that instances may hold of a device, where that is not all of it.
    """
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
    for kind in usable if only is None else (only,):
        here = [device for device in devices if device.kind == kind]
        if not here:
            continue
        if kind in useless:
            problems.append(useless[kind])
            continue
        found = _enough(placement, here, devices, footprints.get(kind, {}), beside, room or {})
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
    placement: PlacementConfig,
    here: Sequence[Device],
    devices: Sequence[Device],
    needed: Mapping[str, int],
    beside: Mapping[str, int],
    room: Mapping[str, int],
) -> tuple[Device, ...] | str:
    """As many of *here*, devices of one kind, as *placement* takes; or why there are not so many."""
    wanted = placement.devices
    kind = here[0].kind
    problems = {
        device.id: problem
        for device in here
        if (
            problem := _unmet(placement, device)
            or _too_small(device, needed.get(device.id, 0), beside.get(device.id, 0), room)
        )
    }
    left = [device for device in here if device.id not in problems]
    if len(left) < wanted:
        too_few = [f"it takes {wanted} {kind} devices at once, and {len(left)} of this host would do"]
        return "; ".join([*(too_few if wanted > 1 else ()), *problems.values()])
    # What stays on the processor beside the devices (layers that are not offloaded) needs its memory, too.
    for device in devices:
        if device.kind != kind and (
            problem := _too_small(device, needed.get(device.id, 0), beside.get(device.id, 0), room)
        ):
            return problem
    return _alike(left, wanted)


def _unmet(placement: PlacementConfig, device: Device) -> str | None:
    """What *placement* requires and *device* has not, or None."""
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
    if placement.devices > 1 and (device.uuid or "").startswith("MIG-"):
        return f"{_named(device)} is a part of a device, and parts cannot work together"
    return None


def _too_small(device: Device, needed_bytes: int, others_bytes: int, room: Mapping[str, int]) -> str | None:
    """That *needed_bytes* beside *others_bytes* do not fit on *device*, in words, or None."""
    total, may_hold = needed_bytes + others_bytes, room.get(device.id, device.memory_bytes)
    if not needed_bytes or total <= min(may_hold, device.memory_bytes):
        return None
    words = f"it takes {binary_size(needed_bytes)} on {_named(device)}, which has {binary_size(device.memory_bytes)}"
    if total <= device.memory_bytes:
        words += f" and may give instances {binary_size(may_hold)}"
    return f"{words}, of which its other instances take {binary_size(others_bytes)}" if others_bytes else words


def _alike(devices: Sequence[Device], count: int) -> tuple[Device, ...]:
    """*count* of *devices*, of one model where there are so many: the slowest sets the pace of all."""
    for first in devices:
        same = [device for device in devices if device.name == first.name]
        if len(same) >= count:
            return tuple(same[:count])
    return tuple(devices[:count])


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


def runs_on(devices: Sequence[Device], needed: Mapping[str, int]) -> str:
    """That an instance runs on *devices*, of which it takes the *needed* bytes each, in words."""
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
