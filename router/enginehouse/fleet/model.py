"""A model, as clients name it, and the instances that serve it on this host."""

from __future__ import annotations

from enginehouse.config import ModelConfig, Trust

from .choice import Select
from .deadlines import Deadlines
from .errors import InstanceUnavailable
from .instance import HostedInstance
from .planner import Planner
from .snapshot import ModelSnapshot


class Model:
    """What clients name: its configuration, and its instances (none: no placement holds).

    Its requests keep `deadlines`; `select` is asked before the router which instance serves one.
    """

    def __init__(
        self,
        name: str,
        config: ModelConfig,
        trust: Trust,
        planner: Planner,
        deadlines: Deadlines,
        select: Select | None,
    ) -> None:
        self.name = name
        self.config = config
        self.trust: Trust = trust
        self.instances: list[HostedInstance] = []
        self.deadlines = deadlines
        self.select = select
        self._planner = planner

    def nowhere(self) -> InstanceUnavailable:
        """Why it has no instance."""
        rejected = self._planner.plans[self.name].rejected
        reasons = "; ".join(f"placement {one.index}: {one.reason}" for one in rejected)
        return InstanceUnavailable(self.name, reason=reasons or "it has no instance", retry_after_s=60.0)

    def snapshot(self) -> ModelSnapshot:
        """How it is now."""
        plan = self._planner.plans[self.name]
        return ModelSnapshot(
            name=self.name,
            config=self.config,
            trust=self.trust,
            has_place=bool(plan.instances),
            instances=tuple(instance.snapshot() for instance in self.instances),
            rejected=plan.rejected,
        )
