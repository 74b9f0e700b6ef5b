"""All models of a configuration on this host."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, Protocol

import msgspec

from enginehouse.certificates import Certificates
from enginehouse.config import Config, ModelConfig, Trust
from enginehouse.telemetry import get_logger
from enginehouse_plugin import BackendType, Device, InstanceChange

from .breaker import Breaker
from .choice import Select
from .deadlines import Deadlines
from .errors import InstanceNotFound, ModelNotFound
from .hosts import Hosts, RemotePlanner
from .identity import Identity, OnUsage, unheard
from .instance import HostedInstance
from .keeper import Keeper, Survey
from .model import Model
from .nodes import Stay
from .plan import InstancePlan
from .planner import AnyPlanner, Planner
from .restart import RestartPolicy
from .snapshot import FleetSnapshot
from .sources import Fetch, fetch_in_thread
from .standing import Judge
from .turnover import Turnover

_OF_MODELS: Final = frozenset(
    {
        "concurrent_requests",
        "defaults",
        "description",
        "equivalence",
        "fingerprint",
        "keep_alive_s",
        "load",
        "load_timeout_s",
        "max_queue",
        "owned_by",
        "pinned",
        "prefer",
        "prefix_affinity",
        "queue_timeout_s",
        "reference",
        "requests_per_minute",
        "tokens_per_day",
        "tokens_per_minute",
        "trust",
        "unsupported",
    }
)
"""Keys of a model that instances take as they are, or that are none of theirs; others make other instances."""

_RUNNING: Final = ("loading", "ready", "asleep", "draining")

log = get_logger()


class Beside(Protocol):
    """What runs for as long as the fleet does: a cluster, which instances run on."""

    def start(self) -> None:
        """Begin."""
        ...

    async def close(self) -> None:
        """End."""
        ...


class Fleet:
    """The models of *config*, and an instance of each that has a place here.

    *config* has been bound to *backends*; *select* goes before the router's own choice among instances. `start` loads
    in the background; `close` ends everything. Without *certificates* nothing is proven. *profiles* have defaults
    for fields of a request, by their labels. *survey* asks what is used of the devices now; without it nothing is used
    by others. *on_probe* hears of the tokens that the fleet's own probes take. *is_cluster*: devices are those of a
    cluster's nodes, which come by `follow_nodes`.
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
        profiles: Mapping[str, Mapping[str, Any]] | None = None,
        survey: Survey | None = None,
        on_probe: OnUsage = unheard,
        is_cluster: bool = False,
    ) -> None:
        judge = None if certificates is None else Judge(certificates, lambda name: self.models[name].trust)
        self.planner = Planner(config.models, devices, backends, config.budget, judge)
        self.keeper = Keeper(devices, config.budget, survey)
        self.is_draining = False
        self._fetch = fetch
        self._on_change = on_change
        self._on_probe = on_probe
        self._select = select
        self._turnover = Turnover(lambda: self._deadlines.total_s)
        self._policy = policy
        self._is_cluster = is_cluster
        self._certificates = certificates
        self._profiles = profiles
        self._server = config.server
        self._deadlines = Deadlines.of(config.server)
        self.models = {name: self._model(name, config) for name in config.models}
        for name, model in self.models.items():
            model.instances = self._hosted(name)
        self.hosts = Hosts(config.hosts, self, backends, config.mdns)
        self.beside: list[Beside] = []

    def add_instance(self, model: str) -> HostedInstance:
        """Serve *model* by one more instance; it loads when it is woken.

        Raises:
            LoadFailed: it has no place beside the others.
        """
        hosted = self._host(self.models[model], self.planner.add(model))
        self.models[model].instances.append(hosted)
        return hosted

    def follow(self, config: Config, profiles: Mapping[str, Mapping[str, Any]] | None = None) -> None:
        """Serve the models of *config*, bound to the same backends, from now on, with the defaults of *profiles*.

        Where a model's placements are others, new instances come beside the former ones, which end once one of these
        is ready and their requests are served. Those of models that are gone end when their requests are served.
        """
        self._deadlines = Deadlines.of(config.server)
        self._server = config.server
        self.keeper.follow(config.budget)
        self.planner.follow(config.budget)
        self._profiles = profiles if profiles is not None else self._profiles
        for name in [name for name in self.models if name not in config.models]:
            self.planner.drop(name)
            self._turnover.remove(self.models.pop(name), "the model is not configured any more")
        for name, wanted in config.models.items():
            model = self.models.get(name)
            is_new = model is None
            if model is None:
                model = self._model(name, config)
            model.deadlines = self._deadlines
            model.traffic.retries.share = config.server.retry_budget
            model.reference.follow(config, wanted)
            if is_new or model.trust != config.trust_in(wanted) or _differs(model.config, wanted):
                self.planner.put(name, wanted)
                model.config, model.trust = wanted, config.trust_in(wanted)
                model.reference.forget()
                self._turnover.replace(model, self._hosted(name, model), "its configuration has changed")
            elif model.config.load != wanted.load == "start":
                for hosted in model.instances:
                    if not hosted.planned.is_spare:
                        hosted.wake()
            model.describe(wanted, profiles)
            self.models[name] = model
        self.models = {name: self.models[name] for name in config.models}
        for hosted in self.instances():
            hosted.liveness.follow(self._server.hang_timeout_s)
            hosted.breaker.follow(self._server.breaker_failures, self._server.breaker_open_s)
        self.hosts.settle()

    def host_remote(self, model: Model, planned: InstancePlan, planner: RemotePlanner) -> HostedInstance:
        """An instance of *model* at another host, as *planned* there; it is in no list yet.

        That host has judged what is proven, and it keeps it loaded.
        """
        config = msgspec.structs.replace(model.config, keep_alive_s=None, pinned=False)
        return self._made(model, config, planned, planner, trust="declared")

    def end(self, hosted: HostedInstance, reason: str) -> None:
        """End *hosted*, which is in no list any more, when what runs there has ended."""
        self._turnover.end(hosted, reason)

    def follow_nodes(self, devices: Sequence[Device], lacking: Mapping[str, Mapping[str, str]]) -> None:
        """Serve all models on *devices*, those of a cluster's nodes, from now on; *lacking* says why a node has not an
        engine. What runs stays where it is; what has lost its place gets another where there is one.
        """
        self.keeper.follow_nodes(devices)
        self.planner.follow_nodes(devices, lacking, self._on_nodes, self.keeper.config)
        for name, model in self.models.items():
            plan = self.planner.plans[name]
            own = {hosted.id: hosted for hosted in model.instances if hosted.planned.host is None}
            planned = {one.id: one for one in plan.instances}
            for key, hosted in own.items():
                if key not in planned and hosted.state not in _RUNNING:
                    model.instances.remove(hosted)
                    self._turnover.end(hosted, plan.reasons or "it has no place any more")
            for key, one in planned.items():
                if key not in own:
                    own[key] = self._host(model, one)
                    model.instances.append(own[key])
                if model.config.load == "start" and not one.is_spare and own[key].state in ("unloaded", "failed"):
                    own[key].load()

    def _on_nodes(self, name: str) -> dict[int, Stay]:
        """Where on a cluster the instances of the model called *name* run, by their numbers."""
        model = self.models.get(name)
        return {
            hosted.planned.number: Stay(hosted.planned.device_ids, hosted.planned.index)
            for hosted in (model.instances if model is not None else ())
            if hosted.planned.node and not hosted.planned.is_spare and hosted.state in _RUNNING
        }

    async def compare(self) -> None:
        """Compare all instances that are loaded with their certificates as these are now."""
        await asyncio.gather(*(hosted.assess() for hosted in self.instances() if hosted.instance is not None))

    def _model(self, name: str, config: Config) -> Model:
        own = config.models[name]
        model = Model(name, own, config.trust_in(own), self.planner, self._deadlines, self._select, config.server)
        model.reference.take(config, own)
        return model

    def _hosted(self, name: str, model: Model | None = None) -> list[HostedInstance]:
        """An instance for each that is planned of the model called *name*, none of them loaded."""
        return [self._host(model or self.models[name], planned) for planned in self.planner.plans[name].instances]

    def _changed(self, change: InstanceChange) -> None:
        self._turnover.note_change()
        if change.after == "ready" != change.before and (model := self.models.get(change.model)) is not None:
            model.wake_replicas(change.instance_id)
        if self._on_change is not None:
            self._on_change(change)

    def _host(self, model: Model, planned: InstancePlan) -> HostedInstance:
        # On a node it is judged there what is proven.
        trust: Trust = "declared" if self._is_cluster else model.trust
        return self._made(model, model.config, planned, self.planner, trust=trust)

    def _made(
        self, model: Model, config: ModelConfig, planned: InstancePlan, planner: AnyPlanner, *, trust: Trust
    ) -> HostedInstance:
        return HostedInstance(
            planned,
            config,
            planner,
            keeper=self.keeper,
            fetch=self._fetch,
            on_change=self._changed,
            policy=self._policy,
            certificates=None if planned.host or self._is_cluster else self._certificates,
            trust=trust,
            profiles=self._profiles,
            suspects=model.suspects,
            hang_timeout_s=self._server.hang_timeout_s,
            breaker=Breaker(self._server.breaker_failures, self._server.breaker_open_s),
            identity=Identity(planned.id, model.reference, self._on_probe),
        )

    def model(self, name: str) -> Model:
        """The model called *name*.

        Raises:
            ModelNotFound: there is none; the message lists those there are.
        """
        try:
            return self.models[name]
        except KeyError:
            raise ModelNotFound(name, known=self.models) from None

    def named(self, *, model: str | None = None, instance: str | None = None) -> list[HostedInstance]:
        """The instances of *model*, or the one called *instance*.

        Raises:
            ModelNotFound: there is no such model.
            InstanceNotFound: there is no such instance, or the model has none.
        """
        if instance is None:
            found = self.model(model or "").instances
        else:
            found = [hosted for hosted in self.instances() if hosted.id == instance]
        if not found:
            raise InstanceNotFound(instance or model or "", known=[hosted.id for hosted in self.instances()])
        return found

    def instances(self) -> Iterator[HostedInstance]:
        """All instances of all models."""
        for model in self.models.values():
            yield from model.instances

    def start(self) -> None:
        """Begin to load the models that are to be loaded at start."""
        for model in self.models.values():
            if not model.instances and not self._is_cluster:
                reasons = self.planner.plans[model.name].reasons
                log.warning("model has no place on this host", model=model.name, reasons=reasons)
            elif model.config.load == "start":
                for hosted in model.instances:
                    if not hosted.planned.is_spare:
                        hosted.wake()
        if not any(self.instances()) and not self._is_cluster:
            log.error("no model has a place on this host")
        self.hosts.start()
        for each in self.beside:
            each.start()

    async def close(self, drain_s: float = 0.0) -> None:
        """Take no more requests, give those that run *drain_s* seconds, then end all instances. Idempotent."""
        self.is_draining = True
        await self.hosts.close()
        leaving = self._turnover.close(drain_s)
        every = dict.fromkeys([*self.instances(), *self.hosts.instances()])
        await asyncio.gather(leaving, *(hosted.close(drain_s) for hosted in every))
        self.keeper.close()
        for each in self.beside:
            await each.close()

    def snapshot(self) -> FleetSnapshot:
        """How everything is now."""
        return FleetSnapshot(
            models={name: model.snapshot() for name, model in self.models.items()},
            leaving=tuple(
                msgspec.structs.replace(hosted.snapshot(), state="draining", reason=reason)
                for hosted, reason in self._turnover.leaving.items()
            ),
            devices=self.planner.devices,
            budgets=self.keeper.budgets(),
            is_draining=self.is_draining,
        )


def _differs(old: ModelConfig, new: ModelConfig) -> bool:
    """Whether *new* wants other instances than *old*."""
    return any(getattr(old, name) != getattr(new, name) for name in set(new.__struct_fields__) - _OF_MODELS)
