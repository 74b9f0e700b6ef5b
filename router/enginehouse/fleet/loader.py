"""Loading one instance: it is planned once more, its weights are fetched, its backend makes it, and ends it again."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from enginehouse.certificates import engine_of, fingerprint_of
from enginehouse.telemetry import get_logger
from enginehouse_plugin import Capabilities, Instance, OnProgress, Placement
from enginehouse_plugin.errors import EnginehouseError, LoadFailed

from .plan import InstancePlan
from .planner import Planner
from .sources import Fetch

_PROBE_S = 2.0

log = get_logger()


class Loader:
    """Loads the instance that *planned* decides on; `planned` follows what *planner* decides in each load."""

    def __init__(self, planned: InstancePlan, planner: Planner, fetch: Fetch) -> None:
        self.planned = planned
        self._planner = planner
        self._fetch = fetch

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

        plan = await self._planner.settle(before.model, find_weights)
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


async def identified(planned: InstancePlan, placement: Placement) -> str:
    """The fingerprint of what *planned* has loaded for *placement*."""
    engine: tuple[str, str | None] = (planned.backend.name, None)
    try:
        async with asyncio.timeout(_PROBE_S):
            engine = await engine_of(planned.backend, placement.python)
    except Exception as error:  # noqa: BLE001  # a plugin's probe costs no more than the engine's version
        log.debug("engine's version not told", instance=planned.id, problem=str(error))
    return await asyncio.to_thread(fingerprint_of, planned.backend, placement, planned.devices, engine)


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
        await instance.unload()
    except EnginehouseError as error:
        log.warning("instance did not unload", instance=instance_id, error=error.message)
    except Exception:  # a plugin's fault must not end the task that watches over it
        log.exception("backend broke while unloading", instance=instance_id)


def why_not_loaded(error: EnginehouseError) -> str:
    """Why there is no instance, with the engine's last words."""
    last_words = error.last_words if isinstance(error, LoadFailed) else ()
    return with_last_words(error.message, last_words)


def with_last_words(reason: str, last_words: Sequence[str]) -> str:
    """*reason*, and the last line that the engine wrote."""
    return f"{reason}; last words: {last_words[-1]}" if last_words else reason
