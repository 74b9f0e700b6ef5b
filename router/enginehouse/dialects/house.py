"""The house as who watches it is told: whole at first, then what has changed since."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from enginehouse import __version__
from enginehouse.accounts import Recent, Sum
from enginehouse.dialects.hosts import ShownHost, ShownMemory, shown_hosts, shown_memory
from enginehouse.dialects.steering import ShownInstance, shown
from enginehouse.fleet import FleetSnapshot, HostSnapshot, ModelSnapshot


class HouseModel(msgspec.Struct, frozen=True, kw_only=True):
    """A model: its state, and why it is not served where it is not."""

    name: str
    state: str
    problem: str | None
    task: str | None
    trust: str
    description: str


class Use(msgspec.Struct, frozen=True):
    """What an instance has done since this router began."""

    requests: int
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int


class House(msgspec.Struct, frozen=True, kw_only=True):
    """The house at one moment; by id what there may be many of."""

    version: str
    state: str
    requests: int
    models: dict[str, HouseModel]
    instances: dict[str, ShownInstance]
    use: dict[str, Use]
    memory: dict[str, ShownMemory]
    hosts: dict[str, ShownHost]


_MANY: Final = ("models", "instances", "use", "memory", "hosts")
_encode = msgspec.json.Encoder().encode


def house_of(fleet: FleetSnapshot, hosts: Sequence[HostSnapshot], recent: Recent) -> House:
    """The house as these have it."""
    return House(
        version=__version__,
        state=fleet.state,
        requests=recent.number,
        models={name: _model(model) for name, model in fleet.models.items()},
        instances={one.id: shown(one) for one in fleet.instances},
        use={name: _use(of) for name, of in recent.by_instance.items()},
        memory={budget.id: shown_memory(budget) for budget in fleet.budgets},
        hosts={host.name: msgspec.structs.replace(host, age_s=None) for host in shown_hosts(hosts).hosts},
    )


def whole(house: House) -> bytes:
    """*house* as an event."""
    return _event(b"house", house)


def change(before: House, after: House) -> bytes | None:
    """What differs in *after*, as an event: what is new or other by its id, null where it is gone; None: nothing."""
    differing: dict[str, Any] = {}  # of each kind of the many
    for name in _MANY:
        if found := _differing(getattr(before, name), getattr(after, name)):
            differing[name] = found
    for name in ("state", "requests"):
        if getattr(before, name) != (now := getattr(after, name)):
            differing[name] = now
    return _event(b"change", differing) if differing else None


def _differing(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {name: one for name, one in after.items() if before.get(name) != one}
    found.update((name, None) for name in before if name not in after)
    return found


def _event(name: bytes, data: object) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (name, _encode(data))


def _model(model: ModelSnapshot) -> HouseModel:
    return HouseModel(
        name=model.name,
        state=model.state,
        problem=model.problem,
        task=model.task,
        trust=model.trust,
        description=model.config.description,
    )


def _use(of: Sum) -> Use:
    return Use(of.requests, of.prompt_tokens, of.cached_tokens, of.completion_tokens)
