"""Places on a cluster: the devices of one instance are on one node, which has to have its engine. Pure.

A device of a node is called `node/cuda:0`; one of this host has no node.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import lru_cache

import msgspec

from enginehouse.config import PlacementConfig
from enginehouse_plugin import BackendType, Device, DeviceKind

from .requirements import devices_for


@lru_cache(maxsize=1 << 16)
def node_of(device_id: str) -> str:
    """The node of the device called *device_id*; empty: this host."""
    return device_id.rpartition("/")[0]


class Stay(msgspec.Struct, frozen=True):
    """What runs, and so stays where it is: on the devices with these ids, of the placement at *index* of its model."""

    devices: tuple[str, ...]
    index: int = 0


_Key = tuple[int, int, int, int, int, str]


class Ranking:
    """Devices in the order in which the next instance of a model takes them.

    Those with the fewest instances of the model go first, of these those with the fewest of others, as *busy* counts
    them; then those whose node has the fewest, of the model and of others; then as *devices* has them. What is
    *running* counts until it is released. The order of the nodes is kept as it changes: to sort all devices for each
    instance held the event loop for a quarter of a second where there are a thousand of both.
    """

    def __init__(self, devices: Sequence[Device], running: Mapping[int, Stay], busy: Mapping[str, int]) -> None:
        self._own = Counter(device for stay in running.values() for device in stay.devices)
        self._busy = busy
        self._on: dict[str, list[Device]] = {}
        for device in devices:
            self._on.setdefault(node_of(device.id), []).append(device)
        self._places = {node: at for at, node in enumerate(self._on)}
        self._keys: dict[DeviceKind, dict[str, _Key]] = {}
        self._sorted: dict[DeviceKind, list[_Key]] = {}

    @property
    def nodes(self) -> Sequence[str]:
        """All nodes; one without a name is this host."""
        return list(self._on)

    def with_kind(self, kind: DeviceKind, kept: Sequence[str]) -> Iterator[str]:
        """The nodes that have devices of *kind*, first that of the devices *kept*."""
        if kind not in self._keys:
            self._keys[kind] = {node: key for node in self._on if (key := self._key(node, kind)) is not None}
            self._sorted[kind] = sorted(self._keys[kind].values())
        first = node_of(kept[0]) if kept else None
        if first in self._keys[kind]:
            yield first
        yield from (node for *_, node in self._sorted[kind] if node != first)

    def on(self, node: str, kept: Sequence[str] = ()) -> list[Device]:
        """The devices of *node*, first those *kept*."""
        own, busy = self._own, self._busy
        return sorted(
            self._on.get(node, ()),
            key=lambda device: (device.id not in kept, own.get(device.id, 0), busy.get(device.id, 0)),
        )

    def release(self, device_ids: Sequence[str]) -> None:
        """An instance of the model runs on these no more."""
        self._own.subtract(device_ids)
        self._moved(device_ids)

    def kind_of(self, kept: Sequence[str]) -> DeviceKind | None:
        """What the devices *kept* are; None: there are none, or they are not there."""
        here = self._on.get(node_of(kept[0]), ()) if kept else ()
        return next((device.kind for device in here if device.id in kept), None)

    def take(self, device_ids: Sequence[str]) -> None:
        """One more instance of the model is on these."""
        self._own.update(device_ids)
        self._moved(device_ids)

    def drop(self, device_ids: Sequence[str]) -> None:
        """No further instance may be on these."""
        for node in {node_of(device) for device in device_ids}:
            self._on[node] = [device for device in self._on[node] if device.id not in device_ids]
        self._moved(device_ids)

    def _moved(self, device_ids: Sequence[str]) -> None:
        for node in {node_of(device) for device in device_ids} & self._on.keys():
            for kind, keys in self._keys.items():
                if (before := keys.pop(node, None)) is not None:
                    del self._sorted[kind][bisect_left(self._sorted[kind], before)]
                if (key := self._key(node, kind)) is not None:
                    keys[node] = key
                    insort(self._sorted[kind], key)

    def _key(self, node: str, kind: DeviceKind) -> _Key | None:
        """What *node* is compared by for devices of *kind*: the best of them, then all of it; None: it has none."""
        own_of, busy_of = self._own.get, self._busy.get
        best: tuple[int, int] | None = None
        all_own = all_busy = 0
        for device in self._on[node]:
            own, busy = own_of(device.id, 0), busy_of(device.id, 0)
            all_own += own
            all_busy += busy
            if device.kind == kind and (best is None or (own, busy) < best):
                best = own, busy
        return None if best is None else (*best, all_own, all_busy, self._places[node], node)


def place(
    placement: PlacementConfig,
    ranking: Ranking,
    kept: Sequence[str],
    backend: BackendType | None,
    footprints: Mapping[DeviceKind, Mapping[str, int]],
    useless: Mapping[DeviceKind, str],
    *,
    beside: Mapping[str, int],
    only: DeviceKind | None,
    room: Mapping[str, int],
    lacking: Mapping[str, Mapping[str, str]],
) -> tuple[Device, ...] | str:
    """Do as `devices_for` on the first node of *ranking* that will do: the nodes of the best kind of device go first.

    It runs on the devices *kept* now, if any, and stays there, whatever better ones have come. *lacking* says why nodes
    have not the engine of a backend, by its name: that is told apart from one that is full.
    """

    def find(node: str, kind: DeviceKind | None) -> tuple[Device, ...] | str:
        here = ranking.on(node, kept)
        return devices_for(placement, here, backend, footprints, useless, beside=beside, only=kind, room=room)

    nodes = ranking.nodes
    if (backend is not None and not backend.kinds) or not any(nodes):
        return find("", only)
    if backend is not None:
        usable = [kind for kind in placement.requires or backend.kinds if kind in backend.kinds]
        stays_on = ranking.kind_of(kept)
        usable.sort(key=lambda kind: kind != stays_on)
        for kind in usable if only is None else (only,):
            for node in ranking.with_kind(kind, kept):
                if placement.backend in lacking.get(node, ()):
                    continue
                found = find(node, kind)
                if not isinstance(found, str):
                    return found
    return "; ".join(
        f"on '{node}': {lacking.get(node, {}).get(placement.backend) or find(node, only)}" for node in nodes
    )


def staying(running: Mapping[int, Stay], devices: Sequence[Device]) -> dict[int, Stay]:
    """Those of what is *running* whose *devices* are still there, by their numbers."""
    there = {device.id for device in devices}
    return {number: stay for number, stay in sorted(running.items()) if there.issuperset(stay.devices)}


def numbers(kept: Collection[int], first: int) -> Iterator[int]:
    """The numbers of instances: those that are *kept*, then others from *first* on."""
    yield from kept
    number = first
    while True:
        if number not in kept:
            yield number
        number += 1
