"""What hosts of one fleet tell each other and their owner."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import msgspec
from msgspec import UNSET, UnsetType

from enginehouse.config import Name
from enginehouse.fleet import DeviceBudget, Foreseen, HostSnapshot, ToldDevice
from enginehouse.wire.decode import Decoder
from enginehouse_plugin.errors import InvalidRequest

_NONCE = re.compile(r"[0-9a-f]{32,128}")


class ShownModel(msgspec.Struct, frozen=True, kw_only=True):
    """A model at another host: `features` are None until it has loaded there."""

    state: str
    reason: str
    features: tuple[str, ...] | None
    running: int
    waiting: int
    capacity: int


class ShownMemory(msgspec.Struct, frozen=True, kw_only=True):
    """The memory of a device in bytes; see `DeviceBudget`."""

    id: str
    size_bytes: int
    limit_bytes: int | None
    reserve_bytes: int
    others_bytes: int
    reserved_bytes: int
    measured_bytes: int
    free_bytes: int
    words: str


class ShownHost(msgspec.Struct, frozen=True, kw_only=True):
    """A host as it is known here, `age_s` seconds ago. `memory` is of those devices of which it tells it, while it is
    there. `is_waking`: it is being woken; `unwoken` says why the last try came to nothing.
    """

    name: str
    url: str
    state: str
    reason: str
    can_wake: bool
    version: str | None
    age_s: float | None
    devices: tuple[str, ...]
    memory: tuple[ShownMemory, ...] = ()
    models: dict[str, ShownModel]
    is_waking: bool = False
    unwoken: str = ""


class ShownHosts(msgspec.Struct, frozen=True):
    """All of them. `foreseen` is what an order would come to, by host."""

    hosts: tuple[ShownHost, ...]
    foreseen: dict[str, Foreseen] | UnsetType = UNSET


class HostOrder(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The host that an order is for; with `dry_run` only what it would come to is wanted."""

    host: Name
    dry_run: bool = False


decode_order = Decoder(HostOrder).decode
encode = msgspec.json.Encoder().encode


def asked_proof(query: Sequence[tuple[str, str]]) -> tuple[str, str]:
    """The ID of the key, and the nonce, by which a host is asked for a proof.

    Raises:
        InvalidRequest: there is no nonce that could be one.
    """
    given = dict(query)
    nonce = given.get("nonce", "")
    if not _NONCE.fullmatch(nonce):
        raise InvalidRequest("'nonce' has 32 to 128 digits of lower hexadecimal.", param="nonce")
    return given.get("key", ""), nonce


def shown_hosts(hosts: Iterable[HostSnapshot], foreseen: dict[str, Foreseen] | UnsetType = UNSET) -> ShownHosts:
    """What is told of *hosts*, and of what is *foreseen* of them."""
    return ShownHosts(tuple(map(_shown, hosts)), foreseen)


def shown_memory(budget: DeviceBudget) -> ShownMemory:
    """What is told of the memory of a device."""
    return ShownMemory(
        id=budget.id,
        size_bytes=budget.size_bytes,
        limit_bytes=budget.cap_bytes,
        reserve_bytes=budget.reserve_bytes,
        others_bytes=budget.others_bytes,
        reserved_bytes=budget.reserved_bytes,
        measured_bytes=budget.measured_bytes,
        free_bytes=budget.free_bytes,
        words=budget.in_words,
    )


def _memory(devices: Iterable[ToldDevice]) -> tuple[ShownMemory, ...]:
    return tuple(shown_memory(budget) for device in devices if (budget := device.budget) is not None)


def _shown(host: HostSnapshot) -> ShownHost:
    told = host.told
    return ShownHost(
        name=host.name,
        url=host.url,
        state=host.state,
        reason=host.reason,
        can_wake=host.can_wake,
        version=told.enginehouse if told else None,
        age_s=None if host.age_s is None else round(host.age_s, 1),
        devices=tuple(f"{device.id} ({device.name})" for device in told.devices) if told else (),
        memory=_memory(told.devices) if told and host.state == "up" else (),
        models={
            name: ShownModel(
                state=model.state,
                reason=model.reason,
                features=model.features,
                running=model.running,
                waiting=model.waiting,
                capacity=model.capacity,
            )
            for name, model in (told.models if told else {}).items()
        },
        is_waking=host.is_waking,
        unwoken=host.unwoken,
    )
