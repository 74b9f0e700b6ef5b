"""The shape of the configuration. Every key is described in docs/configuration.md, with an example."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta

from enginehouse_plugin import DeviceKind, Task

from .identity import Equivalence, Fingerprinting, WatchConfig
from .machines import ClusterConfig, HostConfig, MdnsConfig
from .prices import Prices
from .section import Count, Name, PathName, Seconds, Section
from .sizes import parse_size
from .telemetry import TelemetryConfig

SQLITE = "sqlite:///"
"""What the URL of a SQLite file begins with; its path follows as it is."""
_OF_HTTP = frozenset({
    "authorization", "connection", "content-encoding", "content-length", "content-type", "cookie", "date", "expect",
    "host", "origin", "set-cookie", "transfer-encoding", "upgrade",
})  # fmt: skip


Trust = Literal["declared", "proven"]
"""Which features may be used: all that a backend declares, or those that a current certificate proves."""


Prefer = Literal["order", "least_loaded", "fastest"]
"""Which instance of a model goes first: of the first placement that has room, the least loaded, or the quickest."""


class ServerConfig(Section, frozen=True):
    """The listener, its limits and timeouts."""

    host: str = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65535)] = 8000
    allow_unauthenticated: bool = False
    max_body_bytes: Count = 16 * 1024 * 1024
    max_connections: Count = 4096
    max_connections_per_address: Annotated[int, Meta(ge=0)] | None = None
    """None: half of all, without trusted proxies; 0: no limit."""
    max_in_flight_bytes: Count = 1024 * 1024 * 1024
    cors_origins: tuple[str, ...] = ()
    allowed_hosts: tuple[str, ...] = ()
    trusted_proxies: tuple[str, ...] = ()
    admin_socket: PathName | None = None
    tls_cert: PathName | None = None
    tls_key: PathName | None = None
    request_id_header: Annotated[str, Meta(pattern=r"^[A-Za-z0-9-]+\Z")] = "x-request-id"
    request_timeout_s: Seconds = 60.0
    min_upload_bytes_s: Count = 4096
    send_timeout_s: Seconds = 120.0
    first_token_timeout_s: Seconds = 300.0
    idle_timeout_s: Seconds = 120.0
    total_timeout_s: Seconds = 3600.0
    try_timeout_s: Seconds | None = None
    """None: half of `first_token_timeout_s`."""
    hang_timeout_s: Seconds = 60.0
    retry_budget: Annotated[float, Meta(ge=0, le=1)] = 0.2
    breaker_failures: Count = 5
    breaker_open_s: Annotated[float, Meta(gt=0, le=60)] = 5.0
    keep_alive_s: Seconds = 15.0
    drain_timeout_s: Annotated[float, Meta(ge=0)] = 30.0
    profile: Name = "openai"
    strict_profile: bool | None = None
    """None: as the profile has it."""
    unknown_fields: Literal["refuse", "report"] | None = None
    """None: as the profile has it."""
    unsupported: Literal["refuse", "report"] | None = None
    """None: as the profile has it."""
    metrics_public: bool = False
    docs: bool = True
    console: bool = True

    def __post_init__(self) -> None:
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ValueError("`tls_cert` and `tls_key` belong together: give both, or neither")
        if self.request_id_header.lower() in _OF_HTTP:
            raise ValueError(f"`request_id_header`: '{self.request_id_header}' means something else in HTTP")


class LogConfig(Section, frozen=True):
    """How logs look: `auto` is console on a terminal and JSON elsewhere."""

    format: Literal["auto", "json", "console"] = "auto"
    level: Literal["debug", "info", "warning", "error"] = "info"


class AccountsConfig(Section, frozen=True):
    """Where accounts are kept: the URL of a database, `sqlite:///accounts.db` or `postgresql://…`; None keeps none."""

    url: Annotated[str, Meta(pattern=r"^(sqlite:///[^\x00]|postgresql://)[^\x00]*\Z")] | None = None
    keys: bool = False
    """Whether the keys of the database let in; then nobody comes in without one, also while there is none."""
    on_store_failure: Literal["refuse", "serve_and_note"] = "serve_and_note"
    key_prefix: Annotated[str, Meta(pattern=r"^[A-Za-z0-9._~-]{0,32}\Z")] = "eh-"
    credits: Literal["granted", "all"] = "granted"
    """Who pays: keys that were ever granted credit, or all."""


class ResponsesConfig(Section, frozen=True):
    """What is kept of responses, or nothing, and what signs the reasoning that clients carry."""

    store: Literal["memory", "off"] = "memory"
    ttl_s: Seconds = 3600.0
    max_responses: Count = 10_000
    max_bytes: Count = 1 << 28
    signing_key: Annotated[str, Meta(min_length=16)] | None = None


class UsageConfig(Section, frozen=True):
    """The same for a SQLite file, by its path alone."""

    path: PathName | None = None


class CertificatesConfig(Section, frozen=True):
    """Where certificates lie: a folder; None is the one for data of this user."""

    path: PathName | None = None


class BudgetConfig(Section, frozen=True):
    """How memory is shared: `limits` for instances and what is kept in `reserve`, by a device's id or kind."""

    limits: dict[Name, str] = {}
    reserve: dict[Name, str] = {}
    swaps_per_minute: Annotated[float, Meta(gt=0, le=600)] = 6.0
    turn_s: Seconds = 30.0

    def __post_init__(self) -> None:
        for name, sizes in (("limits", self.limits), ("reserve", self.reserve)):
            for device, text in sizes.items():
                if name == "reserve" and text == "0":
                    continue
                try:
                    parse_size(text)
                except ValueError as error:
                    raise ValueError(f"`{name}`: `{device}`: {error}") from None


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
    python: PathName | None = None
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


class Limits(Section, frozen=True, kw_only=True):
    """How much one may have, of a key or of a model; None: without a limit."""

    requests_per_minute: Count | None = None
    tokens_per_minute: Count | None = None
    tokens_per_day: Count | None = None
    concurrent_requests: Count | None = None

    @property
    def limits(self) -> Limits:
        """The limits alone."""
        return Limits(**{name: getattr(self, name) for name in Limits.__struct_fields__})

    @property
    def are_set(self) -> bool:
        """Whether there is a limit."""
        return any(getattr(self, name) is not None for name in Limits.__struct_fields__)


class ModelConfig(Limits, frozen=True):
    """What a client names in `"model"`, and the ways to serve it in the owner's order."""

    placements: Annotated[tuple[PlacementConfig, ...], Meta(min_length=1)]
    replicas: Annotated[int, Meta(ge=1, le=64)] | Literal["auto"] = 1
    """`auto`: one on each device that holds one."""
    load: Literal["start", "first_request"] = "start"
    keep_alive_s: Seconds | None = None
    """How long it stays loaded unused; None: until its memory is needed."""
    pinned: bool = False
    load_timeout_s: Seconds = 240.0
    context_tokens: Count | Literal["auto"] | None = None
    """`auto`: the longest that fits."""
    task: Task | None = None
    """None: what its weights are for."""
    dimensions: tuple[Count, ...] = ()
    """Lengths that its vectors may be cut to."""
    description: str = ""
    owned_by: str = "enginehouse"
    prefer: Prefer = "order"
    prefix_affinity: bool = True
    overflow: bool = False
    """Whether the next placement starts for what would wait longer at a better one."""
    max_queue: Annotated[int, Meta(ge=0)] = 64
    queue_timeout_s: Seconds = 30.0
    trust: Trust | None = None
    """None: as the whole configuration has it."""
    fingerprint: Fingerprinting | None = None
    """None: as the whole configuration has it, but at each load where answers are compared with a reference."""
    equivalence: Equivalence = "any"
    reference: PathName | None = None
    """A stored fingerprint; None: what the first placement answers."""
    unsupported: Literal["refuse", "report"] | None = None
    """None: as the server has it."""
    reproducible: bool = False
    """The same request gives the same answer, whatever runs beside it: where the backend can promise that."""
    defaults: Defaults = Defaults()
    prices: Prices | None = None
    """None: it costs nothing."""

    @property
    def compares(self) -> bool:
        """Whether its instances are compared with a reference."""
        return self.equivalence != "any" or self.reference is not None

    @property
    def said_context(self) -> int | None:
        """`context_tokens` where it is a number; None: the model's own, or the longest that fits."""
        return self.context_tokens if isinstance(self.context_tokens, int) else None


class KeyConfig(Limits, frozen=True):
    """A client's key: `sha256` is the hash of the secret, in hexadecimal."""

    name: Name
    sha256: Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]
    unsupported: Literal["refuse", "report"] | None = None
    """None: as the model has it."""
    models: tuple[Name, ...] | None = None
    endpoints: tuple[Name, ...] | None = None
    profiles: tuple[Name, ...] | None = None
    admin: bool = False


class MountConfig(Section, frozen=True):
    """A further profile, and what leads to it: a `path` that its routes stand under, names of `hosts`, or `keys`.

    `models` are the names that its clients use, each with the model or agent that is meant; none: all by their own.
    `settings` stand in place of what the profile itself says.
    """

    profile: Name
    path: Annotated[str, Meta(pattern=r"^/([A-Za-z0-9._~-]+(/[A-Za-z0-9._~-]+)*)?\Z")] | None = None
    hosts: tuple[Name, ...] = ()
    keys: tuple[Name, ...] = ()
    models: dict[Name, Name] = {}
    strict_profile: bool | None = None
    """None: as the profile has it."""
    settings: dict[str, Any] = {}  # parts of a profile, checked as one when it is known

    def __post_init__(self) -> None:
        if (self.path is not None) + bool(self.hosts) + bool(self.keys) != 1:
            raise ValueError("a mount is found by one of `path`, `hosts` and `keys`: give that one")


class AgentConfig(Section, frozen=True):
    """A name for a model with `instructions`, defaults of its own, and the names of the `tools` that it may be given.

    Without `tools` any may be.
    """

    model: Name
    instructions: str = ""
    tools: tuple[str, ...] | None = None
    description: str = ""
    owned_by: str = "enginehouse"
    defaults: Defaults = Defaults()


class WeightsConfig(Section, frozen=True):
    """How much weights that were fetched may take on the disk, a size such as `200GiB`; None: as much as there is."""

    disk: str | None = None

    def __post_init__(self) -> None:
        if self.disk is not None:
            try:
                parse_size(self.disk)
            except ValueError as error:
                raise ValueError(f"`disk`: {error}") from None

    @property
    def disk_bytes(self) -> int | None:
        """The same in bytes."""
        return None if self.disk is None else parse_size(self.disk)


class Config(Section, frozen=True):
    """A whole configuration. `file` is where it was read (None: built in), `named` are the sections that it has."""

    trust: Trust = "declared"
    fingerprint: Fingerprinting = "certify"
    server: ServerConfig = ServerConfig()
    log: LogConfig = LogConfig()
    telemetry: TelemetryConfig = TelemetryConfig()
    models: dict[str, ModelConfig] = {}
    agents: dict[str, AgentConfig] = {}
    mounts: tuple[MountConfig, ...] = ()
    keys: tuple[KeyConfig, ...] = ()
    hosts: dict[str, HostConfig] = {}
    mdns: MdnsConfig = MdnsConfig()
    cluster: ClusterConfig | None = None
    accounts: AccountsConfig = AccountsConfig()
    usage: UsageConfig = UsageConfig()
    responses: ResponsesConfig = ResponsesConfig()
    certificates: CertificatesConfig = CertificatesConfig()
    watch: WatchConfig = WatchConfig()
    budget: BudgetConfig = BudgetConfig()
    weights: WeightsConfig = WeightsConfig()
    file: str | None = None
    named: frozenset[str] = frozenset()

    @property
    def store_url(self) -> str | None:
        """The URL of the database of accounts; None: there is none."""
        return self.accounts.url or (f"{SQLITE}{self.usage.path}" if self.usage.path else None)

    def trust_in(self, model: ModelConfig) -> Trust:
        """What counts as a feature of *model*."""
        return model.trust or self.trust

    def fingerprint_in(self, model: ModelConfig) -> Fingerprinting:
        """When fingerprints of *model* are taken."""
        return model.fingerprint or ("load" if model.compares else self.fingerprint)
