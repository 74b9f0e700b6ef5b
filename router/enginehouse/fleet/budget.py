"""Bytes of devices: what instances hold, what is left for one more, and who gives way for it. Pure.

A `Limit` bounds what instances hold on some devices together: each device has one of its own, and devices that share
one memory (Apple silicon's GPU and the processor) have one for all of them, so that unified memory counts once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec

from enginehouse.config import BudgetConfig, binary_size, parse_size
from enginehouse_plugin import Device

_RESERVE: Final = {"apple": 0, "cpu": 512 << 20}
"""What stays free of a device for everything else, by its kind; Apple's own limit for the GPU leaves enough."""
_RESERVE_OF_GPUS: Final = 256 << 20


class Holding(msgspec.Struct, frozen=True, kw_only=True):
    """What one instance holds, by the id of the device: by its backend's estimate, and as measured where that can be.

    `private` is the part of `measured` that counts as used in what the system tells: not the pages of files, which it
    may take back.
    """

    instance: str
    estimated: Mapping[str, int] = {}
    measured: Mapping[str, int] = {}
    private: Mapping[str, int] = {}

    def on(self, device: str) -> int:
        """The bytes that are reserved for it: an engine may come to its estimate later, or be above it."""
        return max(self.estimated.get(device, 0), self.measured.get(device, 0))

    def used(self, device: str) -> int:
        """The bytes that the system counts as used because of it: the estimate where nothing is measured."""
        if device in self.private:
            return self.private[device]
        return self.measured.get(device, self.estimated.get(device, 0))


class DeviceBudget(msgspec.Struct, frozen=True, kw_only=True):
    """The memory of one device: `size` is all of it, `cap` the owner's limit for instances (None: none), `reserve`
    what stays free, `others` what is used by others, `reserved` what instances hold and `measured` how much of that
    was measured, `free` what one more may take. In bytes. `shares` is the device whose memory it is.
    """

    id: str
    size_bytes: int
    cap_bytes: int | None
    reserve_bytes: int
    others_bytes: int
    reserved_bytes: int
    measured_bytes: int
    free_bytes: int
    shares: str | None = None

    @property
    def in_words(self) -> str:
        """How its memory is divided: `cpu: 64.00 GiB; others use 4.00 GiB, 512 MiB stays free, 59.50 GiB to have`."""
        parts = [f"others use {binary_size(self.others_bytes)}" if self.shares is None else f"memory of {self.shares}"]
        parts += [f"{binary_size(self.reserve_bytes)} stays free"] if self.reserve_bytes else []
        parts += [f"limit {binary_size(self.cap_bytes)}"] if self.cap_bytes is not None else []
        if self.reserved_bytes:
            measured = f" ({binary_size(self.measured_bytes)} measured)" if self.measured_bytes else ""
            parts.append(f"instances hold {binary_size(self.reserved_bytes)}{measured}")
        return f"{self.id}: {binary_size(self.size_bytes)}; {', '.join(parts)}, {binary_size(self.free_bytes)} to have"


class Limit(msgspec.Struct, frozen=True):
    """The bytes that instances may hold on `devices` together."""

    devices: tuple[str, ...]
    n_bytes: int

    def lacks(self, needed: Mapping[str, int], holdings: Iterable[Holding]) -> int:
        """The bytes that are missing for *needed* beside *holdings*; 0 or less: none."""
        wanted = sum(needed.get(device, 0) for device in self.devices)
        if not wanted:
            return 0
        return wanted + sum(holding.on(device) for holding in holdings for device in self.devices) - self.n_bytes


class Guest(msgspec.Struct, frozen=True):
    """An instance that could give way, and what it is worth to keep it. `asleep` is what it would still hold of each
    device if it did so by sleeping; None: it has to end.
    """

    instance: str
    value: float
    asleep: Mapping[str, int] | None = None


def worth(*, idle_s: float, load_s: float, uses: float) -> float:
    """What it is worth to keep an instance: its use times what it costs to load again, over how long it idles."""
    return (1.0 + uses) * (1.0 + load_s) / (1.0 + idle_s)


def shared_memory(device: Device) -> str | None:
    """The id of the device whose memory *device* shares; None: its memory is its own."""
    if device.kind != "apple":
        return None
    node, mark, _ = device.id.rpartition("/")  # on a cluster it is that of the same node
    return f"{node}{mark}cpu"


def reserve_of(device: Device, config: BudgetConfig) -> int:
    """The bytes of *device* that stay free for everything else."""
    said = _said(config.reserve, device)
    if said is not None:
        return said
    default = _RESERVE.get(device.kind, _RESERVE_OF_GPUS)
    return min(default, device.memory_bytes // 10)  # of a small container not all


def cap_of(device: Device, config: BudgetConfig) -> int | None:
    """The bytes of *device* that instances may hold by the owner's word."""
    return _said(config.limits, device)


def _said(sizes: Mapping[str, str], device: Device) -> int | None:
    text = sizes.get(device.id, sizes.get(device.kind))
    if text is None:
        return None
    return 0 if text == "0" else parse_size(text)


def others_on(devices: Sequence[Device], used: Mapping[str, int], holdings: Sequence[Holding]) -> dict[str, int]:
    """The bytes of each of *devices* that others use, where *used* are used by anybody; none where nobody can tell.

    What others use of a memory that is shared counts on the device that it belongs to.
    """
    ours: dict[str, int] = {}
    for device in devices:
        owner = shared_memory(device) or device.id
        ours[owner] = ours.get(owner, 0) + sum(holding.used(device.id) for holding in holdings)
    return {
        device.id: max(0, used[device.id] - ours[device.id])
        for device in devices
        if device.id in used and shared_memory(device) is None
    }


def limits(
    devices: Sequence[Device], config: BudgetConfig, others: Mapping[str, int], *, is_static: bool = False
) -> tuple[Limit, ...]:
    """What instances may hold on *devices*, of which *others* use some; *is_static*: as if nobody else used any."""
    found: list[Limit] = []
    pools: dict[str, list[Device]] = {}
    by_id = {device.id: device for device in devices}
    for device in devices:
        cap = cap_of(device, config)
        room = device.memory_bytes - reserve_of(device, config) - (0 if is_static else others.get(device.id, 0))
        found.append(Limit((device.id,), max(0, room if cap is None else min(room, cap))))
        pools.setdefault(shared_memory(device) or device.id, []).append(device)
    for name, members in pools.items():
        if (owner := by_id.get(name)) is not None and len(members) > 1:
            room = owner.memory_bytes - reserve_of(owner, config)
            used = 0 if is_static else others.get(name, 0)
            found.append(Limit(tuple(device.id for device in members), max(0, room - used)))
    return tuple(found)


def lacking(
    needed: Mapping[str, int], bounds: Sequence[Limit], holdings: Sequence[Holding]
) -> dict[tuple[str, ...], int]:
    """The bytes that are missing for *needed* beside *holdings*, by the devices of the limit; empty: it fits."""
    return {bound.devices: lack for bound in bounds if (lack := bound.lacks(needed, holdings)) > 0}


def give_way(
    needed: Mapping[str, int], bounds: Sequence[Limit], holdings: Sequence[Holding], guests: Sequence[Guest]
) -> tuple[str, ...] | None:
    """Choose who of *guests* gives way for *needed*: those of least value, and no more than is necessary.

    None: it would not fit if all of them did.
    """
    missing = lacking(needed, bounds, holdings)
    if not missing:
        return ()
    short = {device for devices in missing for device in devices}
    held = {holding.instance: holding for holding in holdings}
    useful = [
        guest
        for guest in sorted(guests, key=lambda guest: guest.value)
        if guest.instance in held and any(held[guest.instance].on(device) for device in short)
    ]
    leaving: list[str] = []
    asleep = {
        guest.instance: Holding(instance=guest.instance, measured=guest.asleep)
        for guest in guests
        if guest.asleep is not None
    }

    def fits_without(names: Sequence[str]) -> bool:
        left = [asleep.get(one.instance) if one.instance in names else one for one in holdings]
        return not lacking(needed, bounds, [one for one in left if one is not None])

    for guest in useful:
        leaving.append(guest.instance)
        if fits_without(leaving):
            break
    else:
        return None
    for name in reversed(leaving[:-1]):  # one that was not enough may not be needed beside a larger one
        without = [one for one in leaving if one != name]
        if fits_without(without):
            leaving = without
    return tuple(leaving)


def budgets(
    devices: Sequence[Device], config: BudgetConfig, others: Mapping[str, int], holdings: Sequence[Holding]
) -> tuple[DeviceBudget, ...]:
    """The memory of each of *devices*, as listings show it."""
    bounds = limits(devices, config, others)
    found = []
    for device in devices:
        free = [
            bound.n_bytes - sum(holding.on(member) for holding in holdings for member in bound.devices)
            for bound in bounds
            if device.id in bound.devices
        ]
        found.append(
            DeviceBudget(
                id=device.id,
                size_bytes=device.memory_bytes,
                cap_bytes=cap_of(device, config),
                reserve_bytes=reserve_of(device, config),
                others_bytes=others.get(device.id, 0),
                reserved_bytes=sum(holding.on(device.id) for holding in holdings),
                measured_bytes=sum(holding.measured.get(device.id, 0) for holding in holdings),
                free_bytes=max(0, min(free)),
                shares=shared_memory(device),
            )
        )
    return tuple(found)


def in_words(missing: Mapping[tuple[str, ...], int]) -> str:
    """What is missing: `300 MiB on cpu`."""
    return " and ".join(f"{binary_size(lack)} on {' with '.join(devices)}" for devices, lack in missing.items())
