"""Whether a placement fits, asked of its backend before anything is loaded."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence

import msgspec

from enginehouse.config import ModelConfig
from enginehouse_plugin import BackendType, Device, DeviceKind
from enginehouse_plugin.errors import EnginehouseError, LoadFailed

from .placement import ALL_USABLE, Decision, Unusable, place

FindWeights = Callable[[str], Awaitable[str | None]]
"""Turns a source into a local path; None: its weights are not here yet.

Raises:
    EnginehouseError: there are no such weights.
"""

_NOT_HERE = LoadFailed("its weights are not here yet")


class Weighed(msgspec.Struct, frozen=True, kw_only=True):
    """A decision, and why the chosen placement could not be weighed (None: it was, or its backend cannot tell).

    A fault is no reason to pass a placement over: its owner would not hear of it.
    """

    decision: Decision
    fault: EnginehouseError | None = None

    @property
    def explained(self) -> Decision:
        """The decision, the fault told in the reason."""
        chosen = self.decision.chosen
        if chosen is None or self.fault is None:
            return self.decision
        reason = f"{chosen.reason}; whether it fits is not known: {self.fault.message}"
        return msgspec.structs.replace(self.decision, chosen=msgspec.structs.replace(chosen, reason=reason))


async def place_fitting(
    name: str,
    model: ModelConfig,
    devices: Sequence[Device],
    backends: Mapping[str, BackendType],
    find_weights: FindWeights,
    unusable: Unusable = ALL_USABLE,
) -> Weighed:
    """Place the model called *name*, each candidate weighed by its backend's `fit`, in turn until one fits.

    Devices of one kind are weighed apart: what an engine takes may depend on the device's own memory.
    """
    footprints: dict[tuple[int, DeviceKind], dict[str, int]] = {}
    weighed: set[tuple[int, tuple[str, ...]]] = set()
    while True:
        decision = place(model.placements, devices, backends, footprints, unusable)
        chosen = decision.chosen
        if chosen is None or not chosen.devices:
            return Weighed(decision=decision)
        candidate = (chosen.index, tuple(device.id for device in chosen.devices))
        if candidate in weighed:
            return Weighed(decision=decision)
        weighed.add(candidate)
        try:
            path = None
            if chosen.backend.needs_weights:
                path = await find_weights(chosen.placement.source)
                if path is None:
                    return Weighed(decision=decision, fault=_NOT_HERE)
            fit = await chosen.backend.create().fit(chosen.for_backend(name, model, path), chosen.devices)
        except EnginehouseError as error:
            return Weighed(decision=decision, fault=error)
        except Exception as error:  # noqa: BLE001  # a plugin's fault must not end the commands that explain it
            broken = f"the backend '{chosen.backend.name}' broke: {type(error).__name__}: {error}"
            return Weighed(decision=decision, fault=LoadFailed(broken, retryable=False))
        footprints.setdefault((chosen.index, chosen.devices[0].kind), {}).update(fit.footprint_bytes)
