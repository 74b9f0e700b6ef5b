"""What a request to a model gets where it is silent, without loading the model."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import msgspec

from enginehouse.cli.shared.setup import Setup
from enginehouse.dialects.profiles import chosen, defaults_of
from enginehouse.fleet import Decided, NotFetched, decide, find_weights, recommended
from enginehouse_plugin.errors import LoadError


class DefaultRow(msgspec.Struct, frozen=True, kw_only=True):
    """A default as the listings show it; `remark` says why one that the weights recommend does not hold."""

    field: str
    value: Any = None
    origin: str
    remark: str = ""

    @property
    def words(self) -> str:
        """In few words, for a line of them."""
        return f"{self.field} {self.remark}" if self.remark else f"{self.field} {self.value!r} ({self.origin})"


def defaults_in(setup: Setup, model: str) -> list[DefaultRow]:
    """The defaults of *model*; what its weights recommend is among them if they are here, and it has a place here."""
    profile = defaults_of(chosen(setup.config, setup.plugins.profiles))
    decided: Decided = decide(setup.config.models[model].defaults, profile, asyncio.run(_recommended(setup, model)))
    rows = [DefaultRow(field=name, value=one.value, origin=one.origin) for name, one in decided.values.items()]
    return rows + [DefaultRow(field=name, origin="weights", remark=why) for name, why in decided.refused.items()]


async def _recommended(setup: Setup, model: str) -> Mapping[str, Any]:
    planned = setup.instance(model)
    if planned is None:
        return {}
    try:
        path = find_weights(planned.backend, planned.placement.source)
    except (NotFetched, LoadError):
        path = None
    return {} if path is None else await recommended(planned.backend.create(), planned.for_backend(path))
