"""What the owner may set on a placement with `backend = "upstream"`."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from enginehouse_plugin import FEATURES, FilePath

from .address import read_proxy

ServerName = Literal["auto", "openai", "enginehouse", "vllm", "llamacpp", "ollama", "lmstudio"]
Positive = Annotated[int, msgspec.Meta(ge=1)]
Seconds = Annotated[float, msgspec.Meta(gt=0)]


class UpstreamOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Options of one placement; its `source` is the server's URL."""

    model: str | None = None
    """The model's name there; default: the name that it has here."""
    server: ServerName = "auto"
    """What answers at the URL, which decides what is sent; default: what it shows itself to be."""
    features: Literal["careful", "all"] | tuple[str, ...] = "careful"
    """Features that the server honours: `careful` (those that its kind is known for), `all` (for `trust = "proven"`),
    or a list."""
    key_env: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z_][A-Za-z0-9_]*\Z")] | None = None
    """Environment variable that holds the server's key."""
    key_file: FilePath | None = None
    """File that holds the server's key, and nothing else."""
    proxy: str | None = None
    """URL of a proxy (`http` or `https`), or `environment`: what HTTPS_PROXY and the like say."""
    ca: FilePath | None = None
    """File with the certificates (PEM) of the authorities to trust, in place of the system's."""
    max_connections: Positive = 64
    """Requests that run there at once; others wait here."""
    connect_timeout_s: Seconds = 5.0
    """A connection must be there within this time."""
    probe_timeout_s: Seconds = 10.0
    """Questions about health and models must be answered within this time."""
    health_path: Annotated[str, msgspec.Meta(pattern=r"^/[^\s#]*\Z")] | None = None
    """Path that answers 200 while the server is well; default: as its kind has it, else its list of models."""
    health_interval_s: Annotated[float, msgspec.Meta(ge=0)] = 15.0
    """While nothing fails, health is asked for no more often than this."""
    max_tokens_field: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    """What the limit of an answer is called there; some hosted models take the second alone."""
    from_host: Annotated[str, msgspec.Meta(pattern=r"^[\x21-\x7e]{1,200}\Z")] | None = None
    """Name of the Enginehouse that asks, where both are hosts of one fleet: the other one then sends nothing on."""
    identity_request: bool = True
    """Ask for a few tokens, to tell later whether something else answers."""

    def __post_init__(self) -> None:
        if self.key_env is not None and self.key_file is not None:
            raise ValueError("give key_env or key_file, not both")
        if self.proxy not in (None, "environment"):
            read_proxy(str(self.proxy))
        if not isinstance(self.features, str):
            for feature in self.features:
                if feature not in FEATURES:
                    raise ValueError(f"features: '{feature}' is none; there are {', '.join(FEATURES)}")
