"""The routes under `/admin` that steer a running router: what their bodies hold."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from enginehouse.certificates import Difference, Probed
from enginehouse.config import Name
from enginehouse.dialects.endpoint import Call
from enginehouse.dialects.hosts import ShownMemory, shown_memory
from enginehouse.fleet import (
    Asked,
    Considered,
    FleetSnapshot,
    Foreseen,
    InstanceSnapshot,
    RequestExplained,
)
from enginehouse.live import Change, Changes
from enginehouse.wire.decode import Decoder
from enginehouse_plugin.errors import InvalidRequest, RequestError


class InvalidConfiguration(RequestError):
    """The configuration that was to be reloaded cannot be used; `param` is the line or key."""

    code = "invalid_configuration"

    def __init__(self, message: str, *, where: str) -> None:
        super().__init__(message, param=where or None)


class Reload(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A wish for a reload; with `dry_run` only the difference is wanted."""

    dry_run: bool = False


class Order(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What an order is for: an `instance`, or all of a `model`. After `timeout_s` what still runs is cut off.

    With `dry_run` only what it would come to is wanted.
    """

    model: Name | None = None
    instance: Name | None = None
    timeout_s: Annotated[float, Meta(ge=0)] | None = None
    pinned: bool = True
    dry_run: bool = False


class Probe(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A prompt of which an instance is asked for the first token."""

    instance: Name
    prompt: Annotated[str, Meta(min_length=1, max_length=100_000)]


class ShownToken(msgspec.Struct, frozen=True):
    """One of the likeliest first tokens; `token_bytes` in base64."""

    token: str
    token_bytes: bytes
    logprob: float


class ShownProbe(msgspec.Struct, frozen=True, kw_only=True):
    """What came to a probe; `top` is null where no log probabilities did."""

    instance: str
    prompt_tokens: int | None
    top: tuple[ShownToken, ...] | None


class ShownChange(msgspec.Struct, frozen=True):
    """A key of the configuration that differs, and how."""

    key: str
    change: Literal["added", "removed", "changed"]


class Reloaded(msgspec.Struct, frozen=True, kw_only=True):
    """What a reload changes: `changed` holds now (or would, without `applied`), `needs_restart` stays as it was."""

    applied: bool
    changed: tuple[ShownChange, ...]
    needs_restart: tuple[ShownChange, ...]


class ShownProgress(msgspec.Struct, frozen=True):
    """How far a load is; `fraction` from 0 to 1, where it is known."""

    stage: str
    fraction: float | None


class ShownDifference(msgspec.Struct, frozen=True, kw_only=True):
    """How far an instance's answers are from the reference of its model: D, its interval at 99 %, and the band of D."""

    against: str
    distance: float
    low: float
    high: float
    band: str
    probes: int


class ShownTokens(msgspec.Struct, frozen=True, kw_only=True):
    """Tokens of the router's own probes since the server started."""

    prompt: int
    completion: int


class ShownStanding(msgspec.Struct, frozen=True, kw_only=True):
    """How an instance stands to its certificate: `current`, `stale`, `none` or `unreadable`, and why; of the `declared`
    features it has, so many are `proven`.
    """

    state: str
    reason: str
    certified_at: str | None
    proven: int
    declared: int


class ShownInstance(msgspec.Struct, frozen=True, kw_only=True):
    """An instance: where it runs and why there, what it does and why. `host` is the other one that serves it.

    `running` counts sequences, of which `capacity` run at once, and `waiting` requests. `pinned`: nothing takes its
    memory. `held`: its owner has taken it out. `breaker` is `closed`, `open` or `half_open`; `tokens_s` is how many
    tokens a second a request got of late. `cache_used` is the share (0..1) of its KV cache that what runs there takes,
    where its engine tells it and somebody watches the console. `memory_bytes` is what it holds of each device, and
    `footprint_bytes` what it is expected to take. `answers` says what is known of its answers, `difference` how far
    they are from the reference of its model, and `aside` why it is set aside because of that. `certificate` is how it
    stands to its certificate, in words, and `standing` the same in figures; both are null where it was not compared.
    """

    id: str
    model: str
    backend: str
    source: str
    devices: tuple[str, ...]
    placement: str
    state: str
    reason: str
    progress: ShownProgress | None
    running: int
    waiting: int
    capacity: int
    pinned: bool
    held: bool
    restarts: int
    breaker: str
    tokens_s: float | None
    cache_used: float | None
    memory_bytes: dict[str, int]
    aside: str | None
    answers: str
    difference: ShownDifference | None
    certificate: str | None
    probe_tokens: ShownTokens
    host: str | None = None
    footprint_bytes: dict[str, int] = {}
    standing: ShownStanding | None = None


class ShownInstances(msgspec.Struct, frozen=True):
    """All that were asked for, and the memory of the devices of this host. `foreseen` is what an order would come to,
    by instance.
    """

    instances: tuple[ShownInstance, ...]
    memory: tuple[ShownMemory, ...]
    foreseen: dict[str, Foreseen] | UnsetType = UNSET


class ShownExplanation(msgspec.Struct, frozen=True, kw_only=True):
    """Where a request would go, and what would become of its fields.

    `honoured` are those that are asked for and had by the instance that it would go to, `reported` what would be left
    out and named, `recorded` what changes nothing.
    """

    model: str
    instance: str | None
    refusal: str | None
    considered: tuple[Considered, ...]
    asked: tuple[Asked, ...]
    honoured: tuple[str, ...]
    reported: tuple[str, ...]
    recorded: tuple[str, ...]


_decode_reload = Decoder(Reload).decode
_decode_order = Decoder(Order).decode
decode_probe = Decoder(Probe).decode
encode = msgspec.json.Encoder().encode


def shown_probe(instance: str, probed: Probed) -> ShownProbe:
    """What is told of *probed*, which came from *instance*."""
    top = probed.top
    shown = None if top is None else tuple(ShownToken(one.token, one.token_bytes, one.logprob) for one in top)
    return ShownProbe(instance=instance, prompt_tokens=probed.prompt_tokens, top=shown)


def decode_reload(body: bytes) -> Reload:
    """Read the body of a reload, which may be empty.

    Raises:
        InvalidRequest: see `Decoder.decode`.
    """
    return _decode_reload(body)[0] if body.strip() else Reload()


def decode_order(body: bytes) -> Order:
    """Read the body of an order.

    Raises:
        InvalidRequest: it names no instance and no model, or both; or see `Decoder.decode`.
    """
    order, _ = _decode_order(body)
    if (order.model is None) == (order.instance is None):
        raise InvalidRequest("Give `model`, for all of its instances, or `instance`.", param="model")
    return order


def reloaded(changes: Changes, *, is_applied: bool) -> Reloaded:
    """What is told of *changes*."""
    return Reloaded(
        applied=is_applied,
        changed=tuple(map(_shown_change, changes.now)),
        needs_restart=tuple(map(_shown_change, changes.at_restart)),
    )


def explained(found: RequestExplained, call: Call) -> ShownExplanation:
    """What is told of *found* about *call*."""
    honoured = [one.param for one in found.asked if found.instance in one.had_by]
    return ShownExplanation(
        model=found.model,
        instance=found.instance,
        refusal=found.refusal,
        considered=found.considered,
        asked=found.asked,
        honoured=tuple(dict.fromkeys(honoured)),
        reported=(*call.ignored, *found.left_out),
        recorded=tuple(call.recorded or ()),
    )


def shown_instances(
    fleet: FleetSnapshot, only: Iterable[str] | None = None, foreseen: dict[str, Foreseen] | UnsetType = UNSET
) -> ShownInstances:
    """What is told of the instances of *fleet*, or *only* of those with these ids; and what is *foreseen* of them."""
    wanted = None if only is None else set(only)
    instances = tuple(shown(one) for one in fleet.instances if wanted is None or one.id in wanted)
    return ShownInstances(instances, tuple(map(shown_memory, fleet.budgets)), foreseen)


def shown(instance: InstanceSnapshot) -> ShownInstance:
    """What is told of *instance*."""
    planned, progress = instance.planned, instance.progress
    return ShownInstance(
        id=instance.id,
        model=planned.model,
        backend=planned.backend.name,
        source=planned.placement.source,
        devices=planned.device_ids,
        placement=planned.explanation,
        state=instance.state,
        reason=instance.reason,
        progress=ShownProgress(progress.stage, progress.fraction) if progress and instance.state == "loading" else None,
        running=instance.running,
        waiting=instance.waiting,
        capacity=instance.capacity,
        pinned=instance.is_pinned,
        held=instance.is_held,
        restarts=instance.restarts,
        breaker=instance.breaker,
        tokens_s=instance.tokens_s,
        cache_used=None if instance.cache_used is None else round(instance.cache_used, 2),
        memory_bytes=instance.memory_bytes,
        aside=instance.aside,
        answers=instance.identity,
        difference=_shown_difference(instance.difference),
        certificate=None if instance.standing is None else instance.standing.reason or instance.standing.state,
        probe_tokens=ShownTokens(prompt=instance.probe_tokens[0], completion=instance.probe_tokens[1]),
        host=planned.host,
        footprint_bytes=dict(planned.footprint_bytes),
        standing=_shown_standing(instance),
    )


def _shown_difference(found: Difference | None) -> ShownDifference | None:
    if found is None:
        return None
    return ShownDifference(
        against=found.against,
        distance=found.distance,
        low=found.low,
        high=found.high,
        band=found.band,
        probes=found.probes,
    )


def _shown_standing(instance: InstanceSnapshot) -> ShownStanding | None:
    standing, declared = instance.standing, instance.declared
    if standing is None:
        return None
    features = declared.features if declared is not None else frozenset()
    return ShownStanding(
        state=standing.state,
        reason=standing.reason,
        certified_at=standing.certificate.certified_at if standing.certificate else None,
        proven=len(features & standing.proven),
        declared=len(features),
    )


def _shown_change(change: Change) -> ShownChange:
    return ShownChange(key=change.where, change=change.kind)
