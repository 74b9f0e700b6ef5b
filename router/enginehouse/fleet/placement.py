"""Where a model is served: the first of its placements whose requirement a device of this host meets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from enginehouse.config import ModelConfig, PlacementConfig
from enginehouse_plugin import BackendType, Device, DeviceKind, Placement


class Chosen(msgspec.Struct, frozen=True, kw_only=True):
    """A placement and the devices it takes (none for a remote one)."""

    index: int
    placement: PlacementConfig
    devices: tuple[Device, ...]
    reason: str

    def for_backend(self, model: str, config: ModelConfig, path: str | None) -> Placement:
        """What the backend is asked to load for *model*; *path* is where its weights are."""
        return Placement(
            model=model,
            backend=self.placement.backend,
            source=self.placement.source,
            path=path,
            context_tokens=config.context_tokens,
            python=self.placement.python,
            options=self.placement.options,
        )


class Rejected(msgspec.Struct, frozen=True, kw_only=True):
    """A placement that is not used, and why, in words."""

    index: int
    placement: PlacementConfig
    reason: str


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """The outcome for one model: at most one chosen, every other with its reason."""

    chosen: Chosen | None
    rejected: tuple[Rejected, ...]


def place(
    placements: Sequence[PlacementConfig], devices: Sequence[Device], backends: Mapping[str, BackendType]
) -> Decision:
    """Choose among *placements* in their order; within one, kinds in the order of `requires`, else of the backend."""
    chosen: Chosen | None = None
    rejected: list[Rejected] = []
    for index, placement in enumerate(placements):
        if chosen is not None:
            reason = f"placement {chosen.index} comes first"
            rejected.append(Rejected(index=index, placement=placement, reason=reason))
            continue
        found = _devices_for(placement, devices, backends.get(placement.backend))
        if isinstance(found, str):
            rejected.append(Rejected(index=index, placement=placement, reason=found))
        else:
            on = f"runs on {found[0].id} ({found[0].name})" if found else "needs no device of this host"
            chosen = Chosen(index=index, placement=placement, devices=found, reason=on)
    return Decision(chosen=chosen, rejected=tuple(rejected))


def _devices_for(
    placement: PlacementConfig, devices: Sequence[Device], backend: BackendType | None
) -> tuple[Device, ...] | str:
    """The devices that *placement* takes, or why it cannot be used."""
    if backend is None:
        return f"no plugin offers the backend '{placement.backend}'"
    if not backend.kinds and not placement.requires:
        return ()
    kinds = placement.requires or backend.kinds
    usable: tuple[DeviceKind, ...] = tuple(kind for kind in kinds if not backend.kinds or kind in backend.kinds)
    if not usable:
        return f"it requires {_either(kinds)}, but the backend '{backend.name}' runs on {_either(backend.kinds)}"
    for kind in usable:
        for device in devices:
            if device.kind == kind:
                # A remote backend may be tied to a kind of host, and still takes none of its devices.
                return (device,) if backend.kinds else ()
    here = ", ".join(dict.fromkeys(device.kind for device in devices)) or "no device"
    return f"it needs {_either(usable)}; this host has {here}"


def _either(kinds: Sequence[str]) -> str:
    return " or ".join(kinds)
