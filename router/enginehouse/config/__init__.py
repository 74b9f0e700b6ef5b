"""The configuration: TOML decoded strictly into frozen structs; an error names the place and the fix."""

from __future__ import annotations

from .absent import AbsentBackend, absent_backends
from .decode import named_kinds, suggest
from .errors import ConfigError
from .load import bind, default_config, load_config, refuse_open_listener
from .schema import (
    CertificatesConfig,
    Config,
    Defaults,
    KeyConfig,
    LogConfig,
    ModelConfig,
    PlacementConfig,
    ServerConfig,
    Trust,
    UsageConfig,
)
from .sizes import binary_size, parse_size

__all__ = [
    "AbsentBackend",
    "CertificatesConfig",
    "Config",
    "ConfigError",
    "Defaults",
    "KeyConfig",
    "LogConfig",
    "ModelConfig",
    "PlacementConfig",
    "ServerConfig",
    "Trust",
    "UsageConfig",
    "absent_backends",
    "binary_size",
    "bind",
    "default_config",
    "load_config",
    "named_kinds",
    "parse_size",
    "refuse_open_listener",
    "suggest",
]
