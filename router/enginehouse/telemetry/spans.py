"""Spans of a request that has ended, made of its trace and its facts.

    POST /v1/chat/completions     server: what the client saw
      lease MODEL                 internal: from the model's name to the end
        queue                     internal: each time that it waited for a slot
        chat MODEL                client: each instance that was asked, with the event `first token`

They hold counts, times and names, never what was asked or answered. They are made whole, past OpenTelemetry's tracers:
all that these do is decided already, and would take four times as long.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags, TraceState

from enginehouse_plugin import RequestFacts

from . import genai
from .traces import Attempt, Trace, new_span_id

Attributes = dict[str, str | bool | int | float | tuple[str, ...]]

_NS: Final = 1_000_000_000
_LONGEST: Final = 200
"""Letters of a model's name in a span: clients may ask for any."""
_FAULT, _REFUSAL = 500, 400
_TOLD: Final = TraceFlags(TraceFlags.SAMPLED)
_FAILED: Final = Status(StatusCode.ERROR)
_UNSET: Final = Status(StatusCode.UNSET)


class Spans:
    """Makes spans of what *resource* describes; *version* is the router's."""

    def __init__(self, resource: Resource, version: str) -> None:
        self._resource = resource
        self._scope = InstrumentationScope("enginehouse", version, genai.SCHEMA_URL)

    def of(self, trace: Trace, facts: RequestFacts) -> Iterator[ReadableSpan]:
        """The spans of one request."""
        state = TraceState.from_header([trace.state]) if trace.state else TraceState()
        parent = None
        if trace.parent is not None:
            flags = TraceFlags(int(trace.parent.is_sampled))
            parent = SpanContext(trace.trace_id, trace.parent.span_id, True, flags, state)
        server = _context(trace, state, trace.span_id)
        # By the conventions for HTTP a refusal is no error of the server; one in a stream that had begun is.
        is_fault = facts.status >= _FAULT or (facts.error_code is not None and facts.status < _REFUSAL)
        yield self._span(
            f"{trace.method} {trace.route}",
            SpanKind.SERVER,
            (server, parent),
            (_at(trace, 0.0), _at(trace, facts.duration_s)),
            _of_server(trace, facts),
            error=(facts.error_code or str(facts.status)) if is_fault else None,
        )
        if trace.leased_s is not None:
            yield from self._of_lease(trace, facts, trace.leased_s, server, state)

    def _of_lease(
        self, trace: Trace, facts: RequestFacts, leased_s: float, server: SpanContext, state: TraceState
    ) -> Iterator[ReadableSpan]:
        model, end = facts.model[:_LONGEST], _at(trace, facts.duration_s)
        lease = _context(trace, state, new_span_id())
        attributes: Attributes = {genai.MODEL: model, "enginehouse.tries": len(trace.attempts)}
        if facts.queue_s:
            attributes["enginehouse.queue_s"] = facts.queue_s
        times = (_at(trace, leased_s), end)
        yield self._span(f"lease {model}", SpanKind.INTERNAL, (lease, server), times, attributes)
        for began_s, ended_s in trace.waits:
            queue = _context(trace, state, new_span_id())
            times = (_at(trace, began_s), _at(trace, ended_s))
            yield self._span("queue", SpanKind.INTERNAL, (queue, lease), times, {})
        operation = genai.operation(facts.endpoint)
        for attempt in trace.attempts:
            is_last = attempt is trace.attempts[-1]
            attributes = {
                genai.OPERATION: operation,
                genai.PROVIDER: attempt.backend,
                genai.MODEL: model,
                genai.STREAM: facts.is_stream,
                "enginehouse.instance.id": attempt.instance_id,
            }
            events: list[Event] = []
            if is_last:
                attributes |= _answered(facts, attempt)
                if facts.ttft_s is not None:
                    events.append(Event("first token", timestamp=_at(trace, facts.ttft_s)))
            yield self._span(
                f"{operation} {model}",
                SpanKind.CLIENT,
                (_context(trace, state, attempt.span_id), lease),
                (_at(trace, attempt.at_s), end if attempt.ended_s is None else _at(trace, attempt.ended_s)),
                attributes,
                events,
                error=attempt.error or (facts.error_code if is_last else None),
            )

    def _span(
        self,
        name: str,
        kind: SpanKind,
        contexts: tuple[SpanContext, SpanContext | None],
        times: tuple[int, int],
        attributes: Attributes,
        events: list[Event] | None = None,
        *,
        error: str | None = None,
    ) -> ReadableSpan:
        """One span; *contexts* are its own and its parent's, *times* its begin and end in Unix nanoseconds."""
        if error is not None:
            attributes[genai.ERROR_TYPE] = error
        return ReadableSpan(
            name,
            contexts[0],
            contexts[1],
            self._resource,
            attributes,
            events or (),
            kind=kind,
            status=_UNSET if error is None else _FAILED,
            start_time=times[0],
            end_time=times[1],
            instrumentation_scope=self._scope,
        )


def _of_server(trace: Trace, facts: RequestFacts) -> Attributes:
    attributes: Attributes = {
        genai.HTTP_METHOD: trace.method,
        genai.HTTP_ROUTE: trace.route,
        genai.HTTP_STATUS: facts.status,
        "enginehouse.request.id": facts.request_id,
    }
    if facts.is_cancelled:
        attributes["enginehouse.cancelled"] = True
    if facts.error_code is not None:
        attributes["enginehouse.error.code"] = facts.error_code
    if facts.ignored:
        attributes["enginehouse.ignored"] = facts.ignored
    return attributes


def _answered(facts: RequestFacts, attempt: Attempt) -> Attributes:
    """What is known of the last attempt alone."""
    attributes: Attributes = {
        genai.INPUT_TOKENS: facts.prompt_tokens,
        genai.OUTPUT_TOKENS: facts.completion_tokens,
    }
    if facts.cached_tokens:
        attributes[genai.CACHED_TOKENS] = facts.cached_tokens
    if facts.reasoning_tokens:
        attributes[genai.REASONING_TOKENS] = facts.reasoning_tokens
    if facts.finish_reasons:
        attributes[genai.FINISH_REASONS] = facts.finish_reasons
    if facts.is_stream and facts.ttft_s is not None:
        attributes[genai.FIRST_CHUNK] = max(0.0, facts.ttft_s - attempt.at_s)
    return attributes


def _context(trace: Trace, state: TraceState, span_id: int) -> SpanContext:
    return SpanContext(trace.trace_id, span_id, False, _TOLD, state)


def _at(trace: Trace, at_s: float) -> int:
    return trace.began_ns + int(at_s * _NS)
