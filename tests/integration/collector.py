"""A collector of OTLP, as others run it: rotel, from its wheel. What it has received it passes on, batched, to a sink
here, which reads it with OpenTelemetry's own classes of the protocol."""

from __future__ import annotations

import gzip
import importlib.util
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from tests.programs import free_port, running

_START_S = 60.0


class Sink:
    """What has come: requests for traces and for metrics, as they were sent."""

    def __init__(self) -> None:
        self.traces: list[ExportTraceServiceRequest] = []
        self.metrics: list[ExportMetricsServiceRequest] = []
        self.raw = b""
        self._has_grown = threading.Condition()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def wait_for(self, is_there: Callable[[], Any], timeout_s: float = 60.0) -> None:
        with self._has_grown:
            assert self._has_grown.wait_for(is_there, timeout_s), f"{len(self.traces)} of traces have come"

    def spans(self) -> list[Span]:
        return [
            span
            for request in list(self.traces)
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]

    def metrics_by_name(self) -> dict[str, Metric]:
        """Of each metric the last that has come."""
        return {
            metric.name: metric
            for request in list(self.metrics)
            for resource in request.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
        }

    def _take(self, path: str, body: bytes) -> None:
        with self._has_grown:
            self.raw += body
            if path == "/v1/traces":
                self.traces.append(ExportTraceServiceRequest.FromString(body))
            elif path == "/v1/metrics":
                self.metrics.append(ExportMetricsServiceRequest.FromString(body))
            self._has_grown.notify_all()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        take = self._take

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:  # the library's name
                body = self.rfile.read(int(self.headers["content-length"]))
                take(self.path, gzip.decompress(body) if self.headers["content-encoding"] == "gzip" else body)
                self.send_response(200)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        return Handler


def collector(folder: Path, to: str) -> Iterator[dict[str, str]]:
    """Run the collector, which passes on *to* this URL; yields the URLs that it listens on, by their protocols."""
    found = importlib.util.find_spec("rotel")
    if found is None or found.origin is None:
        pytest.skip("the collector is not here: pip install rotel==0.0.1a15, which has wheels up to Python 3.13")
    http, grpc = free_port(), free_port()
    argv = [
        *(str(Path(found.origin).with_name("rotel-agent")), "start"),
        *("--otlp-http-endpoint", f"127.0.0.1:{http}", "--otlp-grpc-endpoint", f"127.0.0.1:{grpc}"),
        *("--exporter", "otlp", "--otlp-exporter-endpoint", to, "--otlp-exporter-protocol", "http"),
        *("--batch-timeout", "100ms"),
    ]
    with running(argv, folder, "collector") as process:
        for port in (http, grpc):
            _wait_until_it_listens(process, port, folder)
        yield {"http/protobuf": f"http://127.0.0.1:{http}", "grpc": f"http://127.0.0.1:{grpc}"}


def attributes(pairs: Any) -> dict[str, Any]:
    """Attributes as plain values."""
    return {pair.key: _plain(pair.value) for pair in pairs if isinstance(pair, KeyValue)}


def _plain(value: AnyValue) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_plain(one) for one in value.array_value.values]
    return getattr(value, kind) if kind else None


def _wait_until_it_listens(process: subprocess.Popen[bytes], port: int, folder: Path) -> None:
    ends_at = time.monotonic() + _START_S
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1.0).close()
        except OSError:
            assert process.poll() is None, (folder / "collector.log").read_text()
            assert time.monotonic() < ends_at, (folder / "collector.log").read_text()
            time.sleep(0.05)
        else:
            return
