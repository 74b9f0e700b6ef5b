"""What a look at a host's hardware finds."""

from __future__ import annotations

import msgspec

from enginehouse_plugin import Device


class Trouble(msgspec.Struct, frozen=True, kw_only=True):
    """Why a piece of hardware cannot be used, and what to do. `name` is its id, or the kind of device it would be."""

    name: str
    problem: str
    fix: str


class Survey(msgspec.Struct, frozen=True, kw_only=True):
    """The devices that can be used, and the troubles of those that cannot."""

    devices: tuple[Device, ...] = ()
    troubles: tuple[Trouble, ...] = ()
