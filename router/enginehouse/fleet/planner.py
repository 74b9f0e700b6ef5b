"""The plans of all models on this host, and what has been learnt about their placements since."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Literal, Protocol

import msgspec

from enginehouse.config import BudgetConfig, ModelConfig
from enginehouse.telemetry import get_logger
from enginehouse_plugin import BackendType, Device, DeviceKind
from enginehouse_plugin.errors import ENGINE_WITHOUT_GPU, EnginehouseError, LoadFailed

from .budget import limits
from .nodes import Stay
from .plan import Experience, InstancePlan, ModelPlan, plan_model
from .standing import Judge
from .stretch import longest_context

FindWeights = Callable[[InstancePlan], Awaitable[str | None]]
"""Returns the local path of the weights of a planned instance; None: it needs none.

Raises:
    EnginehouseError: there are no such weights, or they are not here.
"""

log = get_logger()


class AnyPlanner(Protocol):
    """What a load asks of plans."""

    async def settle(self, model: str, find_weights: FindWeights, *, spare: bool = False) -> ModelPlan:
        """See `Planner.settle`."""
        ...

    def rule_out(self, planned: InstancePlan, error: EnginehouseError) -> bool:
        """See `Planner.rule_out`."""
        ...

    def note_speed(self, planned: InstancePlan, tokens_s: float) -> None:
        """See `Planner.note_speed`."""


class Planner:
    """Plans *models* for *devices*, as many instances of each as are asked for; `plans` is what holds now.

    With a *judge* placements that are certified come before others, for models of which only what is proven is trusted.

    A plan is made again when an instance loads, because only then its weights are here and its backend can tell its
    size, and because an engine may find that it cannot use its devices.
    """

    def __init__(
        self,
        models: Mapping[str, ModelConfig],
        devices: Sequence[Device],
        backends: Mapping[str, BackendType],
        budget: BudgetConfig | None = None,
        judge: Judge | None = None,
    ) -> None:
        self.devices = tuple(devices)
        self.follow(budget or BudgetConfig())
        self._contexts: dict[str, dict[tuple[int, DeviceKind], int]] = {}
        self._speeds: dict[str, dict[int, float]] = {}
        self._unproven: dict[str, dict[int, str]] = {}
        self._judge = judge
        self._models = models
        self._backends = backends
        self._counts: dict[str, int | Literal["auto"]] = {name: model.replicas for name, model in models.items()}
        self._first: dict[str, int] = {}  # the number of its first instance, where it has been planned before
        self._unusable: dict[str, dict[tuple[int, DeviceKind], str]] = {name: {} for name in models}
        self._lacking: Mapping[str, Mapping[str, str]] = {}
        self._is_cluster = False
        self._running: Callable[[str], Mapping[int, Stay]] = _nowhere
        self.plans: dict[str, ModelPlan] = {name: self._plan(name) for name in models}

    def follow(self, budget: BudgetConfig) -> None:
        """Plan within *budget* from now on."""
        bounds = limits(self.devices, budget, {}, is_static=True)
        self._room = {bound.devices[0]: bound.n_bytes for bound in bounds if len(bound.devices) == 1}

    def follow_nodes(
        self,
        devices: Sequence[Device],
        lacking: Mapping[str, Mapping[str, str]],
        running: Callable[[str], Mapping[int, Stay]],
        budget: BudgetConfig,
    ) -> None:
        """Plan all models for *devices*, those of a cluster's nodes, from now on.

        *lacking* says why nodes have not an engine, and *running* where the instances of a model run.
        """
        self.devices, self._lacking, self._running = tuple(devices), lacking, running
        self.follow(budget)
        self._is_cluster = True
        busy = self._busy()
        for name, before in self.plans.items():
            busy.subtract(_devices_of(before))
            self.plans[name] = plan = self._plan(name, busy=busy)
            busy.update(_devices_of(plan))

    def note_speed(self, planned: InstancePlan, tokens_s: float) -> None:
        """Note how many tokens a second requests got of what was *planned*."""
        self._speeds.setdefault(planned.model, {})[planned.index] = tokens_s

    def put(self, model: str, config: ModelConfig) -> ModelPlan:
        """Plan *model* as *config* has it from now on; its instances get numbers that none had before."""
        if model in self.plans:
            self._first[model] = self._first.get(model, 0) + len(self.plans[model].instances)
        self._models = {**self._models, model: config}
        self._counts[model] = config.replicas
        self._unusable[model] = {}
        self._speeds.pop(model, None)
        self._contexts.pop(model, None)
        self._unproven.pop(model, None)
        self.plans[model] = self._plan(model)
        return self.plans[model]

    def drop(self, model: str) -> None:
        """Plan *model* no more."""
        self._first[model] = self._first.get(model, 0) + len(self.plans.pop(model).instances)

    def add(self, model: str) -> InstancePlan:
        """Plan one more instance of *model*.

        Raises:
            LoadFailed: it has no place beside the others.
        """
        before = self.plans[model]
        count = self._counts[model]
        self._counts[model] = self._number_of(before) + 1
        plan = self._plan(model)
        own = [one for one in plan.instances if not one.is_spare]
        if len(own) <= self._number_of(before):
            self._counts[model] = count
            raise LoadFailed(f"no place for one more instance of it ({plan.reasons})", code="does_not_fit")
        self.plans[model] = plan
        return own[-1]

    def _number_of(self, plan: ModelPlan) -> int:
        return sum(not one.is_spare for one in plan.instances)

    async def settle(self, model: str, find_weights: FindWeights, *, spare: bool = False) -> ModelPlan:
        """Plan *model* once more, each candidate weighed by its backend's `fit`, in turn until those planned fit.

        The *spare* one is weighed where it is to load: its weights may not be here before.

        Devices of one kind are weighed apart: what an engine takes may depend on the device's own memory.
        """
        footprints: dict[tuple[int, DeviceKind], dict[str, int]] = {}
        self._contexts.pop(model, None)
        unproven = self._unproven[model] = {}
        certified = await self._judge.certified(model, self._models[model]) if self._judge else frozenset()
        weighed: set[tuple[int, tuple[str, ...]]] = set()
        while True:
            plan = self._plan(model, footprints)
            candidate = next(
                (
                    one
                    for one in plan.instances
                    if one.devices and (one.index, one.device_ids) not in weighed and (spare or not one.is_spare)
                ),
                None,
            )
            if candidate is None:
                break
            weighed.add((candidate.index, candidate.device_ids))
            try:
                path = await find_weights(candidate)
                if self._models[model].context_tokens == "auto":
                    candidate = await self._stretched(candidate, path)
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
            # Another placement is worth a look where there is a certificate of it: its weights may have to be fetched.
            if self._judge is None or candidate.index in unproven or not (unproven or certified - {candidate.index}):
                continue
            if (why := await self._judge.lacks(candidate, path)) is not None:
                unproven[candidate.index] = why
        if model in self.plans:  # it may have been dropped meanwhile
            self.plans[model] = plan
        return plan

    async def _stretched(self, planned: InstancePlan, path: str | None) -> InstancePlan:
        """*planned*, with the longest context that fits on its devices; without one where nobody can tell."""
        replicas = self._counts[planned.model]
        places = max(1, sum(one.kind == planned.devices[0].kind for one in self.devices) // len(planned.devices))
        share = 1 if replicas == "auto" else -(-replicas // places)  # of them on one device
        backend = planned.backend.create()

        async def fits(tokens: int) -> bool:
            placement = msgspec.structs.replace(planned.for_backend(path), context_tokens=tokens)
            try:
                needed = (await backend.fit(placement, planned.devices)).footprint_bytes
            except EnginehouseError:  # more than the model has
                return False
            return bool(needed) and all(share * n_bytes <= self._room.get(at, 0) for at, n_bytes in needed.items())

        tokens = await longest_context(fits)
        known = self._contexts.setdefault(planned.model, {})
        key = (planned.index, planned.devices[0].kind)
        if tokens is not None:
            known[key] = min(tokens, known.get(key, tokens))
        return msgspec.structs.replace(planned, context_tokens=known.get(key))

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
        self,
        model: str,
        footprints: Mapping[tuple[int, DeviceKind], Mapping[str, int]] | None = None,
        busy: Mapping[str, int] | None = None,
    ) -> ModelPlan:
        if busy is None:
            busy = self._busy(beside=model) if self._is_cluster else {}
        experience = Experience(
            footprints=footprints or {},
            unusable=self._unusable[model],
            room=self._room,
            contexts=self._contexts.get(model, {}),
            speeds=self._speeds.get(model, {}),
            unproven=self._unproven.get(model, {}),
            running=self._running(model),
            busy=busy,
            lacking=self._lacking,
        )
        count, first = self._counts[model], self._first.get(model, 0)
        return plan_model(model, self._models[model], self.devices, self._backends, experience, count, first)

    def _busy(self, beside: str | None = None) -> Counter[str]:
        """How many instances are planned on each device, without those of the model *beside*."""
        others = (plan for name, plan in self.plans.items() if name != beside)
        return Counter(device for plan in others for device in _devices_of(plan))


def _devices_of(plan: ModelPlan) -> list[str]:
    return [device.id for planned in plan.instances for device in planned.devices]


def _nowhere(model: str) -> Mapping[int, Stay]:  # noqa: ARG001
    """What runs on a cluster, where there is none."""
    return {}


def _with_fault(plan: ModelPlan, fault: EnginehouseError) -> ModelPlan:
    # All instances are of one placement, so that a fault in weighing one is a fault in all.
    instances = tuple(msgspec.structs.replace(one, fault=fault) for one in plan.instances)
    return msgspec.structs.replace(plan, instances=instances)
