"""All other hosts, and what they are to this one: an instance of each model that they serve."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Collection, Mapping
from typing import Any, Protocol

import msgspec

from enginehouse.config import HostConfig, MdnsConfig, ModelConfig, PlacementConfig
from enginehouse.fleet.errors import HostNotFound
from enginehouse.fleet.instance import HostedInstance
from enginehouse.fleet.model import Model
from enginehouse.fleet.plan import InstancePlan, ModelPlan
from enginehouse.fleet.planner import FindWeights
from enginehouse.fleet.snapshot import FleetSnapshot
from enginehouse.telemetry import get_logger
from enginehouse_plugin import BackendType
from enginehouse_plugin.errors import EngineDied, EnginehouseError, LoadFailed

from .host import Host, HostSnapshot
from .mdns import Mdns
from .proof import Proof, address, prove
from .told import HostTold, ToldModel, tell

BACKEND = "upstream"
_UNKNOWN_CONTEXT = 1 << 20  # the host itself judges what is too long
_DEFAULT_CONNECTIONS = 16

log = get_logger()


class RemotePlanner:
    """What a load asks for a plan: there is one, once the host is awake."""

    def __init__(self, host: Host, planned: InstancePlan) -> None:
        self._host = host
        self._planned = planned

    async def settle(self, model: str, find_weights: FindWeights, *, spare: bool = False) -> ModelPlan:  # noqa: ARG002
        """See `Planner.settle`; waits for the host, and wakes it.

        Raises:
            LoadFailed: it does not answer, or has another address now, for which there is another plan.
        """
        await self._host.awaken()
        if self._host.url != self._planned.placement.source:
            raise LoadFailed(f"The host '{self._host.name}' has another address now.")
        return ModelPlan(instances=(self._planned,), rejected=())

    def note_speed(self, planned: InstancePlan, tokens_s: float) -> None:
        """Plan the same: a host chooses its placements itself."""

    def rule_out(self, planned: InstancePlan, error: EnginehouseError) -> bool:  # noqa: ARG002
        """See `Planner.rule_out`."""
        return False


class Around(Protocol):
    """The fleet, as hosts see it."""

    models: dict[str, Model]

    def snapshot(self) -> FleetSnapshot:
        """How it is now."""
        ...

    def host_remote(self, model: Model, planned: InstancePlan, planner: RemotePlanner) -> HostedInstance:
        """An instance of *model* as *planned*, which is in no list yet."""
        ...

    def end(self, hosted: HostedInstance, reason: str) -> None:
        """End *hosted*, which is in no list any more, when what runs there has ended."""
        ...


class Hosts:
    """Those of *configs* by their names, for *fleet*; *backends* has what requests go to them by.

    `mdns` announces this one and finds others as *mdns* says.
    """

    def __init__(
        self, configs: Mapping[str, HostConfig], fleet: Around, backends: Mapping[str, BackendType], mdns: MdnsConfig
    ) -> None:
        self.router = secrets.token_hex(8)
        self._fleet = fleet
        self._backend = backends.get(BACKEND)
        self._hosts = {
            name: Host(name, config, self.router, self._changed, self._told_by) for name, config in configs.items()
        }
        wanted = [name for config in configs.values() if (name := config.announced_as) is not None]
        self.mdns = Mdns(mdns, self.router, wanted, self._found)
        self._instances: dict[tuple[str, str], HostedInstance] = {}
        if configs and self._backend is None:
            log.error("hosts cannot be used", reason="install enginehouse-upstream, by which requests go to them")

    def start(self) -> None:
        """Begin to ask them."""
        for host in self._hosts.values():
            host.start()
        self.mdns.start()

    async def close(self) -> None:
        """Ask them no more."""
        await asyncio.gather(self.mdns.close(), *(host.close() for host in self._hosts.values()))

    def instances(self) -> list[HostedInstance]:
        """What they are here, also those that sleep."""
        return list(self._instances.values())

    def heard_from(self, name: str) -> None:
        """Hear that the host called *name* has asked something: it is there, most likely."""
        if (host := self._hosts.get(name)) is not None:
            host.nudge()

    def named(self, name: str) -> Host:
        """The host called *name*.

        Raises:
            HostNotFound: there is none in the file.
        """
        if (host := self._hosts.get(name)) is None:
            raise HostNotFound(name, known=self._hosts)
        return host

    def told(self) -> HostTold:
        """What this host tells the others."""
        return tell(self._fleet.snapshot(), self.router)

    def prove(self, digest: bytes, at: tuple[str, int | None] | None, nonce: str) -> Proof | None:
        """What proves to who asks at the address *at* that this is the host that is announced; None: none is."""
        name = self.mdns.name
        if name is None or at is None:
            return None
        try:
            return Proof(prove(digest, name, address(*at), nonce))
        except ValueError:  # by a socket that is no network's
            return None

    def snapshot(self) -> tuple[HostSnapshot, ...]:
        """How they are now; behind them those that were found and are not in the file."""
        known = [host.snapshot() for host in self._hosts.values()]
        urls = {host.url for host in known}
        names = {host.config.announced_as or name for name, host in self._hosts.items()}
        return (
            *known,
            *(
                _proposed(name, found)
                for name, found in sorted(self.mdns.found.items())
                if urls.isdisjoint(found) and name not in names
            ),
        )

    def _found(self, name: str, urls: Collection[str]) -> None:
        for host in self._hosts.values():
            if host.config.announced_as == name:
                host.found_at([url for url in urls if url.startswith("http://")])

    def _changed(self, host: Host) -> None:
        if host.state == "self":
            for other in self._hosts.values():
                other.me = host.name
        self.settle()

    def _told_by(self, host: Host) -> None:
        models = host.told.models if host.told is not None else {}
        for (name, model), hosted in self._instances.items():
            if name == host.name and (told := models.get(model)) is not None:
                hosted.told_start_s = told.start_s
                if told.starts != hosted.told_starts:
                    hosted.told_starts = told.starts
                    hosted.forget()
                hosted.others.hear(told.running + told.waiting, host.heard_at)

    def settle(self) -> None:
        """Have the instances that the hosts' states, and the fleet's models, make."""
        if self._backend is None:
            return
        wanted = {
            (host.name, model): self._plan(host, self._fleet.models[model], told, self._backend)
            for host in self._hosts.values()
            for model, told in self._served(host).items()
            if model in self._fleet.models
        }
        for (name, model), hosted in list(self._instances.items()):
            plan = wanted.get((name, model))
            if plan is None or plan != hosted.planned or hosted.state == "closed":
                del self._instances[name, model]
                self._take(hosted, self._hosts[name], plan)
        for (name, model), plan in wanted.items():
            if (name, model) not in self._instances:
                self._instances[name, model] = self._fleet.host_remote(
                    self._fleet.models[model], plan, RemotePlanner(self._hosts[name], plan)
                )
        self._arrange()

    def _served(self, host: Host) -> dict[str, ToldModel | None]:
        """The models that *host* serves, or would if it were woken; one that was never heard from may serve any."""
        if host.state == "up" and host.told is not None:
            return {} if host.told.state == "draining" else dict(host.told.models)
        if host.state == "asleep":
            return dict(host.told.models) if host.told is not None else dict.fromkeys(self._fleet.models)
        return {}

    def _plan(self, host: Host, model: Model, told: ToldModel | None, backend: BackendType) -> InstancePlan:
        config: ModelConfig = model.config
        features = None if told is None else told.features
        options: dict[str, Any] = {
            "server": "enginehouse",
            "features": "all" if features is None else features,
            "max_connections": (told.capacity if told is not None else 0) or _DEFAULT_CONNECTIONS,
            "connect_timeout_s": 2.0,
            "probe_timeout_s": 5.0,
            "health_interval_s": 5.0,
            "identity_request": False,
            "from_host": host.me or "host",
            "key_env": host.config.key_env,
            "key_file": host.config.key_file,
        }
        placement = PlacementConfig(backend=BACKEND, source=host.url, options=msgspec.convert(options, backend.options))
        context_tokens = told.context_tokens if told is not None else None
        return InstancePlan(
            id=f"{model.name}@{host.name}",
            model=model.name,
            index=len(config.placements) if told is None else told.index,
            placement=placement,
            backend=backend,
            devices=(),
            context_tokens=context_tokens or config.said_context or _UNKNOWN_CONTEXT,
            reason=f"the host '{host.name}' serves it",
            host=host.name,
            task=config.task,
            dimensions=config.dimensions,
        )

    def _take(self, hosted: HostedInstance, host: Host, plan: InstancePlan | None) -> None:
        """Take *hosted* out: at once if its host is gone, else when its requests have ended."""
        model = self._fleet.models.get(hosted.model)
        if model is not None:
            model.instances = [one for one in model.instances if one is not hosted]
        if host.state != "up":
            hosted.abandon(EngineDied(f"The host '{host.name}' has gone: {host.reason}."))
        changed = "what the host tells of it has changed" if plan is not None else "the host does not serve it"
        self._fleet.end(hosted, changed if host.state == "up" else host.reason)

    def _arrange(self) -> None:
        """Put instances of hosts that are there beside a model's own; where there is none, those of sleeping hosts."""
        for model in self._fleet.models.values():
            own = [hosted for hosted in model.instances if hosted.planned.host is None]
            there, asleep = self._of(model.name)
            model.instances = [*own, *there] or asleep
            model.sleepers = tuple(
                hosted for hosted in asleep if self._hosts[str(hosted.planned.host)].config.wake_when == "prefer"
            )
            for hosted in there:
                told = self._told(hosted)
                if told is not None and told.state in ("ready", "loading") and hosted.state in ("unloaded", "failed"):
                    hosted.load()

    def _of(self, model: str) -> tuple[list[HostedInstance], list[HostedInstance]]:
        """The instances of *model* at hosts that are there, and at those that sleep."""
        there: list[HostedInstance] = []
        asleep: list[HostedInstance] = []
        for (name, of_model), hosted in self._instances.items():
            if of_model == model:
                (there if self._hosts[name].state == "up" else asleep).append(hosted)
        return there, asleep

    def _told(self, hosted: HostedInstance) -> ToldModel | None:
        told = self._hosts[str(hosted.planned.host)].told
        return None if told is None else told.models.get(hosted.model)


def _proposed(name: str, urls: tuple[str, ...]) -> HostSnapshot:
    """A host that announces itself, which its owner may want in the file: by its name, as nobody knows who is there."""
    url = urls[0]
    way = f'with url = "mdns:{name}" and its key' if url.startswith("http:") else "by the URL of its certificate"
    told = f"not in the file; it can be added {way}"
    return HostSnapshot(name=name, url=url, state="found", reason=told, can_wake=False, told=None, age_s=None)
