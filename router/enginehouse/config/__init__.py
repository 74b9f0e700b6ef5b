"""The configuration: TOML decoded strictly into frozen structs; an error names the place and the fix."""

from __future__ import annotations

from .absent import AbsentBackend, absent_backends
from .decode import decode, named_kinds, suggest
from .errors import ConfigError
from .identity import Equivalence, Fingerprinting, WatchConfig
from .listener import refuse_open_listener
from .load import bind, default_config, load_config, read_house
from .lost import refuse_lost
from .machines import ClusterConfig, HostConfig, MdnsConfig
from .prices import UNITS, Prices, text_of, units_of
from .schema import (
    SQLITE,
    AccountsConfig,
    AgentConfig,
    BudgetConfig,
    CertificatesConfig,
    Config,
    Defaults,
    KeyConfig,
    Limits,
    LogConfig,
    ModelConfig,
    MountConfig,
    PlacementConfig,
    Prefer,
    ResponsesConfig,
    ServerConfig,
    Trust,
    UsageConfig,
)
from .section import Name
from .sizes import binary_size, parse_size
from .telemetry import TelemetryConfig, as_config_error, export_settings

__all__ = [
    "SQLITE",
    "UNITS",
    "AbsentBackend",
    "AccountsConfig",
    "AgentConfig",
    "BudgetConfig",
    "CertificatesConfig",
    "ClusterConfig",
    "Config",
    "ConfigError",
    "Defaults",
    "Equivalence",
    "Fingerprinting",
    "HostConfig",
    "KeyConfig",
    "Limits",
    "LogConfig",
    "MdnsConfig",
    "ModelConfig",
    "MountConfig",
    "Name",
    "PlacementConfig",
    "Prefer",
    "Prices",
    "ResponsesConfig",
    "ServerConfig",
    "TelemetryConfig",
    "Trust",
    "UsageConfig",
    "WatchConfig",
    "absent_backends",
    "as_config_error",
    "binary_size",
    "bind",
    "decode",
    "default_config",
    "export_settings",
    "load_config",
    "named_kinds",
    "parse_size",
    "read_house",
    "refuse_lost",
    "refuse_open_listener",
    "suggest",
    "text_of",
    "units_of",
]
