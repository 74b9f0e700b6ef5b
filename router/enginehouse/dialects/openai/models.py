"""Bodies of the small routes: the list of models, one model, health and readiness."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec

from enginehouse.dialects.openai import errors
from enginehouse_plugin import Task

OK = errors.OK
NOT_READY = errors.NOT_READY


class CertificateCard(msgspec.Struct, frozen=True, kw_only=True):
    """What the conformance suite found of the model's instance.

    `state`: `current`, `stale` (something changed since; `reason` says what), `none` or `unreadable`. The rest is of
    the certificate, also of a stale one, and null or empty without one: when it was made, by which version of the
    suite, whether of `all` rules or the `quick` core, and for each feature that is not proven its state with the
    rules behind it.
    """

    state: Literal["current", "stale", "none", "unreadable"]
    reason: str = ""
    certified_at: str | None = None
    suite: str | None = None
    selection: Literal["all", "quick"] | None = None
    unproven: dict[str, str] = {}


class InstanceCard(msgspec.Struct, frozen=True, kw_only=True):
    """One instance of a model: on this host where `host` is null, else on the one of that name.

    `features` are null until it has loaded. `running` counts sequences and `waiting` requests of this host; `capacity`
    is how many run at once, 0 until known.
    """

    id: str
    host: str | None
    backend: str
    state: str
    features: tuple[str, ...] | None
    running: int
    waiting: int
    capacity: int


class ModelCard(msgspec.Struct, frozen=True, kw_only=True):
    """One model. The first four fields are the reference's; the rest is this server's own.

    `context_length` counts tokens of prompt and answer together. `task` is what the model is for, null until that is
    known; `dimensions` are the lengths that its vectors may have, first their own. `features` are those that requests
    may use: `declared_features`, or where `trust` is `proven` those of them that are `proven_features`. All of these,
    `limits` and `certificate` are null or empty until an instance of the model has been loaded. `defaults` are what a
    request gets for fields that it leaves out, and `defaults_from` says where each is from: the model's
    `configuration`, the `profile`, the `weights` (known once loaded) or the `api`; `defaults_refused` are those that
    cannot be honoured here, with the reason. `instances` are those of this host and of others. `created` is Unix time
    in seconds.
    """

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str
    description: str = ""
    context_length: int | None = None
    task: Task | None = None
    dimensions: tuple[int, ...] = ()
    features: tuple[str, ...] = ()
    declared_features: tuple[str, ...] = ()
    proven_features: tuple[str, ...] = ()
    trust: Literal["declared", "proven"] = "declared"
    certificate: CertificateCard | None = None
    limits: dict[str, int] = {}
    defaults: dict[str, Any] = {}
    defaults_from: dict[str, Literal["configuration", "profile", "weights", "api"]] = {}
    defaults_refused: dict[str, str] = {}
    backends: tuple[str, ...] = ()
    instances: tuple[InstanceCard, ...] = ()
    state: str


class ModelList(msgspec.Struct, frozen=True, kw_only=True):
    """All models."""

    object: Literal["list"] = "list"
    data: tuple[ModelCard, ...]


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """The router itself is up."""

    status: Literal["ok"] = "ok"
    version: str


ReadyStatus = Literal["ready", "starting", "unplaced", "draining", "accounts_unavailable"]
"""`unplaced`: no model has a place on this host, so that it has nothing to serve."""


class Loading(msgspec.Struct, frozen=True, kw_only=True):
    """How far the loading of a model is; `fraction` is 0 to 1, or null where the engine does not tell."""

    stage: str
    fraction: float | None = None


class Readiness(msgspec.Struct, frozen=True, kw_only=True):
    """Whether requests are answered now, each model's state, the progress of those that load, and what others lack.

    `accounts` is there while usage cannot be written: `noting` in memory, or `refusing`.
    `problems` says why a model has failed or has no place here: to whoever may ask for models.
    """

    status: ReadyStatus
    models: dict[str, str]
    loading: dict[str, Loading] = {}
    problems: dict[str, str] = {}
    accounts: Literal["noting", "refusing"] | msgspec.UnsetType = msgspec.UNSET


_encode = msgspec.json.Encoder().encode


def encode(document: Mapping[str, Any]) -> bytes:  # an OpenAPI document is JSON of any shape
    """Encode the body of `GET /openapi.json`."""
    return _encode(document)


def model_list(cards: Sequence[ModelCard]) -> bytes:
    """Encode the body of `GET /v1/models`."""
    return _encode(ModelList(data=tuple(cards)))


def model_card(card: ModelCard) -> bytes:
    """Encode the body of `GET /v1/models/{id}`."""
    return _encode(card)


def health(version: str) -> bytes:
    """Encode the body of `GET /health`."""
    return _encode(Health(version=version))


def readiness(readiness: Readiness) -> bytes:
    """Encode the body of `GET /ready`."""
    return _encode(readiness)
