"""`python -m tests.bench.telemetry`: what traces and metrics by OTLP take of a processor, per request.

The first figure is the event loop's: ids, times and the trace's headers for one instance. The others are those of the
threads that send: spans made, spans encoded, histograms counted. Medians of rounds, in microseconds of processor time.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.resources import Resource

from enginehouse.telemetry.otlp import _Counts
from enginehouse.telemetry.spans import Spans
from enginehouse.telemetry.traces import Sampling, Trace, begun
from enginehouse_plugin import RequestFacts

ROUNDS, REQUESTS = 15, 500
PARENT = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
FACTS = RequestFacts(
    request_id="req-1", model="m", instance_id="m#0", key="k", status=200, is_stream=True, is_cancelled=False,
    ttft_s=0.5, duration_s=1.5, prompt_tokens=10, cached_tokens=4, completion_tokens=21, finish_reasons=("stop",),
    error_code=None, queue_s=0.0, endpoint="chat",
)  # fmt: skip


def noted() -> Trace:
    """What the event loop does for the trace of one request."""
    named = {b"traceparent": PARENT}
    trace = begun("POST", "/v1/chat/completions", named, sampling=Sampling(), is_passed_on=True, heeds_parent=True)
    trace.leased_s = 0.1
    with trace.attempt("m#0", "vllm", 0.1):
        pass
    trace.answered(1.4)
    return trace


def microseconds(work: Callable[[], object], requests: int) -> float:
    """Processor time for one of the *requests* that one call of *work* is for."""
    times = []
    for _ in range(ROUNDS):
        began_s = time.thread_time()
        work()
        times.append(1e6 * (time.thread_time() - began_s) / requests)
    return statistics.median(times)


def main() -> None:
    spans, trace = Spans(Resource({"service.name": "bench"}), "0"), noted()
    counts = _Counts(MeterProvider((InMemoryMetricReader(),), shutdown_on_exit=False), "0")
    whole = [span for _ in range(REQUESTS) for span in spans.of(trace, FACTS)]
    many = range(REQUESTS)
    for name, work in (
        ("noted by the event loop", lambda: [noted() for _ in many]),
        ("three spans made", lambda: [list(spans.of(trace, FACTS)) for _ in many]),
        ("three spans encoded", lambda: encode_spans(whole).SerializePartialToString()),
        ("histograms counted", lambda: [counts.count(trace, FACTS, "m") for _ in many]),
    ):
        print(f"{name}: {microseconds(work, REQUESTS):.1f} µs")


if __name__ == "__main__":
    main()
