"""Spans of a request that has ended, made of its trace and its facts.

    POST /v1/chat/completions     server: what the client saw
      lease MODEL                 internal: from the model's name to the end
        queue                     internal: each time that it waited for a slot
        chat MODEL                client: each instance that was asked, with the event `first token`

They hold counts, times and names, never what was asked or answered.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import NonRecordingSpan, SpanContext, SpanKind, Status, StatusCode, TraceFlags, TraceState
from opentelemetry.trace.propagation import set_span_in_context

from enginehouse_plugin import RequestFacts

from . import genai
from .traces import Attempt, Trace, new_span_id

Attributes = Mapping[str, str | bool | int | float | tuple[str, ...]]

_NS: Final = 1_000_000_000
_LONGEST: Final = 200
"""Letters of a model's name in a span: clients may ask for any."""
_SERVER_FAULT: Final = 500


class Spans:
    """Makes spans of what *resource* describes; they are taken by `take`."""

    def __init__(self, resource: Resource, version: str) -> None:
        self._ids = _Ids()
        self._ended = _Ended()
        # What is told has been decided when the request began, and its ids were made then.
        provider = TracerProvider(sampler=ALWAYS_ON, resource=resource, id_generator=self._ids, shutdown_on_exit=False)
        provider.add_span_processor(self._ended)
        self._tracer = provider.get_tracer("enginehouse", version, genai.SCHEMA_URL)

    def take(self) -> list[ReadableSpan]:
        """The spans that were made since the last call."""
        taken, self._ended.spans = self._ended.spans, []
        return taken

    def make(self, trace: Trace, facts: RequestFacts) -> None:
        """Make the spans of one request."""
        self._ids.trace_id = trace.trace_id
        server = self._server(trace, facts)
        if trace.leased_s is not None:
            self._lease(trace, facts, trace.leased_s, server.get_span_context())
        server.end(_at(trace, facts.duration_s))

    def _server(self, trace: Trace, facts: RequestFacts) -> Span:
        parent = None
        if trace.parent is not None:
            flags, state = TraceFlags(int(trace.parent.is_sampled)), TraceState.from_header([trace.state])
            parent = SpanContext(trace.trace_id, trace.parent.span_id, True, flags, state)
        span = self._begin(
            f"{trace.method} {trace.route}",
            parent,
            SpanKind.SERVER,
            trace,
            0.0,
            {
                genai.HTTP_METHOD: trace.method,
                genai.HTTP_ROUTE: trace.route,
                genai.HTTP_STATUS: facts.status,
                "enginehouse.request.id": facts.request_id,
                "enginehouse.cancelled": facts.is_cancelled,
            },
            trace.span_id,
        )
        if facts.error_code is not None:
            span.set_attribute("enginehouse.error.code", facts.error_code)
        # By the conventions for HTTP a refusal is no error of the server; one in a stream that had begun is.
        if facts.status >= _SERVER_FAULT or (facts.error_code is not None and facts.status < 400):
            _fail(span, facts.error_code or str(facts.status))
        if facts.ignored:
            span.set_attribute("enginehouse.ignored", facts.ignored)
        return span

    def _lease(self, trace: Trace, facts: RequestFacts, leased_s: float, parent: SpanContext) -> None:
        model = facts.model[:_LONGEST]
        lease = self._begin(
            f"lease {model}",
            parent,
            SpanKind.INTERNAL,
            trace,
            leased_s,
            {genai.MODEL: model, "enginehouse.tries": len(trace.attempts), "enginehouse.queue_s": facts.queue_s},
        )
        context = lease.get_span_context()
        for began_s, ended_s in trace.waits:
            self._begin("queue", context, SpanKind.INTERNAL, trace, began_s, {}).end(_at(trace, ended_s))
        for attempt in trace.attempts:
            self._attempt(trace, facts, attempt, context, is_last=attempt is trace.attempts[-1])
        lease.end(_at(trace, facts.duration_s))

    def _attempt(
        self, trace: Trace, facts: RequestFacts, attempt: Attempt, parent: SpanContext, *, is_last: bool
    ) -> None:
        operation, model = genai.operation(facts.endpoint), facts.model[:_LONGEST]
        attributes: Attributes = {
            genai.OPERATION: operation,
            genai.PROVIDER: attempt.backend,
            genai.MODEL: model,
            genai.STREAM: facts.is_stream,
            "enginehouse.instance.id": attempt.instance_id,
        }
        span = self._begin(
            f"{operation} {model}", parent, SpanKind.CLIENT, trace, attempt.at_s, attributes, attempt.span_id
        )
        error = attempt.error
        if is_last:
            error = error or facts.error_code
            span.set_attributes(
                {
                    genai.INPUT_TOKENS: facts.prompt_tokens,
                    genai.OUTPUT_TOKENS: facts.completion_tokens,
                    genai.CACHED_TOKENS: facts.cached_tokens,
                    genai.REASONING_TOKENS: facts.reasoning_tokens,
                }
            )
            if facts.finish_reasons:
                span.set_attribute(genai.FINISH_REASONS, facts.finish_reasons)
            if facts.ttft_s is not None:
                span.add_event("first token", timestamp=_at(trace, facts.ttft_s))
                if facts.is_stream:
                    span.set_attribute(genai.FIRST_CHUNK, max(0.0, facts.ttft_s - attempt.at_s))
        if error is not None:
            _fail(span, error)
        span.end(_at(trace, facts.duration_s if attempt.ended_s is None else attempt.ended_s))

    def _begin(
        self,
        name: str,
        parent: SpanContext | None,
        kind: SpanKind,
        trace: Trace,
        at_s: float,
        attributes: Attributes,
        span_id: int | None = None,
    ) -> Span:
        self._ids.span_id = new_span_id() if span_id is None else span_id
        context = None if parent is None else set_span_in_context(NonRecordingSpan(parent))
        span = self._tracer.start_span(name, context, kind, attributes, start_time=_at(trace, at_s))
        assert isinstance(span, Span)  # noqa: S101  # as all are that the SDK samples
        return span


class _Ids(IdGenerator):
    """Tells the ids that the next span has."""

    trace_id = 0
    span_id = 0

    def generate_trace_id(self) -> int:
        return self.trace_id

    def generate_span_id(self) -> int:
        return self.span_id


class _Ended(SpanProcessor):
    """Keeps the spans that have ended."""

    def __init__(self) -> None:
        self.spans: list[ReadableSpan] = []

    def on_end(self, span: ReadableSpan) -> None:
        self.spans.append(span)


def _at(trace: Trace, at_s: float) -> int:
    return trace.began_ns + int(at_s * _NS)


def _fail(span: Span, code: str) -> None:
    span.set_attribute(genai.ERROR_TYPE, code)
    span.set_status(Status(StatusCode.ERROR))
