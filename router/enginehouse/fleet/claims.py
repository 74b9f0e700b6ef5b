"""Wishes for room, those who have them, and what is decided about them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Protocol

import msgspec

from enginehouse_plugin.errors import LoadError

from .budget import Holding
from .residence import Residence


class NoRoom(LoadError):
    """There is no room, and nobody waits for whom others would give way."""

    code = "no_room"


class Weight(msgspec.Struct, frozen=True):
    """Bytes by device that an instance has been found to take, and of them those that count as used by the system."""

    n_bytes: Mapping[str, int]
    private: Mapping[str, int]


class Tenant(Protocol):
    """An instance, as far as its memory goes."""

    id: str
    residence: Residence

    async def weigh(self) -> Weight | None:
        """Measure what it takes; None where nobody can tell."""
        ...

    def vacate(self, reason: str, *, may_sleep: bool = False) -> None:
        """Let nobody in any more, and give the memory back once nothing runs: by sleeping, if it *may* and can."""

    def asleep(self) -> Mapping[str, int] | None:
        """What it would hold of each device if it slept, as far as that is known; None: it cannot, or does."""
        ...

    def stay(self) -> None:
        """Take `vacate` back, if it is in time."""


class Claim:
    """One wish for room; `reason` says what it waits for."""

    def __init__(self, tenant: Tenant, needed: Mapping[str, int], devices: Sequence[str]) -> None:
        self.tenant = tenant
        self.needed = {device: n_bytes for device, n_bytes in needed.items() if n_bytes}
        self.devices = frozenset((*devices, *self.needed))
        self.granted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.leaving: set[str] = set()
        self.has_swapped = False
        self.before: Holding | None = None  # what it holds while it sleeps
        self.reason = ""


class Eviction(msgspec.Struct, frozen=True, kw_only=True):
    """Who gives way, by sleeping if they *may* and can; nobody, and why not."""

    gives_way: tuple[str, ...] = ()
    may_sleep: bool = False
    reason: str = ""


class Foreseen(msgspec.Struct, frozen=True, kw_only=True):
    """What a load would come to now: whether there is room, or would be once these have given way, and why."""

    fits: bool
    gives_way: tuple[str, ...] = ()
    reason: str
