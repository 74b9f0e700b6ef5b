"""The plans of all models on this host, and what has been learnt about their placements since."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence

import msgspec

from enginehouse.config import ModelConfig
from enginehouse.telemetry import get_logger
from enginehouse_plugin import BackendType, Device, DeviceKind
from enginehouse_plugin.errors import ENGINE_WITHOUT_GPU, EnginehouseError, LoadFailed

from .plan import Experience, InstancePlan, ModelPlan, plan_model

FindWeights = Callable[[InstancePlan], Awaitable[str | None]]
"""Returns the local path of the weights of a planned instance; None: it needs none.

Raises:
    EnginehouseError: there are no such weights, or they are not here.
"""

log = get_logger()


class Planner:
    """Plans *models* for *devices*, one instance of each; `plans` is what holds now.

    A plan is made again when an instance loads, because only then its weights are here and its backend can tell its
    size, and because an engine may find that it cannot use its devices.
    """

    def __init__(
        self, models: Mapping[str, ModelConfig], devices: Sequence[Device], backends: Mapping[str, BackendType]
    ) -> None:
        self.devices = tuple(devices)
        self._models = models
        self._backends = backends
        self._counts = dict.fromkeys(models, 1)
        self._unusable: dict[str, dict[tuple[int, DeviceKind], str]] = {name: {} for name in models}
        self.plans: dict[str, ModelPlan] = {name: self._plan(name) for name in models}

    def add(self, model: str) -> ModelPlan:
        """Plan one more instance of *model*."""
        self._counts[model] += 1
        self.plans[model] = self._plan(model)
        return self.plans[model]

    async def settle(self, model: str, find_weights: FindWeights) -> ModelPlan:
        """Plan *model* once more, each candidate weighed by its backend's `fit`, in turn until those planned fit.

        Devices of one kind are weighed apart: what an engine takes may depend on the device's own memory.
        """
        footprints: dict[tuple[int, DeviceKind], dict[str, int]] = {}
        weighed: set[tuple[int, tuple[str, ...]]] = set()
        while True:
            plan = self._plan(model, footprints)
            candidate = next(
                (one for one in plan.instances if one.devices and (one.index, one.device_ids) not in weighed), None
            )
            if candidate is None:
                break
            weighed.add((candidate.index, candidate.device_ids))
            try:
                path = await find_weights(candidate)
                fit = await candidate.backend.create().fit(candidate.for_backend(path), candidate.devices)
            except EnginehouseError as error:
                plan = _with_fault(plan, error)
                break
            except Exception as error:  # noqa: BLE001  # a plugin's fault must not end what asks for a plan
                name = candidate.backend.name
                broken = f"the backend '{name}' broke: {type(error).__name__}: {error}"
                plan = _with_fault(plan, LoadFailed(broken, retryable=False))
                break
            footprints.setdefault((candidate.index, candidate.devices[0].kind), {}).update(fit.footprint_bytes)
        self.plans[model] = plan
        return plan

    def rule_out(self, planned: InstancePlan, error: EnginehouseError) -> bool:
        """Hear that loading *planned* ended with *error*; returns whether its devices are ruled out from now on."""
        if error.code != ENGINE_WITHOUT_GPU or not planned.devices:
            return False
        kind = planned.devices[0].kind
        log.warning("engine cannot use its device", model=planned.model, placement=planned.index, device=kind,
                    reason=error.message)  # fmt: skip
        self._unusable[planned.model][planned.index, kind] = error.message
        return True

    def _plan(
        self, model: str, footprints: Mapping[tuple[int, DeviceKind], Mapping[str, int]] | None = None
    ) -> ModelPlan:
        experience = Experience(footprints=footprints or {}, unusable=self._unusable[model])
        count = self._counts[model]
        return plan_model(model, self._models[model], self.devices, self._backends, experience, count)


def _with_fault(plan: ModelPlan, fault: EnginehouseError) -> ModelPlan:
    # All instances are of one placement, so that a fault in weighing one is a fault in all.
    instances = tuple(msgspec.structs.replace(one, fault=fault) for one in plan.instances)
    return msgspec.structs.replace(plan, instances=instances)
