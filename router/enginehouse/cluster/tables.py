"""The configuration of one engine on a node: of what a plan has decided, a table, and of that a configuration again."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from enginehouse.config import Config, bind, read_house
from enginehouse_plugin import BackendType, Device, Placement

from .messages import Order, Spec


def table_of(placement: Placement, kind: str, count: int) -> dict[str, Any]:
    """The table of a model that has *placement* alone, on *count* devices of *kind*."""
    options = {} if placement.options is None else msgspec.to_builtins(placement.options, enc_hook=str)
    default = {} if placement.options is None else _defaults(type(placement.options))
    own = {
        "backend": placement.backend,
        "source": placement.source,
        "requires": [kind],
        "devices": count,
        "python": placement.python,
        "options": {name: value for name, value in options.items() if name not in default or value != default[name]},
    }
    model = {
        "placements": [{name: value for name, value in own.items() if value is not None}],
        "context_tokens": placement.context_tokens,
        "task": placement.task,
        "dimensions": list(placement.dimensions),
    }
    return {name: value for name, value in model.items() if value is not None}


def _defaults(options: type[msgspec.Struct]) -> dict[str, Any]:
    """What an option is where nobody says: not sent, as a default may be a value that is not to be written."""
    return {
        field.encode_name: msgspec.to_builtins(field.default, enc_hook=str)
        for field in msgspec.structs.fields(options)
        if field.default is not msgspec.NODEFAULT
    }


def bound(spec: Spec, backends: Mapping[str, BackendType]) -> Config:
    """The configuration that serves *spec*, bound to the *backends* of its node.

    Raises:
        ConfigError: it cannot be used there.
    """
    raw = {"trust": spec.trust, "models": {spec.model: spec.table}}
    return bind(read_house(raw, file=None, folder=Path.cwd()), backends, {})


def house_of(order: Order, backends: Mapping[str, BackendType]) -> Config:
    """The same as a server.

    Raises:
        ConfigError: it cannot be used there.
    """
    raw = {
        "trust": order.spec.trust,
        "models": {order.spec.model: order.spec.table},
        "keys": [{"name": "cluster", "sha256": order.key_sha256}],
        "server": {"host": order.host, "port": 0, "docs": False, "console": False, "drain_timeout_s": 1.0},
        "log": {"format": "json"},
    }
    return bind(read_house(raw, file=None, folder=Path.cwd()), backends, {})


def on_node(spec: Spec, config: Config, path: str | None) -> Placement:
    """What the backend of *spec*, bound as *config*, is asked on its node; *path* is where its weights are there."""
    model = config.models[spec.model]
    placement = model.placements[0]
    return Placement(
        model=spec.model,
        backend=placement.backend,
        source=placement.source,
        path=path,
        context_tokens=model.said_context,
        python=placement.python,
        options=placement.options,
        task=model.task,
        dimensions=model.dimensions,
    )


def those(devices: tuple[Device, ...], ids: tuple[str, ...]) -> tuple[Device, ...]:
    """Those of *devices* that *ids* name, in their order."""
    by_id = {device.id: device for device in devices}
    return tuple(by_id[one] for one in ids if one in by_id)
