"""Instances that come in the place of others, and those that leave: what runs on them ends there, undisturbed."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Sequence

from enginehouse.telemetry import get_logger

from .instance import HostedInstance
from .model import Model

log = get_logger()


class Turnover:
    """Has instances of a model replaced and ended; `leaving` are those that end, each with the reason.

    A request that has begun, or waits at an instance that is ready, is served there: nothing ends before. *longest_s*
    tells how long that may take.
    """

    def __init__(self, longest_s: Callable[[], float]) -> None:
        self.leaving: dict[HostedInstance, str] = {}
        self._longest_s = longest_s
        self._coming: dict[str, asyncio.Task[None]] = {}
        self._ending: set[asyncio.Task[None]] = set()
        self._has_changed = asyncio.Event()

    def note_change(self) -> None:
        """Hear that the state of an instance has changed."""
        self._has_changed.set()

    def replace(self, model: Model, coming: Sequence[HostedInstance], reason: str) -> None:
        """Have *coming* in place of the instances of *model*: beside those that are ready until one of them is, too."""
        self._forget(model)
        former = [hosted for hosted in model.instances if hosted.planned.host is None]
        others = [hosted for hosted in model.instances if hosted.planned.host is not None]
        serving = [hosted for hosted in former if hosted.state == "ready"]
        model.instances = [*coming, *serving, *others]
        was_at_work = any(hosted.state in ("ready", "loading", "failed") for hosted in former)
        for hosted in former:
            if hosted not in serving:
                self.end(hosted, reason)
        if was_at_work or model.config.load == "start":
            for hosted in coming:
                if not hosted.planned.is_spare:
                    hosted.load()
            for hosted in serving:
                hosted.pin(is_pinned=False)  # where there is no room beside them, they give way
        if serving and coming:
            self._coming[model.name] = asyncio.create_task(self._await(model, coming, serving, reason))
        else:
            model.instances = [*coming, *others]
            for hosted in serving:
                self.end(hosted, reason)

    def remove(self, model: Model, reason: str) -> None:
        """End all instances of *model*."""
        self._forget(model)
        former, model.instances = model.instances, []
        for hosted in former:
            self.end(hosted, reason)

    def end(self, hosted: HostedInstance, reason: str) -> None:
        """End *hosted*, which nobody is sent to any more, when those that it has are served."""
        self.leaving[hosted] = reason
        self._keep(self._end(hosted, reason))

    async def close(self, drain_s: float) -> None:
        """Give those that leave *drain_s* seconds, then end them; nothing comes any more."""
        for task in self._coming.values():
            task.cancel()
        leaving = list(self.leaving)
        await asyncio.gather(*(hosted.close(drain_s) for hosted in leaving))
        for task in [*self._ending, *self._coming.values()]:
            task.cancel()
            await asyncio.wait([task])

    async def _await(
        self, model: Model, coming: Sequence[HostedInstance], serving: Sequence[HostedInstance], reason: str
    ) -> None:
        """Wait until one of *coming* is ready, then end those *serving*; one that cannot load ends nothing."""
        has_told = False
        while not any(hosted.state == "ready" for hosted in coming):
            if not has_told and all(hosted.state == "failed" for hosted in coming):
                has_told = True
                log.error("new instance not ready", model=model.name, reason=coming[0].reason, instead=serving[0].id)
            self._has_changed.clear()
            await self._has_changed.wait()
        model.instances = [hosted for hosted in model.instances if hosted not in serving]
        for hosted in serving:
            self.end(hosted, reason)

    async def _end(self, hosted: HostedInstance, reason: str) -> None:
        try:
            if hosted.state == "ready":
                log.info("instance leaving", instance=hosted.id, model=hosted.model, reason=reason)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._longest_s()):
                        await hosted.gate.wait_idle()
            hosted.gate.send_on()
            await hosted.close(reason=reason)
        finally:
            self.leaving.pop(hosted, None)

    def _forget(self, model: Model) -> None:
        """Wait no more for what should have come to *model*."""
        if (task := self._coming.pop(model.name, None)) is not None:
            task.cancel()

    def _keep(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)
