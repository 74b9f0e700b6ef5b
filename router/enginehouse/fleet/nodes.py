"""Places on a cluster: the devices of one instance are on one node, which has to have its engine. Pure.

A device of a node is called `node/cuda:0`; one of this host has no node.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache

from enginehouse.config import PlacementConfig
from enginehouse_plugin import BackendType, Device, DeviceKind

from .requirements import devices_for


@lru_cache(maxsize=1 << 16)
def node_of(device_id: str) -> str:
    """The node of the device called *device_id*; empty: this host."""
    return device_id.rpartition("/")[0]


def place(
    placement: PlacementConfig,
    here: Sequence[Device],
    backend: BackendType | None,
    footprints: Mapping[DeviceKind, Mapping[str, int]],
    useless: Mapping[DeviceKind, str],
    *,
    beside: Mapping[str, int],
    only: DeviceKind | None,
    room: Mapping[str, int],
    lacking: Mapping[str, Mapping[str, str]],
) -> tuple[Device, ...] | str:
    """Do as `devices_for` on the first node of *here* that will do: the nodes of the best kind of device go first.

    *lacking* says why nodes have not the engine of a backend, by its name: that is told apart from one that is full.
    """
    takes_none = backend is not None and not backend.kinds
    if takes_none or not here or not node_of(here[0].id):
        return devices_for(placement, here, backend, footprints, useless, beside=beside, only=only, room=room)
    kinds = (only,) if only is not None else placement.requires or (backend.kinds if backend is not None else ())
    problems: dict[str, str] = {}
    for kind in kinds:
        seen: set[str] = set()
        for first in here:
            if (node := node_of(first.id)) in seen:
                continue
            seen.add(node)
            if (why := lacking.get(node, {}).get(placement.backend)) is not None:
                problems[node] = why
                continue
            own = [device for device in here if node_of(device.id) == node]
            found = devices_for(placement, own, backend, footprints, useless, beside=beside, only=kind, room=room)
            if not isinstance(found, str):
                return found
            problems[node] = found
    return "; ".join(f"on '{node}': {why}" for node, why in problems.items()) or "no device of the cluster is asked for"


def numbers(running: Mapping[int, Sequence[str]], devices: Sequence[Device], first: int) -> Iterator[int]:
    """The numbers of instances: those of what is *running* on *devices* that are there, then others from *first* on."""
    there = {device.id for device in devices}
    kept = [number for number, on in sorted(running.items()) if set(on) <= there]
    yield from kept
    number = first
    while True:
        if number not in kept:
            yield number
        number += 1
