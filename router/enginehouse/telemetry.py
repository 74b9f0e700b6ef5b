"""Logs and metrics: structlog for the one, counters in memory for the other."""

from __future__ import annotations

import asyncio
import atexit
import logging
import sys
import threading
from bisect import bisect_left
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, Literal, TextIO

import msgspec
import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from enginehouse_plugin import RequestFacts

# ---- logs ----

_encode = msgspec.json.Encoder(enc_hook=str).encode
_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


def configure_logging(
    format: Literal["auto", "json", "console"] = "auto",  # noqa: A002  # the key in the configuration
    level: Literal["debug", "info", "warning", "error"] = "info",
    stream: TextIO | None = None,
) -> None:
    """Send the logs of structlog and of the standard library to *stream* (standard error) in one form.

    `auto` is for people on a terminal and JSON lines elsewhere.
    """
    out: TextIO = stream if stream is not None else sys.stderr
    is_console = format == "console" or (format == "auto" and out.isatty())
    stamp = structlog.processors.TimeStamper(fmt="iso", utc=True)
    render: Processor = structlog.dev.ConsoleRenderer(colors=out.isatty()) if is_console else _render_json
    if is_console:
        structlog.configure(
            processors=[structlog.processors.add_log_level, stamp, render],
            wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level]),
            logger_factory=structlog.PrintLoggerFactory(out),
            cache_logger_on_first_use=True,
        )
    else:
        lines = _Lines(out)
        structlog.configure(
            wrapper_class=type("JsonLogger", (_JsonLogger,), {"level": _LEVELS[level]}),
            logger_factory=lambda *_: lines,
            cache_logger_on_first_use=True,
        )
    handler = logging.StreamHandler(out)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.processors.add_log_level, structlog.stdlib.add_logger_name, stamp],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                *([] if is_console else [structlog.processors.format_exc_info]),
                render,
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(_LEVELS[level])
    # Their own handlers would write each line a second time, and uvicorn's access line repeats ours.
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access", "litestar"):
        logging.getLogger(name).handlers.clear()
        logging.getLogger(name).propagate = name != "uvicorn.access"
    # Their info lines tell of single requests to other servers, or repeat our own.
    for name in ("uvicorn.error", "httpx", "httpcore", "huggingface_hub", "filelock"):
        logging.getLogger(name).setLevel(max(_LEVELS[level], logging.WARNING))


class _Lines:
    """Lines for *out*. Those that can wait for others share a write with what comes within `GATHER_S`."""

    GATHER_S = 0.01

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._waiting: list[str] = []
        self._lock = threading.RLock()  # threads write too, and what ends an object may in the middle of it
        atexit.register(self.flush)

    def add(self, line: str, *, can_wait: bool) -> None:
        with self._lock:
            self._waiting.append(line)
            is_first = len(self._waiting) == 1
        if can_wait and not is_first:
            return  # the first has set the time
        if can_wait:
            try:
                asyncio.get_running_loop().call_later(self.GATHER_S, self.flush)
                return
            except RuntimeError:
                pass  # no loop runs: nobody would flush
        self.flush()

    def flush(self) -> None:
        with self._lock:
            if self._waiting:
                text = "\n".join([*self._waiting, ""])
                self._waiting.clear()
                self._out.write(text)
                self._out.flush()


class _JsonLogger(structlog.BoundLoggerBase):
    """Makes an entry one line of JSON in one step: a chain of processors would be a tenth of a request's cost."""

    level = logging.INFO

    def debug(self, event: str, **fields: Any) -> None:
        if self.level <= logging.DEBUG:
            self._write("debug", event, fields)

    def info(self, event: str, **fields: Any) -> None:
        if self.level <= logging.INFO:
            self._write("info", event, fields, can_wait=True)

    def warning(self, event: str, **fields: Any) -> None:
        if self.level <= logging.WARNING:
            self._write("warning", event, fields)

    def error(self, event: str, **fields: Any) -> None:
        self._write("error", event, fields)

    def exception(self, event: str, **fields: Any) -> None:
        self._write("error", event, {"exc_info": True} | fields)

    def _write(self, level: str, event: str, fields: dict[str, Any], *, can_wait: bool = False) -> None:
        if self._context:
            fields = {**self._context, **fields}
        fields["event"] = event
        fields["level"] = level
        fields["timestamp"] = datetime.now(UTC)
        if "exc_info" in fields:
            structlog.processors.format_exc_info(self._logger, level, fields)
        self._logger.add(_encode(fields).decode(), can_wait=can_wait)


def _render_json(_logger: WrappedLogger, _method: str, event: EventDict) -> str:
    return _encode(event).decode()


# ---- metrics ----

_DURATION_BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0)
_TTFT_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)
METRICS_CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Histogram:
    """Counts of observations in seconds below each bound; Prometheus adds them up on rendering."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    @property
    def has_any(self) -> bool:
        """Whether anything has been observed."""
        return any(self.counts)

    def observe(self, seconds: float) -> None:
        """Count one observation."""
        self.counts[bisect_left(self.bounds, seconds)] += 1
        self.total += seconds


class _ModelCounts:
    """What is counted of one model."""

    __slots__ = ("cached_tokens", "completion_tokens", "duration", "prompt_tokens", "ttft")

    def __init__(self) -> None:
        self.prompt_tokens = self.cached_tokens = self.completion_tokens = 0
        self.duration = Histogram(_DURATION_BUCKETS)
        self.ttft = Histogram(_TTFT_BUCKETS)

    def tokens(self) -> list[tuple[str, int]]:
        """Kinds of tokens that there were, and how many."""
        kinds = ("prompt", self.prompt_tokens), ("cached", self.cached_tokens), ("completion", self.completion_tokens)
        return [(kind, number) for kind, number in kinds if number]


class InstanceGauge(msgspec.Struct, frozen=True, kw_only=True):
    """What is read off an instance when metrics are asked for; running and waiting count sequences and requests."""

    instance_id: str
    model: str
    backend: str
    state: str
    running: int
    waiting: int
    restarts: int


class Metrics:
    """Counters of this process, changed on the event loop's thread alone."""

    def __init__(self) -> None:
        self._requests: dict[tuple[str, int], int] = {}
        self._models: dict[str, _ModelCounts] = {}

    def count(self, record: RequestFacts, model: str) -> None:
        """Count an ended request under *model* (empty: none that is configured, so that labels stay bounded)."""
        key = (model, record.status)
        self._requests[key] = self._requests.get(key, 0) + 1
        counts = self._models.get(model)
        if counts is None:
            counts = self._models[model] = _ModelCounts()
        counts.prompt_tokens += record.prompt_tokens
        counts.cached_tokens += record.cached_tokens
        counts.completion_tokens += record.completion_tokens
        counts.duration.observe(record.duration_s)
        if record.ttft_s is not None:
            counts.ttft.observe(record.ttft_s)

    def render(self, instances: Iterable[InstanceGauge]) -> str:
        """All metrics in Prometheus' text format 0.0.4."""
        text = _Text()
        text.family("enginehouse_requests_total", "counter", "Requests that have ended.")
        for (model, status), number in self._requests.items():
            text.sample(number, model=model, status=str(status))
        text.family("enginehouse_tokens_total", "counter", "Tokens that engines counted; cached ones are also prompt.")
        for model, counts in self._models.items():
            for kind, number in counts.tokens():
                text.sample(number, model=model, kind=kind)
        known = {model: counts for model, counts in self._models.items() if model}
        text.histograms(
            "enginehouse_request_duration_seconds",
            "Duration of requests.",
            {model: counts.duration for model, counts in known.items()},
        )
        text.histograms(
            "enginehouse_ttft_seconds",
            "Time to the first delta.",
            {model: counts.ttft for model, counts in known.items() if counts.ttft.has_any},
        )
        rows = list(instances)
        text.family("enginehouse_running_sequences", "gauge", "Sequences that an instance works on.")
        for row in rows:
            text.sample(row.running, model=row.model, instance=row.instance_id)
        text.family("enginehouse_queued_requests", "gauge", "Requests that wait for a slot.")
        for row in rows:
            text.sample(row.waiting, model=row.model, instance=row.instance_id)
        text.family("enginehouse_instance_state", "gauge", "1 for the state that an instance is in.")
        for row in rows:
            text.sample(1, model=row.model, instance=row.instance_id, backend=row.backend, state=row.state)
        text.family("enginehouse_instance_restarts_total", "counter", "Restarts after an unexpected end.")
        for row in rows:
            text.sample(row.restarts, model=row.model, instance=row.instance_id)
        return text.whole()


class _Text:
    """Lines of the text format; samples belong to the family that was begun last."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._name = ""

    def family(self, name: str, kind: str, about: str) -> None:
        self._name = name
        self._lines += (f"# HELP {name} {about}", f"# TYPE {name} {kind}")

    def sample(self, value: float, suffix: str = "", **labels: str) -> None:
        pairs = ",".join(f'{name}="{_escape(text)}"' for name, text in labels.items())
        self._lines.append(f"{self._name}{suffix}{{{pairs}}} {value}")

    def histograms(self, name: str, about: str, of: dict[str, Histogram]) -> None:
        self.family(name, "histogram", about)
        for model, histogram in of.items():
            below = 0
            for bound, count in zip((*histogram.bounds, "+Inf"), histogram.counts, strict=True):
                below += count
                self.sample(below, "_bucket", model=model, le=str(bound))
            self.sample(histogram.total, "_sum", model=model)
            self.sample(below, "_count", model=model)

    def whole(self) -> str:
        return "\n".join(self._lines) + "\n"


def _escape(label: str) -> str:
    return label.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def get_logger() -> Any:  # structlog types its lazy proxy as Any
    """The logger of a module: `log.info("instance ready", model=…)`, a constant event and keys."""
    return structlog.get_logger()
