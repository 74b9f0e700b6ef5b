"""What is told of a running server: logs and metrics."""

from __future__ import annotations

from .gauges import DoorGauge, InstanceGauge
from .logs import configure_logging, flush_logs, get_logger, log_request, lost_lines
from .metrics import METRICS_CONTENT_TYPE, Histogram, Metrics
from .watchdog import Watchdog

__all__ = [
    "METRICS_CONTENT_TYPE",
    "DoorGauge",
    "Histogram",
    "InstanceGauge",
    "Metrics",
    "Watchdog",
    "configure_logging",
    "flush_logs",
    "get_logger",
    "log_request",
    "lost_lines",
]
