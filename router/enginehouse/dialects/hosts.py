"""What hosts of one fleet tell each other and their owner."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import msgspec

from enginehouse.fleet import HostSnapshot
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


class ShownHost(msgspec.Struct, frozen=True, kw_only=True):
    """A host as it is known here, `age_s` seconds ago."""

    name: str
    url: str
    state: str
    reason: str
    can_wake: bool
    version: str | None
    age_s: float | None
    devices: tuple[str, ...]
    models: dict[str, ShownModel]


class ShownHosts(msgspec.Struct, frozen=True):
    """All of them."""

    hosts: tuple[ShownHost, ...]


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


def shown_hosts(hosts: Iterable[HostSnapshot]) -> ShownHosts:
    """What is told of *hosts*."""
    return ShownHosts(tuple(map(_shown, hosts)))


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
    )
