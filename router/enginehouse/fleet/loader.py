"""Loading one instance: it is planned once more, its weights are fetched, its backend makes it, and ends it again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager

from enginehouse import hardware
from enginehouse.certificates import engine_of, fingerprint_of
from enginehouse.telemetry import get_logger
from enginehouse_plugin import Capabilities, ExitReport, Instance, LoadProgress, OnProgress, Placement, Resident, Run
from enginehouse_plugin.errors import EnginehouseError, LoadFailed

from .claims import Weight
from .plan import InstancePlan
from .planner import AnyPlanner
from .sources import Fetch

_PROBE_S = 2.0
_UNLOAD_S = 60.0

log = get_logger()


class Loader:
    """Loads the instance that *planned* decides on; `planned` follows what *planner* decides in each load.

    *room* makes room for a plan, for as long as its backend loads in the block.
    """

    def __init__(
        self,
        planned: InstancePlan,
        planner: AnyPlanner,
        fetch: Fetch,
        room: Callable[[InstancePlan], AbstractAsyncContextManager[None]],
    ) -> None:
        self.planned = planned
        self._room = room
        self._planner = planner
        self._fetch = fetch

    def note_speed(self, tokens_s: float) -> None:
        """Note how many tokens a second requests got of it; 0: not known."""
        if tokens_s:
            self._planner.note_speed(self.planned, tokens_s)

    async def load(self, on_progress: OnProgress) -> tuple[Instance, Placement]:
        """Load, on other devices or by another placement where the engine cannot use the first ones.

        Returns the instance and what its backend was asked for.

        Raises:
            LoadError: it could not be made.
        """
        while True:
            self.planned, path = await self._settle(on_progress)
            placement = self.planned.for_backend(path)
            try:
                async with self._room(self.planned):
                    instance = await self._ask(placement, on_progress)
            except EnginehouseError as error:
                if not self._planner.rule_out(self.planned, error):
                    raise
                continue
            if not isinstance(getattr(instance, "capabilities", None), Capabilities):
                await unload(instance, self.planned.id)
                told = f"the backend '{self.planned.backend.name}' does not tell its capabilities"
                raise LoadFailed(told, retryable=False)
            return instance, placement

    async def _settle(self, on_progress: OnProgress) -> tuple[InstancePlan, str | None]:
        """Fetch weights and plan once more, now that their size can be told; returns the plan and the path."""
        before = self.planned
        paths: dict[str, str | None] = {}

        async def find_weights(planned: InstancePlan) -> str | None:
            source = planned.placement.source
            if source not in paths:
                try:
                    paths[source] = await self._fetch(planned.backend, source, on_progress)
                except EnginehouseError:
                    raise
                except Exception as error:  # a full disk must not end the task that watches over the instance
                    log.exception("weights cannot be had", model=planned.model, source=source)
                    raise LoadFailed(f"its weights cannot be had: {type(error).__name__}: {error}") from error
            return paths[source]

        plan = await self._planner.settle(before.model, find_weights, spare=before.is_spare)
        planned = next((planned for planned in plan.instances if planned.id == before.id), None)
        if planned is None:
            told = f"no placement of it fits on this host ({plan.reasons})"
            raise LoadFailed(told, retryable=False, code="does_not_fit")
        if planned.fault is not None:
            raise planned.fault
        if planned.index != before.index:
            reason = next((rejected.reason for rejected in plan.rejected if rejected.index == before.index), "")
            log.warning("placement passed over", model=before.model, placement=before.index, reason=reason,
                        instead=planned.index)  # fmt: skip
        return planned, await find_weights(planned)

    async def _ask(self, placement: Placement, on_progress: OnProgress) -> Instance:
        planned = self.planned
        try:
            return await planned.backend.create().load(placement, planned.devices, on_progress)
        except EnginehouseError:
            raise
        except Exception as error:  # a plugin's fault must not end the task that watches over it
            name = planned.backend.name
            log.exception("backend broke while loading", model=planned.model, backend=name)
            raise LoadFailed(f"the backend '{name}' broke: {type(error).__name__}: {error}", retryable=False) from error


async def weighed(instance: Instance, planned: InstancePlan, *, is_asleep: bool = False) -> Weight | None:
    """What *instance*, loaded as *planned*, takes of memory; None where nobody can tell.

    Of an engine on a GPU the pages of files do not count: it has read them into the GPU. What an engine takes of
    Apple's GPU is not told by the system, so that its estimate stays; one that *is asleep* holds nothing of it.
    """
    kinds = {device.kind for device in planned.devices}
    if not isinstance(instance, Resident) or not kinds or ("apple" in kinds and not is_asleep):
        return None
    try:
        pids = tuple(instance.process_ids)
        host, cuda = await asyncio.to_thread(hardware.held, pids)
    except Exception:  # a plugin's fault must not end the task that watches over it
        log.exception("memory of an instance cannot be measured", instance=planned.id)
        return None
    on_cpu = host.n_bytes if "cpu" in kinds else host.private_bytes
    return Weight({**cuda, "cpu": on_cpu}, {**cuda, "cpu": host.private_bytes})


async def identified(planned: InstancePlan, placement: Placement) -> tuple[str, tuple[str, str | None]]:
    """The fingerprint of what *planned* has loaded for *placement*, and its engine's name and version."""
    engine: tuple[str, str | None] = (planned.backend.name, None)
    try:
        async with asyncio.timeout(_PROBE_S):
            engine = await engine_of(planned.backend, placement.python)
    except Exception as error:  # noqa: BLE001  # a plugin's probe costs no more than the engine's version
        log.debug("engine's version not told", instance=planned.id, problem=str(error))
    return await asyncio.to_thread(fingerprint_of, planned.backend, placement, planned.devices, engine), engine


async def drain(instance: Instance, instance_id: str, timeout_s: float) -> None:
    """Let what runs on *instance* finish, whatever its backend makes of that."""
    try:
        await instance.drain(timeout_s)
    except EnginehouseError as error:
        log.warning("instance did not drain", instance=instance_id, error=error.message)
    except Exception:  # a plugin's fault must not cut other instances short
        log.exception("backend broke while draining", instance=instance_id)


async def unload(instance: Instance, instance_id: str) -> None:
    """End *instance*, whatever its backend makes of that."""
    try:
        async with asyncio.timeout(_UNLOAD_S):
            await instance.unload()
    except TimeoutError:
        log.error("instance did not unload", instance=instance_id, error=f"it took longer than {_UNLOAD_S:g} s")
    except EnginehouseError as error:
        log.warning("instance did not unload", instance=instance_id, error=error.message)
    except Exception:  # a plugin's fault must not end the task that watches over it
        log.exception("backend broke while unloading", instance=instance_id)


async def wait_released(run: Run, instance_id: str) -> None:
    """Wait until *run*, which was cancelled, is released, whatever its backend makes of that."""
    try:
        await run.wait_released()
    except Exception:  # a plugin's fault must not cost a slot
        log.exception("backend broke while it released a request", instance=instance_id)


def is_news(before: LoadProgress | None, now: LoadProgress) -> bool:
    """Whether a line of the log is due: one for each stage and each tenth, as a download reports thousands of times."""
    return before is None or (before.stage, _tenth(before)) != (now.stage, _tenth(now))


def _tenth(progress: LoadProgress) -> int | None:
    return None if progress.fraction is None else int(progress.fraction * 10)


def why_not_loaded(error: EnginehouseError) -> str:
    """Why there is no instance, with the engine's last words."""
    last_words = error.last_words if isinstance(error, LoadFailed) else ()
    return with_last_words(error.message, last_words)


def with_last_words(reason: str, last_words: Sequence[str]) -> str:
    """*reason*, and the last line that the engine wrote."""
    return f"{reason}; last words: {last_words[-1]}" if last_words else reason


def why_ended(closed: asyncio.Future[ExitReport]) -> str:
    """Why an instance has ended, which *closed* tells."""
    if closed.cancelled():
        return "its end could not be told"
    if error := closed.exception():
        return f"its end could not be told: {type(error).__name__}: {error}"
    report = closed.result()
    return with_last_words(report.reason, report.last_words)
