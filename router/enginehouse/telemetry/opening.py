"""Opens the export, where one is asked for: OpenTelemetry is imported then, and not before."""

from __future__ import annotations

from .settings import ExportSettings, TelemetryError
from .traces import Export

__all__ = ["TelemetryError", "open_export"]


def open_export(settings: ExportSettings) -> Export | None:
    """Begin to export as *settings* say; None: nothing is.

    Raises:
        TelemetryError: the packages that it takes are not installed.
    """
    if not settings.is_on:
        return None
    try:
        from .otlp import OtlpExport
    except ModuleNotFoundError as error:
        raise TelemetryError(
            "telemetry",
            f"Traces and metrics by OTLP need a package that is not installed ({error.name}).",
            "Install it with: pip install 'enginehouse[otel]'",
        ) from error
    return OtlpExport(settings)
