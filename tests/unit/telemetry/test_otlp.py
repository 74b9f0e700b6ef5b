"""What is told of requests: names of the pinned conventions, never prompts, and losses that are counted."""

from __future__ import annotations

import builtins
import importlib
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
import pytest

from enginehouse.telemetry import ExportSettings, TelemetryError, open_export
from enginehouse_plugin import RequestFacts

pytest.importorskip("opentelemetry.exporter.otlp.proto.http", reason="install the extra otel")

from opentelemetry.sdk.trace import ReadableSpan  # the extra is there
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.semconv._incubating.attributes import gen_ai_attributes
from opentelemetry.semconv._incubating.metrics import gen_ai_metrics
from opentelemetry.semconv.attributes import error_attributes, http_attributes
from opentelemetry.semconv.schemas import Schemas
from opentelemetry.trace import SpanKind

from enginehouse.telemetry import genai, otlp

FACTS = RequestFacts(
    request_id="r", model="m", instance_id="m#1", key="k", status=200, is_stream=True, is_cancelled=False, ttft_s=0.5,
    duration_s=1.5, prompt_tokens=10, cached_tokens=4, completion_tokens=21, finish_reasons=("stop",), error_code=None,
    reasoning_tokens=5, queue_s=0.1, endpoint="chat",
)  # fmt: skip


class Taken:
    """Takes spans in place of a collector; *fails* is what becomes of them, *waits* holds it up."""

    def __init__(self) -> None:
        self.spans: list[ReadableSpan] = []
        self.fails = False
        self.breaks = False
        self.goes_on = threading.Event()
        self.goes_on.set()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.goes_on.wait(30)
        if self.breaks:
            raise RuntimeError("a fault of its own")
        if self.fails:
            return SpanExportResult.FAILURE
        self.spans += spans
        return SpanExportResult.SUCCESS

    def shutdown(self) -> None:
        self.goes_on.set()


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> Iterator[Taken]:
    taken = Taken()
    monkeypatch.setattr(otlp, "_span_exporter", lambda settings: taken)
    yield taken
    taken.goes_on.set()


def export(**settings: Any) -> otlp.OtlpExport:
    return otlp.OtlpExport(ExportSettings(traces=True, metrics=False, delay_s=0.01, **settings))


def run(to: otlp.OtlpExport, facts: RequestFacts = FACTS, *, named: dict[bytes, bytes] | None = None) -> None:
    trace = to.begin("POST", "/v1/chat/completions", named or {})
    trace.leased_s = 0.05
    trace.waits.append((0.05, 0.15))
    trace.attempt("m#0", "vllm", 0.15)
    trace.attempt_failed("engine_died", 0.3)
    trace.attempt("m#1", "llamacpp", 0.3)
    trace.answered(1.4)
    to.add(trace, facts, "m")


def test_names_are_those_of_opentelemetry() -> None:
    theirs = {
        value
        for module in (gen_ai_attributes, gen_ai_metrics, http_attributes, error_attributes)
        for value in vars(module).values()
        if isinstance(value, str)
    }
    ours = {value for name, value in vars(genai).items() if name.isupper() and isinstance(value, str)}
    assert ours - {genai.CONVENTIONS, genai.SCHEMA_URL} - theirs == set()
    assert {one.name for one in genai.INSTRUMENTS} <= theirs
    assert genai.SCHEMA_URL in {schema.value for schema in Schemas}
    operations = {one.value for one in gen_ai_attributes.GenAiOperationNameValues}
    assert {
        genai.operation(name) for name in ("chat", "messages", "responses", "completions", "embeddings")
    } <= operations


def test_a_request_is_a_tree_of_spans_with_its_tries(taken: Taken) -> None:
    to = export()
    run(to)
    to.close()
    spans = {(span.name, span.start_time): span for span in taken.spans}
    assert len(spans) == 5
    server, lease, queue, first, second = sorted(
        spans.values(), key=lambda span: (span.start_time or 0, span.name == "queue")
    )
    assert [span.name for span in (server, lease, queue, first, second)] == [
        "POST /v1/chat/completions", "lease m", "queue", "chat m", "chat m",
    ]  # fmt: skip
    assert server.kind is SpanKind.SERVER
    assert server.parent is None
    assert {span.parent and span.parent.span_id for span in (queue, first, second)} == {
        lease.get_span_context().span_id
    }
    assert (first.attributes or {})["error.type"] == "engine_died"
    assert not first.status.is_ok
    told = dict(second.attributes or {})
    assert told["gen_ai.provider.name"] == "llamacpp"
    assert told["gen_ai.usage.output_tokens"] == 21
    assert told["gen_ai.response.time_to_first_chunk"] == pytest.approx(0.2)
    assert [event.name for event in second.events] == ["first token"]
    assert (second.end_time or 0) - (server.start_time or 0) == 1_400_000_000
    assert {span.instrumentation_scope and span.instrumentation_scope.schema_url for span in taken.spans} == {
        genai.SCHEMA_URL
    }


def test_faults_are_errors_and_refusals_are_none(taken: Taken) -> None:
    to = export()
    for status, code in ((503, "queue_full"), (400, "invalid_value"), (200, "engine_died")):
        facts = msgspec.structs.replace(FACTS, request_id=str(status), status=status, error_code=code)
        to.add(to.begin("POST", "/v1/chat/completions", {}), facts, "m")
    to.close()
    told = {(span.attributes or {})["enginehouse.request.id"]: span.status.is_ok for span in taken.spans}
    assert told == {"503": False, "400": True, "200": False}


def test_a_full_queue_loses_requests_and_counts_them(taken: Taken) -> None:
    taken.goes_on.clear()
    to = export(queue_size=3, batch_size=1)
    for _ in range(10):
        run(to)
    assert to.lost >= 6  # three wait, and one may be in hand
    lost = to.lost
    taken.goes_on.set()
    to.close()
    assert len([span for span in taken.spans if span.kind is SpanKind.SERVER]) == 10 - lost
    assert to.lost == lost


@pytest.mark.parametrize("kind", ["fails", "breaks"])
def test_what_nobody_takes_is_counted_and_the_thread_goes_on(taken: Taken, kind: str) -> None:
    setattr(taken, kind, True)
    to = export(batch_size=1)
    run(to)
    run(to)
    to.close()
    assert to.lost == 2


def test_a_trace_that_is_not_sampled_is_not_told(taken: Taken) -> None:
    to = export()
    run(to, named={b"traceparent": b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"})
    to.close()
    assert taken.spans == []
    assert to.lost == 0


def test_a_missing_package_says_which_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name.startswith("opentelemetry") or name == "otlp":
            raise ModuleNotFoundError(f"No module named '{name}'", name="opentelemetry")
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(
        TelemetryError, match=r"not installed \(opentelemetry\)\. Install it with: pip install 'enginehouse\[otel\]'"
    ):
        open_export(ExportSettings(traces=True, metrics=False))


def test_another_protocol_says_which_package_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> Any:
        raise ModuleNotFoundError(f"No module named '{name}'", name="grpc")

    monkeypatch.setattr(importlib, "import_module", absent)
    with pytest.raises(TelemetryError, match="pip install opentelemetry-exporter-otlp-proto-grpc"):
        export(protocol="grpc")
