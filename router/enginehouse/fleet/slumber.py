"""The sleep of an instance whose engine can: most of its memory goes to others, and it returns sooner than by loading.

It still holds what is measured of it then. It wakes when it is wanted and has room again, in its turn like a load, and
ends when that little is needed, too, or when it has been unused for as long as it is kept.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Coroutine
from typing import Any, Final, Protocol

from enginehouse.telemetry import get_logger
from enginehouse_plugin import ExitReport, Instance, Sleepable
from enginehouse_plugin.errors import EnginehouseError

from .claims import NoRoom, Tenant
from .keeper import Keeper
from .loader import why_ended
from .plan import InstancePlan
from .snapshot import State

_STEP_S: Final = 120.0
"""In this time an engine has fallen asleep, or has woken, or it is ended."""

log = get_logger()


class Sleeper(Tenant, Protocol):
    """An instance, as far as its sleep goes."""

    keeper: Keeper

    @property
    def planned(self) -> InstancePlan:
        """The decision for it."""
        ...

    def begin_load(self, what: str) -> None:
        """Note that it wakes."""

    def note(self, state: State, reason: str) -> None:
        """Note that it is in *state* because of *reason*."""

    async def serve(self, instance: Instance) -> tuple[str, bool]:
        """Let requests in until it has ended, or must; returns why, and whether it has ended itself."""
        ...


async def in_turns(hosted: Sleeper, instance: Instance) -> tuple[str, bool]:
    """Have *instance* serve, and sleep where it leaves by that; returns as `Sleeper.serve` when it is to end."""
    while True:
        reason, has_ended = await hosted.serve(instance)
        stay = hosted.residence
        if has_ended or stay.leaving is None or not stay.may_sleep or not isinstance(instance, Sleepable):
            return reason, has_ended
        if (ends := await _sleep(hosted, instance, instance, reason)) is not None:
            stay.leave(ends)  # what happens to one that sleeps is no failure
            return ends, False


async def _sleep(hosted: Sleeper, instance: Instance, sleepable: Sleepable, reason: str) -> str | None:
    """Have *instance* sleep because of *reason*; returns why it is to end, None: it has woken."""
    if (problem := await _tried(hosted, "sleep", sleepable.sleep())) is not None:
        return problem
    hosted.residence.sleep()
    hosted.note("asleep", reason)
    await hosted.keeper.slept(hosted)
    closed = asyncio.ensure_future(instance.wait_closed())
    try:
        while True:
            if (ends := await _first(closed, hosted.residence.wait_roused())) is not None:
                return ends
            hosted.begin_load("wakes")
            told = hosted.residence.wait_roused(has_asked=True)
            try:
                return await _first(closed, _wake(hosted, sleepable), told)
            except NoRoom as error:  # whoever asked has gone
                hosted.residence.is_wanted_back = False
                hosted.note("asleep", error.message)
            except EnginehouseError as error:  # there cannot be room any more: a load tells those that wait
                return error.message
    finally:
        closed.cancel()


async def _wake(hosted: Sleeper, sleepable: Sleepable) -> str | None:
    """Wait for room, and have it wake; returns what went wrong, None: nothing."""
    planned = hosted.planned
    async with hosted.keeper.room(hosted, planned.footprint_bytes, planned.device_ids):
        return await _tried(hosted, "wake", sleepable.wake())


async def _tried(hosted: Sleeper, what: str, work: Awaitable[None]) -> str | None:
    """Do *work* of a backend; returns what went wrong, None: nothing."""
    try:
        async with asyncio.timeout(_STEP_S):
            await work
    except Exception as error:  # noqa: BLE001  # a plugin's fault must not end the task that watches over it
        told = f"it took longer than {_STEP_S:g} s" if isinstance(error, TimeoutError) else str(error)
        log.warning(f"instance did not {what}", instance=hosted.id, error=f"{type(error).__name__}: {told}")
        return f"it did not {what}: {told}"
    return None


async def _first(closed: asyncio.Future[ExitReport], *waits: Coroutine[None, None, str | None]) -> str | None:
    """What the first of *waits* comes to; the others are cancelled, and all of them if the engine has *closed*."""
    tasks = [asyncio.ensure_future(wait) for wait in waits]
    try:
        every: list[asyncio.Future[Any]] = [closed, *tasks]  # Any: of different results
        await asyncio.wait(every, return_when=asyncio.FIRST_COMPLETED)
        if closed.done():
            return f"it ended while it slept: {why_ended(closed)}"
        return next(task for task in tasks if task.done()).result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
