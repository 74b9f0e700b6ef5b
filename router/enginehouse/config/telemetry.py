"""What is exported by OTLP: this section, and where it is silent the standard variables of OpenTelemetry."""

from __future__ import annotations

import importlib.util
import os
from typing import TYPE_CHECKING, Annotated

from msgspec import Meta

from enginehouse.telemetry import ExportSettings, TelemetryError

from .errors import ConfigError
from .section import Section

if TYPE_CHECKING:
    from .schema import Config


class TelemetryConfig(Section, frozen=True):
    """Traces and metrics by OTLP. None: as the variables say, and without them nothing is exported."""

    traces: bool | None = None
    metrics: bool | None = None
    endpoint: str | None = None
    """Base URL of the collector."""
    sample: Annotated[float, Meta(ge=0, le=1)] | None = None
    """The share of traces that begin here; those of clients follow what these decided."""


def export_settings(config: Config) -> ExportSettings:
    """What *config* and the environment of this process have exported.

    Raises:
        ConfigError: a key or variable cannot be used, or a package is missing.
    """
    asked = config.telemetry
    try:
        settings = ExportSettings.read(asked.traces, asked.metrics, asked.endpoint, asked.sample, os.environ)
    except TelemetryError as error:
        raise as_config_error(error, config) from error
    if settings.is_on and not _is_installed():
        raise ConfigError(
            "traces and metrics by OTLP need OpenTelemetry's packages, which are not installed.",
            file=config.file,
            where="telemetry",
            fix="Install them with `pip install 'enginehouse[otel]'`.",
        )
    return settings


def as_config_error(error: TelemetryError, config: Config) -> ConfigError:
    """*error* as one of the configuration."""
    return ConfigError(error.problem, file=config.file, where=error.where, fix=error.fix)


def _is_installed() -> bool:
    try:
        return importlib.util.find_spec("opentelemetry.sdk") is not None
    except ModuleNotFoundError:
        return False
