"""Bodies of Ollama's lists: the models there are, one of them, those that are loaded, and the version."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from enginehouse.config import ModelConfig
from enginehouse.fleet import ModelSnapshot
from enginehouse.wire.decode import Decoder
from enginehouse_plugin.errors import InvalidRequest

API_VERSION: Final = "0.12.6"
"""The version of Ollama whose routes these are: clients ask for a least one."""
_NEVER: Final = "9999-12-31T23:59:59Z"
_CAPABILITIES: Final = {"tools": "tools", "vision": "image_input", "thinking": "reasoning"}
"""Ollama's word for an ability, and the feature that it is."""


class Details(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a model's weights: `format` where the name of a file says it, the backends as its families."""

    parent_model: str = ""
    format: str
    family: str
    families: tuple[str, ...]
    parameter_size: str = ""
    quantization_level: str = ""


class ListedModel(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A model. `size` is not known and 0; `digest` changes with what the configuration says of its placements.

    The last three are of loaded ones; a model stays as its configuration says, so none has a time at which it goes.
    """

    name: str
    model: str
    modified_at: str
    size: int
    digest: str
    details: Details
    expires_at: str = ""
    size_vram: int | None = None
    context_length: int | None = None


class ModelList(msgspec.Struct, frozen=True):
    """The body of `/api/tags` and `/api/ps`."""

    models: tuple[ListedModel, ...]


class ShownModel(msgspec.Struct, frozen=True, kw_only=True):
    """The body of `/api/show`: `parameters` are lines of defaults, `model_info` has the context's length once known."""

    license: str = ""
    modelfile: str = ""
    parameters: str
    template: str = ""
    details: Details
    model_info: dict[str, Any]  # strings and numbers
    capabilities: tuple[str, ...]
    modified_at: str


class ShowRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A request to `POST /api/show`; `name` is the older name of `model`."""

    model: str = ""
    name: str = ""
    verbose: bool | None = None
    system: str | None = None
    template: str | None = None
    options: dict[str, Any] | None = None  # not looked at: nothing is made


class Version(msgspec.Struct, frozen=True):
    """The body of `/api/version`."""

    version: str


_encode = msgspec.json.Encoder().encode
_show: Final = Decoder(ShowRequest)


class Seen(msgspec.Struct, frozen=True):
    """A model as a client sees it: by the profile of a mount with this label, since Unix time."""

    model: ModelSnapshot
    label: str
    since_s: float


def version() -> bytes:
    """Encode the body of `GET /api/version`."""
    return _encode(Version(API_VERSION))


def tags(models: Mapping[str, Seen]) -> bytes:
    """Encode the body of `GET /api/tags`: *models* by the names that clients use."""
    return _encode(ModelList(tuple(_listed(name, seen) for name, seen in models.items())))


def running(models: Mapping[str, Seen]) -> bytes:
    """Encode the body of `GET /api/ps`: those of *models* that are ready."""
    ready = [
        msgspec.structs.replace(
            _listed(name, seen), expires_at=_NEVER, size_vram=0, context_length=_context_tokens(seen.model)
        )
        for name, seen in models.items()
        if seen.model.state == "ready"
    ]
    return _encode(ModelList(tuple(ready)))


def asked_for(body: bytes) -> str:
    """Read the name that the body of `POST /api/show` asks for.

    Raises:
        InvalidRequest: it is no such body, or names none.
    """
    asked, _ = _show.decode(body, unknown_fields="report")
    if not (asked.model or asked.name):
        raise InvalidRequest("Missing required parameter: 'model'.", param="model", code="missing_required_parameter")
    return asked.model or asked.name


def shown(seen: Seen) -> bytes:
    """Encode the body of `POST /api/show`."""
    model, instance = seen.model, seen.model.described
    features = instance.capabilities.features if instance and instance.capabilities else frozenset[str]()
    abilities = tuple(word for word, feature in _CAPABILITIES.items() if feature in features)
    context_tokens = _context_tokens(model)
    info: dict[str, Any] = {"general.architecture": "enginehouse", "general.basename": model.name}
    if context_tokens is not None:
        info["enginehouse.context_length"] = context_tokens
    defaults = ((field, default.value) for field, default in model.defaults_by(seen.label).values.items())
    return _encode(
        ShownModel(
            parameters="\n".join(f"{field} {value}" for field, value in defaults if isinstance(value, int | float)),
            details=_details(model.config),
            model_info=info,
            capabilities=("completion", *abilities),
            modified_at=_time(seen.since_s),
        )
    )


def _listed(name: str, seen: Seen) -> ListedModel:
    return ListedModel(
        name=name,
        model=name,
        modified_at=_time(seen.since_s),
        size=0,
        digest=hashlib.sha256(_encode(seen.model.config.placements)).hexdigest(),
        details=_details(seen.model.config),
    )


def _details(config: ModelConfig) -> Details:
    backends: Sequence[str] = tuple(dict.fromkeys(placement.backend for placement in config.placements))
    is_gguf = any(placement.source.lower().endswith(".gguf") for placement in config.placements)
    return Details(format="gguf" if is_gguf else "", family=backends[0], families=tuple(backends))


def _context_tokens(model: ModelSnapshot) -> int | None:
    instance = model.described
    known = instance.capabilities.context_tokens if instance and instance.capabilities else None
    return known if known is not None else model.config.said_context


def _time(since_s: float) -> str:
    return datetime.fromtimestamp(since_s, UTC).isoformat().replace("+00:00", "Z")
