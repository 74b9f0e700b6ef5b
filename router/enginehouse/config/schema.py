"""The shape of the configuration. Every key is described in docs/configuration.md, with an example."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from enginehouse_plugin import DeviceKind

from .sizes import parse_size

Count = Annotated[int, Meta(ge=1)]
Seconds = Annotated[float, Meta(gt=0)]
Name = Annotated[str, Meta(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]+$")]


Trust = Literal["declared", "proven"]
"""Which features may be used: all that a backend declares, or those that a current certificate proves."""


class Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of all sections: a key that is not known is an error."""


class ServerConfig(Section, frozen=True):
    """The listener, its limits and timeouts."""

    host: str = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65535)] = 8000
    allow_unauthenticated: bool = False
    max_body_bytes: Count = 16 * 1024 * 1024
    max_connections: Count = 4096
    cors_origins: tuple[str, ...] = ()
    trusted_proxies: tuple[str, ...] = ()
    tls_cert: str | None = None
    tls_key: str | None = None
    request_id_header: Annotated[str, Meta(pattern=r"^[A-Za-z0-9-]+$")] = "x-request-id"
    first_token_timeout_s: Seconds = 300.0
    idle_timeout_s: Seconds = 120.0
    total_timeout_s: Seconds = 3600.0
    keep_alive_s: Seconds = 15.0
    drain_timeout_s: Annotated[float, Meta(ge=0)] = 30.0
    profile: Name = "openai"
    unknown_fields: Literal["refuse", "report"] | None = None
    """None: as the profile has it."""
    unsupported: Literal["refuse", "report"] | None = None
    """None: as the profile has it."""
    metrics_public: bool = False
    docs: bool = True

    def __post_init__(self) -> None:
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ValueError("`tls_cert` and `tls_key` belong together: give both, or neither")


class LogConfig(Section, frozen=True):
    """How logs look: `auto` is console on a terminal and JSON elsewhere."""

    format: Literal["auto", "json", "console"] = "auto"
    level: Literal["debug", "info", "warning", "error"] = "info"


class UsageConfig(Section, frozen=True):
    """Where usage is kept: a SQLite file; None keeps none."""

    path: str | None = None


class CertificatesConfig(Section, frozen=True):
    """Where certificates lie: a folder; None is the one for data of this user."""

    path: str | None = None


class Defaults(Section, frozen=True):
    """What a request gets where it is silent. None: the profile's own default."""

    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    max_tokens: Count | None = None
    top_k: Annotated[int, Meta(ge=0)] | None = None
    min_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    frequency_penalty: Annotated[float, Meta(ge=-2, le=2)] | None = None
    presence_penalty: Annotated[float, Meta(ge=-2, le=2)] | None = None
    repetition_penalty: Annotated[float, Meta(gt=0, le=2)] | None = None
    seed: int | None = None
    stop: tuple[str, ...] | None = None
    reasoning_effort: str | None = None
    chat_template_kwargs: dict[str, Any] | None = None  # goes to the model's own template


class PlacementConfig(Section, frozen=True):
    """One way to serve a model.

    `requires`: any one of these kinds of device; empty: what the backend can use. `devices` of that kind serve one
    instance together, and each of them has `min_memory` (a size such as `16GiB`) and `min_compute_capability`.
    """

    backend: Name
    source: Name
    requires: tuple[DeviceKind, ...] = ()
    devices: Annotated[int, Meta(ge=1, le=64)] = 1
    min_memory: str | float | None = None
    """A bare number is read to be refused with the form that is wanted: it could be bytes or gigabytes."""
    min_compute_capability: Annotated[float, Meta(ge=1, lt=30)] | None = None
    python: str | None = None
    options: Any = {}
    """A table until `bind` has decoded it into the backend's own options."""

    def __post_init__(self) -> None:
        if len(set(self.requires)) < len(self.requires):
            raise ValueError(f"`requires` names a kind twice: {', '.join(self.requires)}")
        if self.min_memory is not None:
            try:
                parse_size(str(self.min_memory))
            except ValueError as error:
                raise ValueError(f"`min_memory`: {error}") from None
        if self.min_compute_capability is not None:
            if self.requires not in ((), ("cuda",)):
                raise ValueError(
                    "`min_compute_capability` asks for a CUDA device, as no other has one: "
                    'write requires = ["cuda"], and another placement for other devices'
                )
            if round(self.min_compute_capability, 1) != self.min_compute_capability:
                raise ValueError(
                    f"`min_compute_capability` is {self.min_compute_capability}: it has one digit behind the point, "
                    "such as 8.9"
                )

    @property
    def min_memory_bytes(self) -> int:
        """`min_memory` in bytes; 0 without one."""
        return 0 if self.min_memory is None else parse_size(str(self.min_memory))

    @property
    def min_capability(self) -> tuple[int, int] | None:
        """`min_compute_capability` as drivers give it: (8, 9) for 8.9."""
        if self.min_compute_capability is None:
            return None
        major, minor = divmod(round(self.min_compute_capability * 10), 10)
        return major, minor


class ModelConfig(Section, frozen=True):
    """What a client names in `"model"`, and the ways to serve it in the owner's order."""

    placements: Annotated[tuple[PlacementConfig, ...], Meta(min_length=1)]
    load: Literal["start", "first_request"] = "start"
    context_tokens: Count | None = None
    description: str = ""
    owned_by: str = "enginehouse"
    max_queue: Annotated[int, Meta(ge=0)] = 64
    queue_timeout_s: Seconds = 30.0
    trust: Trust | None = None
    """None: as the whole configuration has it."""
    unsupported: Literal["refuse", "report"] | None = None
    """None: as the server has it."""
    defaults: Defaults = Defaults()


class KeyConfig(Section, frozen=True):
    """A client's key: `sha256` is the hash of the secret, in hexadecimal."""

    name: Name
    sha256: Annotated[str, Meta(pattern=r"^[0-9a-f]{64}$")]


class Config(Section, frozen=True):
    """A whole configuration. `file` is where it was read (None: built in)."""

    trust: Trust = "declared"
    server: ServerConfig = ServerConfig()
    log: LogConfig = LogConfig()
    models: dict[str, ModelConfig] = {}
    keys: tuple[KeyConfig, ...] = ()
    usage: UsageConfig = UsageConfig()
    certificates: CertificatesConfig = CertificatesConfig()
    file: str | None = None

    def trust_in(self, model: ModelConfig) -> Trust:
        """What counts as a feature of *model*."""
        return model.trust or self.trust
