"""All models of a configuration on this host."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence

from enginehouse.certificates import Certificates
from enginehouse.config import Config
from enginehouse.telemetry import get_logger
from enginehouse_plugin import BackendType, Device, InstanceChange

from .choice import Select
from .deadlines import Deadlines
from .errors import ModelNotFound
from .instance import HostedInstance
from .model import Model
from .plan import InstancePlan
from .planner import Planner
from .restart import RestartPolicy
from .snapshot import FleetSnapshot
from .sources import Fetch, fetch_in_thread

log = get_logger()


class Fleet:
    """The models of *config*, and an instance of each that has a place here.

    *config* has been bound to *backends*; *select* goes before the router's own choice among instances. `start` loads
    in the background; `close` ends everything. Without *certificates* nothing is proven.
    """

    def __init__(
        self,
        config: Config,
        backends: Mapping[str, BackendType],
        devices: Sequence[Device],
        *,
        fetch: Fetch = fetch_in_thread,
        on_change: Callable[[InstanceChange], None] | None = None,
        select: Select | None = None,
        policy: RestartPolicy | None = None,
        certificates: Certificates | None = None,
    ) -> None:
        self.planner = Planner(config.models, devices, backends)
        self.is_draining = False
        self._fetch = fetch
        self._on_change = on_change
        self._policy = policy
        self._certificates = certificates
        deadlines = Deadlines.of(config.server)
        self.models = {
            name: Model(name, model, config.trust_in(model), self.planner, deadlines, select)
            for name, model in config.models.items()
        }
        for name, plan in self.planner.plans.items():
            for planned in plan.instances:
                self._host(self.models[name], planned)

    def add_instance(self, model: str) -> HostedInstance:
        """Serve *model*, which has a place here, by one more instance; it loads when it is woken."""
        planned = self.planner.add(model).instances[-1]
        return self._host(self.models[model], planned)

    def _host(self, model: Model, planned: InstancePlan) -> HostedInstance:
        hosted = HostedInstance(
            planned,
            model.config,
            self.planner,
            fetch=self._fetch,
            on_change=self._on_change,
            policy=self._policy,
            certificates=self._certificates,
            trust=model.trust,
        )
        model.instances.append(hosted)
        return hosted

    def model(self, name: str) -> Model:
        """The model called *name*.

        Raises:
            ModelNotFound: there is none; the message lists those there are.
        """
        try:
            return self.models[name]
        except KeyError:
            raise ModelNotFound(name, known=self.models) from None

    def instances(self) -> Iterator[HostedInstance]:
        """All instances of all models."""
        for model in self.models.values():
            yield from model.instances

    def start(self) -> None:
        """Begin to load the models that are to be loaded at start."""
        for model in self.models.values():
            if not model.instances:
                reasons = self.planner.plans[model.name].reasons
                log.warning("model has no place on this host", model=model.name, reasons=reasons)
            elif model.config.load == "start":
                for hosted in model.instances:
                    hosted.wake()
        if not any(self.instances()):
            log.error("no model has a place on this host")

    async def close(self, drain_s: float = 0.0) -> None:
        """Take no more requests, give those that run *drain_s* seconds, then end all instances. Idempotent."""
        self.is_draining = True
        await asyncio.gather(*(hosted.close(drain_s) for hosted in self.instances()))

    def snapshot(self) -> FleetSnapshot:
        """How everything is now."""
        return FleetSnapshot(
            models={name: model.snapshot() for name, model in self.models.items()},
            devices=self.planner.devices,
            is_draining=self.is_draining,
        )
