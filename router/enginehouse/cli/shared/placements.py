"""Every placement of a model on this host, chosen or not, with the reason."""

from __future__ import annotations

import msgspec

from enginehouse.cli.shared.setup import Setup


class PlacementRow(msgspec.Struct, frozen=True, kw_only=True):
    """A placement of a model; `devices` are the ids that it takes, if it is chosen."""

    index: int
    backend: str
    source: str
    is_chosen: bool
    reason: str
    devices: tuple[str, ...] = ()


def placements_of(setup: Setup, model: str) -> list[PlacementRow]:
    """The placements of *model* in the owner's order.

    Raises:
        click.UsageError: the configuration has no such model.
    """
    decision = setup.decision(model)
    reasons = {rejected.index: rejected.reason for rejected in decision.rejected}
    devices: tuple[str, ...] = ()
    if decision.chosen is not None:
        reasons[decision.chosen.index] = decision.chosen.reason
        devices = tuple(device.id for device in decision.chosen.devices)
    rows = []
    for at, placement in enumerate(setup.config.models[model].placements):
        is_chosen = decision.chosen is not None and decision.chosen.index == at
        rows.append(
            PlacementRow(
                index=at,
                backend=placement.backend,
                source=placement.source,
                is_chosen=is_chosen,
                reason=reasons[at],
                devices=devices if is_chosen else (),
            )
        )
    return rows
