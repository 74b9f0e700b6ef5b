"""What is told of a running server: logs, metrics and traces."""

from __future__ import annotations

from .gauges import DoorGauge, InstanceGauge
from .logs import configure_logging, flush_logs, get_logger, log_request, lost_lines
from .metrics import METRICS_CONTENT_TYPE, Histogram, Metrics
from .opening import TelemetryError, open_export
from .settings import ExportSettings
from .traces import UNTRACED, Export, Outgoing, Trace
from .watchdog import Watchdog

__all__ = [
    "METRICS_CONTENT_TYPE",
    "UNTRACED",
    "DoorGauge",
    "Export",
    "ExportSettings",
    "Histogram",
    "InstanceGauge",
    "Metrics",
    "Outgoing",
    "TelemetryError",
    "Trace",
    "Watchdog",
    "configure_logging",
    "flush_logs",
    "get_logger",
    "log_request",
    "lost_lines",
    "open_export",
]
