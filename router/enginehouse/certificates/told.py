"""What is written down beside a fingerprint: the engine's build, the options that it was loaded with, the devices."""

from __future__ import annotations

import re
from collections.abc import Mapping

import msgspec

from enginehouse_plugin import BackendType, Device, Placement

_PLAIN = re.compile(r"[\w.+:-]{1,40}")
_SECRET = ("key",)


def told_of(
    kind: BackendType, placement: Placement, devices: tuple[Device, ...], engine: tuple[str, str | None]
) -> Mapping[str, str]:
    """How *kind* serves *placement* on *devices* with *engine*, its name and version.

    Of the options those with a number or a word; texts, and what keys are read from, stay where they are.
    """
    options = msgspec.to_builtins(placement.options, enc_hook=str) if placement.options is not None else {}
    plain = {
        name: "default" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
        for name, value in options.items()
        if not name.startswith(_SECRET)
        and (isinstance(value, (bool, int, float, type(None))) or (isinstance(value, str) and _PLAIN.fullmatch(value)))
    }
    return {
        "backend": f"{kind.name} {kind.version}",
        "engine": " ".join(filter(None, engine)),
        "source": placement.source,
        "devices": ", ".join(f"{device.id} ({device.name})" for device in devices) or "none of this host",
        "context_tokens": str(placement.context_tokens or "its own"),
        **{f"option {name}": value for name, value in sorted(plain.items())},
    }
