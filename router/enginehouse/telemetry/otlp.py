"""Traces and metrics by OTLP: whoever adds a request that has ended never waits, and never fails.

A thread makes spans of what was added and sends them; another, OpenTelemetry's own, sends the metrics that the first
one counts. While nobody takes them requests wait, a bounded number; further ones are lost and counted. This module is
imported where something is exported, and nowhere else.
"""

from __future__ import annotations

import importlib
import logging
import threading
import time
from collections import deque
from collections.abc import Mapping
from typing import Final

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import MetricExporter, PeriodicExportingMetricReader
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from enginehouse_plugin import RequestFacts

from . import genai
from .logs import get_logger
from .settings import ExportSettings, TelemetryError
from .spans import Spans
from .traces import Trace, begun

_CLOSE_S, _LEAST_S = 5.0, 0.5
"""At the end of the process what waits has this long to be sent, and metrics the least of it."""
_ROUTER: Final = "enginehouse"
_PACKAGES: Final = {
    "http/protobuf": "opentelemetry-exporter-otlp-proto-http",
    "grpc": "opentelemetry-exporter-otlp-proto-grpc",
}
_MODULES: Final = {
    "http/protobuf": "opentelemetry.exporter.otlp.proto.http",
    "grpc": "opentelemetry.exporter.otlp.proto.grpc",
}

log = get_logger()


class OtlpExport:
    """Sends what *settings* say; see `Export`.

    Raises:
        TelemetryError: the package for its protocol is not installed.
    """

    def __init__(self, settings: ExportSettings) -> None:
        from enginehouse import __version__

        self._settings = settings
        self._sampling = settings.sampling
        self._waiting: deque[tuple[Trace, RequestFacts, str]] = deque()
        self._wakes = threading.Event()
        self._ends = False
        self._dropped = 0  # by whoever adds
        self._unsent = 0  # by the thread
        self._in_hand = 0  # of the thread
        # One line for a batch that nobody took is enough; each of its tries is a warning.
        logging.getLogger("opentelemetry.exporter").setLevel(logging.ERROR)
        resource = _resource(__version__)
        self._spans = Spans(resource, __version__) if settings.traces else None
        self._exporter = _span_exporter(settings) if settings.traces else None
        self._meters = _meters(settings, resource) if settings.metrics else None
        self._counts = _Counts(self._meters, __version__) if self._meters is not None else None
        self._thread = threading.Thread(target=self._work, name="otlp", daemon=True)
        self._thread.start()

    @property
    def lost(self) -> int:
        """See `Export.lost`."""
        return self._dropped + self._unsent

    def begin(self, method: str, route: str, named: Mapping[bytes, bytes]) -> Trace:
        """See `Export.begin`."""
        settings = self._settings
        return begun(
            method,
            route,
            named,
            sampling=self._sampling,
            is_passed_on=settings.passes_on,
            heeds_parent=settings.heeds_parent,
        )

    def add(self, trace: Trace, facts: RequestFacts, model: str) -> None:
        """See `Export.add`."""
        if not trace.is_sampled and self._counts is None:
            return
        if len(self._waiting) >= self._settings.queue_size:
            self._dropped += 1
            return
        self._waiting.append((trace, facts, model))
        if len(self._waiting) >= self._settings.batch_size:
            self._wakes.set()

    def close(self) -> None:
        """See `Export.close`."""
        ends_at = time.monotonic() + _CLOSE_S
        self._ends = True
        self._wakes.set()
        self._thread.join(_CLOSE_S - _LEAST_S)
        lost = self.lost + len(self._waiting) + self._in_hand
        if self._exporter is not None:
            self._exporter.shutdown()  # which also ends a try that goes on
        if self._meters is not None:
            self._meters.shutdown(timeout_millis=max(_LEAST_S, ends_at - time.monotonic()) * 1000)
        if lost:
            log.warning("traces lost", requests=lost)

    # ---- on a thread of its own ----

    def _work(self) -> None:
        while True:
            self._wakes.wait(self._settings.delay_s)
            self._wakes.clear()
            while self._waiting:
                batch = [self._waiting.popleft() for _ in range(min(len(self._waiting), self._settings.batch_size))]
                self._in_hand = len(batch)
                try:
                    self._send(batch)
                except Exception as error:  # the thread goes on, whatever an exporter breaks
                    self._unsent += len(batch)
                    log.error("traces not sent", requests=len(batch), exc_info=error)
                self._in_hand = 0
            if self._ends:
                return

    def _send(self, batch: list[tuple[Trace, RequestFacts, str]]) -> None:
        made: list[ReadableSpan] = []
        sampled = 0
        for trace, facts, model in batch:
            if self._counts is not None:
                self._counts.count(trace, facts, model)
            if self._spans is not None and trace.is_sampled:
                made += self._spans.of(trace, facts)
                sampled += 1
        if self._exporter is not None and made and self._exporter.export(made) is not SpanExportResult.SUCCESS:
            self._unsent += sampled


class _Counts:
    """The histograms of the conventions."""

    def __init__(self, meters: MeterProvider, version: str) -> None:
        meter = meters.get_meter(_ROUTER, version, genai.SCHEMA_URL)
        self._histograms = {
            one.name: meter.create_histogram(
                one.name, one.unit, one.about, explicit_bucket_boundaries_advisory=one.bounds
            )
            for one in genai.INSTRUMENTS
        }

    def count(self, trace: Trace, facts: RequestFacts, model: str) -> None:
        """Count one request under *model*."""
        if facts.endpoint in genai.UNGENERATED:
            return
        attempt = trace.attempts[-1] if trace.attempts else None
        labels = {
            genai.OPERATION: genai.operation(facts.endpoint),
            genai.PROVIDER: _ROUTER if attempt is None else attempt.backend,
            genai.MODEL: model,
        }
        failed = labels if facts.error_code is None else {**labels, genai.ERROR_TYPE: facts.error_code}
        self._record(genai.REQUEST_DURATION, facts.duration_s, failed)
        if attempt is None:
            return
        ended_s = facts.duration_s if attempt.ended_s is None else attempt.ended_s
        self._record(genai.OPERATION_DURATION, ended_s - attempt.at_s, failed)
        for kind, number in (("input", facts.prompt_tokens), ("output", facts.completion_tokens)):
            if number:
                self._record(genai.TOKENS, number, {**labels, genai.TOKEN_TYPE: kind})
        if facts.ttft_s is None or facts.error_code is not None:
            return
        self._record(genai.FIRST_TOKEN, facts.ttft_s, labels)
        if facts.completion_tokens > 1:
            self._record(genai.PER_TOKEN, (ended_s - facts.ttft_s) / (facts.completion_tokens - 1), labels)

    def _record(self, instrument: genai.Instrument, value: float, labels: Mapping[str, str]) -> None:
        self._histograms[instrument.name].record(max(0.0, value), labels)


def _resource(version: str) -> Resource:
    """What is told of this process; the variables have the last word."""
    own = Resource({"service.name": _ROUTER, "service.version": version})
    return Resource.create().merge(own).merge(OTELResourceDetector().detect())


def _meters(settings: ExportSettings, resource: Resource) -> MeterProvider:
    """What sends the metrics, on a thread of its own."""
    reader = PeriodicExportingMetricReader(_metric_exporter(settings))
    return MeterProvider((reader,), resource, shutdown_on_exit=False)


def _span_exporter(settings: ExportSettings) -> SpanExporter:
    exporter = _exporter(settings, "trace_exporter", "OTLPSpanExporter", "v1/traces")
    assert isinstance(exporter, SpanExporter)  # noqa: S101  # what the package has by this name
    return exporter


def _metric_exporter(settings: ExportSettings) -> MetricExporter:
    exporter = _exporter(settings, "metric_exporter", "OTLPMetricExporter", "v1/metrics")
    assert isinstance(exporter, MetricExporter)  # noqa: S101  # what the package has by this name
    return exporter


def _exporter(settings: ExportSettings, module: str, name: str, path: str) -> object:
    """The exporter of this *name* for the protocol; the variables say what *settings* leave open."""
    try:
        exporter = getattr(importlib.import_module(f"{_MODULES[settings.protocol]}.{module}"), name)
    except ModuleNotFoundError as error:
        raise TelemetryError(
            "OTEL_EXPORTER_OTLP_PROTOCOL",
            f"'{settings.protocol}' needs a package that is not installed ({error.name}).",
            f"Install it with: pip install {_PACKAGES[settings.protocol]}",
        ) from error
    if settings.endpoint is None:
        return exporter()
    base = settings.endpoint.rstrip("/")
    return exporter(endpoint=base if settings.protocol == "grpc" else f"{base}/{path}")
