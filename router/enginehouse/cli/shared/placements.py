"""Every placement of a model on this host, chosen or not, with the reason."""

from __future__ import annotations

import msgspec

from enginehouse.cli.shared.setup import Setup


class PlacementRow(msgspec.Struct, frozen=True, kw_only=True):
    """A placement of a model; `devices` are the ids that it takes, if it is chosen, and `instance` what it becomes.

    A placement that becomes several instances is a row for each.
    """

    index: int
    backend: str
    source: str
    is_chosen: bool
    reason: str
    devices: tuple[str, ...] = ()
    instance: str | None = None


def placements_of(setup: Setup, model: str) -> list[PlacementRow]:
    """The placements of *model* in the owner's order.

    Raises:
        click.UsageError: the configuration has no such model.
    """
    plan = setup.plan(model)
    rows = [
        PlacementRow(
            index=rejected.index,
            backend=rejected.placement.backend,
            source=rejected.placement.source,
            is_chosen=False,
            reason=rejected.reason,
        )
        for rejected in plan.rejected
    ]
    rows += [
        PlacementRow(
            index=planned.index,
            backend=planned.placement.backend,
            source=planned.placement.source,
            is_chosen=True,
            reason=planned.explanation,
            devices=planned.device_ids,
            instance=planned.id,
        )
        for planned in plan.instances
    ]
    return sorted(rows, key=lambda row: row.index)
