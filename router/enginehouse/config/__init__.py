"""The configuration: TOML decoded strictly into frozen structs; an error names the place and the fix."""

from __future__ import annotations

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

__all__ = [
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
    "bind",
    "default_config",
    "load_config",
    "refuse_open_listener",
]
