"""Models by name, and the instances that serve them on this host."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence

from enginehouse.certificates import Certificates
from enginehouse.config import Config, ModelConfig
from enginehouse.telemetry import InstanceGauge, get_logger
from enginehouse_plugin import BackendType, Device, InstanceChange

from .choice import Select
from .deadlines import Deadlines
from .errors import ModelNotFound
from .fitting import FindWeights, Weighed, place_fitting
from .lifecycle import HostedInstance
from .model import Model
from .placement import Unusable, place
from .restart import RestartPolicy
from .settling import PlaceAgain
from .sources import ResolveSource, resolve_source

log = get_logger()


class Fleet:
    """All models of a configuration on this host.

    *config* has been bound to *backends*; *select* goes before the router's own choice among instances. `start` loads
    in the background; `close` ends everything. Without *certificates* nothing is proven.
    """

    def __init__(
        self,
        config: Config,
        backends: Mapping[str, BackendType],
        devices: Sequence[Device],
        *,
        resolve_source: ResolveSource = resolve_source,
        on_change: Callable[[InstanceChange], None] | None = None,
        select: Select | None = None,
        policy: RestartPolicy | None = None,
        certificates: Certificates | None = None,
    ) -> None:
        self.devices = tuple(devices)
        deadlines = Deadlines.of(config.server)
        self.models: dict[str, Model] = {}
        self.is_draining = False
        for name, model in config.models.items():
            trust = config.trust_in(model)
            decision = place(model.placements, devices, backends)
            instances = []
            if chosen := decision.chosen:
                hosted = HostedInstance(
                    f"{name}#0",
                    name,
                    model,
                    chosen,
                    place_again=self._placing(name, model, backends),
                    resolve_source=resolve_source,
                    on_change=on_change,
                    policy=policy,
                    certificates=certificates,
                    trust=trust,
                )
                instances.append(hosted)
            self.models[name] = Model(name, model, trust, decision, instances, deadlines, select)

    def _placing(self, name: str, config: ModelConfig, backends: Mapping[str, BackendType]) -> PlaceAgain:
        async def place_again(find_weights: FindWeights, unusable: Unusable) -> Weighed:
            weighed = await place_fitting(name, config, self.devices, backends, find_weights, unusable)
            self.models[name].decision = weighed.decision
            return weighed

        return place_again

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
            if not model.has_place:
                reasons = "; ".join(f"{rejected.index}: {rejected.reason}" for rejected in model.decision.rejected)
                log.warning("model has no place on this host", model=model.name, reasons=reasons)
            elif model.config.load == "start":
                for hosted in model.instances:
                    hosted.wake()
        if not self.has_place:
            log.error("no model has a place on this host")

    @property
    def has_place(self) -> bool:
        """Whether any model has a place on this host."""
        return any(model.has_place for model in self.models.values())

    @property
    def is_ready(self) -> bool:
        """Whether nothing drains, and of the models with a place on this host, of which there are some, all that are
        to be loaded at start are ready. Those without are for other hosts.
        """
        return (
            not self.is_draining
            and self.has_place
            and all(
                model.is_ready for model in self.models.values() if model.config.load == "start" and model.has_place
            )
        )

    async def close(self, drain_s: float = 0.0) -> None:
        """Take no more requests, give those that run *drain_s* seconds, then end all instances. Idempotent."""
        self.is_draining = True
        await asyncio.gather(*(hosted.close(drain_s) for hosted in self.instances()))

    def gauges(self) -> Iterator[InstanceGauge]:
        """The state of every instance, for metrics."""
        for hosted in self.instances():
            yield InstanceGauge(
                instance_id=hosted.id,
                model=hosted.model,
                backend=hosted.backend.name,
                state=hosted.state,
                running=hosted.gate.running,
                waiting=hosted.gate.waiting,
                restarts=hosted.restarts,
            )
