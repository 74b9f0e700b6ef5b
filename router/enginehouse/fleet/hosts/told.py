"""What a host tells the others of itself. Hosts are updated one by one, so that it has a version.

A reader leaves out fields that it does not know, and refuses another `version`: that is raised when something old
readers rely on changes its meaning.
"""

from __future__ import annotations

from typing import Final

import msgspec

from enginehouse import __version__
from enginehouse.fleet.budget import DeviceBudget
from enginehouse.fleet.snapshot import FleetSnapshot, InstanceSnapshot

SNAPSHOT_VERSION: Final = 1
SNAPSHOT_PATH: Final = "/hosts/snapshot"
HOST_HEADER: Final = b"x-enginehouse-host"
"""Names the host that asks: such a request is served by the host that gets it, and goes no further."""


LOAD_HEADER: Final = b"x-enginehouse-load"
"""What a host says of a model's load with each answer to another one: `running=3, waiting=1`."""


class ToldModel(msgspec.Struct, frozen=True, kw_only=True):
    """A model as its host serves it: by the placement `index`. `features` are None until it has loaded there.

    `start_s` is how long it takes to start where it is not ready, by the last time; 0: not known. `starts` counts how
    often it has loaded or woken there: what it had read before is lost.
    """

    index: int
    state: str
    reason: str = ""
    features: tuple[str, ...] | None = None
    limits: dict[str, int] = {}
    context_tokens: int | None = None
    capacity: int = 0
    running: int = 0
    waiting: int = 0
    start_s: float = 0.0
    starts: int = 0


class ToldMemory(msgspec.Struct, frozen=True, kw_only=True):
    """How the memory of a device is divided, in bytes; see `DeviceBudget`, which is not told itself: a field that is
    new there must not make other versions unreadable."""

    cap_bytes: int | None = None
    reserve_bytes: int = 0
    others_bytes: int = 0
    reserved_bytes: int = 0
    measured_bytes: int = 0
    free_bytes: int = 0
    shares: str | None = None


class ToldDevice(msgspec.Struct, frozen=True, kw_only=True):
    """A device of a host; `memory` is None where that is of a version that does not tell."""

    id: str
    name: str
    memory_bytes: int
    memory: ToldMemory | None = None

    @property
    def budget(self) -> DeviceBudget | None:
        """How its memory is divided; None: it is not told."""
        if self.memory is None:
            return None
        return DeviceBudget(id=self.id, size_bytes=self.memory_bytes, **msgspec.structs.asdict(self.memory))


class HostTold(msgspec.Struct, frozen=True, kw_only=True):
    """A host at one moment: the models that have a place there. `router` tells running routers apart."""

    version: int
    enginehouse: str
    router: str
    state: str
    models: dict[str, ToldModel] = {}
    devices: tuple[ToldDevice, ...] = ()


class _Version(msgspec.Struct, frozen=True):
    version: int


class Incompatible(Exception):
    """A host tells of itself in another version, or what answers is none."""


encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(HostTold).decode
_decode_version = msgspec.json.Decoder(_Version).decode


def read_told(body: bytes) -> HostTold:
    """What a host has told in *body*.

    Raises:
        Incompatible: it is of another version, or is something else.
    """
    try:
        version = _decode_version(body).version
        if version != SNAPSHOT_VERSION:
            older = "that host" if version < SNAPSHOT_VERSION else "this one"
            raise Incompatible(
                f"it tells of itself in version {version}, this one reads version {SNAPSHOT_VERSION}: update {older}"
            )
        return _decode(body)
    except msgspec.DecodeError as error:
        raise Incompatible(f"it does not answer like a host of Enginehouse ({error})") from error


def tell(fleet: FleetSnapshot, router: str) -> HostTold:
    """What the host of *fleet* tells, whose running router is called *router*: its own instances alone."""
    models: dict[str, ToldModel] = {}
    for name, model in fleet.models.items():
        own = [instance for instance in model.instances if instance.planned.host is None]
        if own:
            models[name] = _told(own)
    memory = {budget.id: _memory(budget) for budget in fleet.budgets}
    return HostTold(
        version=SNAPSHOT_VERSION,
        enginehouse=__version__,
        router=router,
        state=fleet.state,
        models=models,
        devices=tuple(
            ToldDevice(id=device.id, name=device.name, memory_bytes=device.memory_bytes, memory=memory.get(device.id))
            for device in fleet.devices
        ),
    )


def _memory(budget: DeviceBudget) -> ToldMemory:
    return ToldMemory(**{name: getattr(budget, name) for name in ToldMemory.__struct_fields__})


def _told(own: list[InstanceSnapshot]) -> ToldModel:
    ready = [instance for instance in own if instance.state == "ready" and instance.aside is None]
    shown = next(iter(ready), own[0])
    is_aside = shown.aside is not None and shown.state == "ready"
    capabilities = shown.capabilities
    return ToldModel(
        index=shown.planned.index,
        state="failed" if is_aside else shown.state,
        reason=shown.aside or shown.reason,
        features=None if capabilities is None else tuple(sorted(capabilities.features)),
        limits=dict(capabilities.limits) if capabilities else {},
        context_tokens=capabilities.context_tokens if capabilities else None,
        capacity=sum(instance.capacity for instance in ready),
        running=sum(instance.running for instance in ready),
        waiting=sum(instance.waiting for instance in ready),
        start_s=0.0 if ready else shown.start_s,
        starts=sum(instance.starts for instance in own),
    )
