"""The trace of a request: its ids, whom it continues, and those moments that the facts of a request do not tell.

W3C Trace Context, in and out. Nothing of OpenTelemetry is needed here: what is exported is made elsewhere, in time.
Times are seconds since the request began.
"""

from __future__ import annotations

import random
import re
import time
from collections.abc import Mapping
from contextvars import Token
from typing import Final, Protocol

import msgspec

from enginehouse_plugin import RequestFacts, trace_headers
from enginehouse_plugin.tracing import TraceHeaders

_LOW_64: Final = (1 << 64) - 1
_SAMPLED: Final = 1
_PARENT: Final = re.compile(rb"(?!ff)([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
"""A later version may say more behind the flags; this one says nothing there."""
_STATE: Final = re.compile(rb"[\x20-\x7e]{1,512}")

_random = random.Random()  # noqa: S311  # seeded by the system; ids differ, and are no secrets


class Sampling(msgspec.Struct, frozen=True):
    """Which traces are told: a *share* of those that begin here, and of others what their sender decided.

    Without *follows_parent* the share is of all. As OpenTelemetry's samplers do, by the low half of the trace's id, so
    that all who ask decide alike.
    """

    share: float = 1.0
    follows_parent: bool = True

    def takes(self, trace_id: int, parent: Parent | None) -> bool:
        """Whether the trace with this id is told."""
        if parent is not None and self.follows_parent:
            return parent.is_sampled
        return (trace_id & _LOW_64) < round(self.share * (_LOW_64 + 1))


class Parent(msgspec.Struct, frozen=True):
    """The span of the client that a request belongs to."""

    trace_id: int
    span_id: int
    is_sampled: bool

    @classmethod
    def read(cls, header: bytes | None) -> Parent | None:
        """What `traceparent` says; None where it is absent or not to be understood, which starts a trace of its own."""
        if header is None or (told := _PARENT.fullmatch(header)) is None:
            return None
        version, trace_id, span_id, flags, rest = told.groups()
        if (version == b"00" and rest) or not int(trace_id, 16) or not int(span_id, 16):
            return None
        return cls(int(trace_id, 16), int(span_id, 16), bool(int(flags, 16) & _SAMPLED))


class Attempt:
    """A request at one instance; `error` is the code of that with which it failed there, to be tried elsewhere."""

    __slots__ = ("at_s", "backend", "ended_s", "error", "instance_id", "span_id")

    def __init__(self, instance_id: str, backend: str, at_s: float) -> None:
        self.instance_id = instance_id
        self.backend = backend
        self.at_s = at_s
        self.span_id = new_span_id()
        self.ended_s: float | None = None
        self.error: str | None = None


class Trace:
    """What is noted for the trace of one request; *method* and *route* are those of HTTP.

    Where *is_passed_on*, engines and hosts that work on it are told of it. `leased_s` is when it got its lease, `waits`
    are its times in queues, each with begin and end.
    """

    __slots__ = (
        "attempts", "began_ns", "is_passed_on", "is_sampled", "leased_s", "method", "parent", "route", "span_id",
        "state", "trace_id", "waits",
    )  # fmt: skip

    def __init__(
        self, method: str, route: str, parent: Parent | None, state: str, *, sampling: Sampling, is_passed_on: bool
    ) -> None:
        self.method = method
        self.route = route
        self.parent = parent
        self.state = state
        self.trace_id = (_random.getrandbits(128) or 1) if parent is None else parent.trace_id
        self.span_id = new_span_id()
        self.is_sampled = sampling.takes(self.trace_id, parent)
        self.is_passed_on = is_passed_on
        self.began_ns = time.time_ns()
        self.leased_s: float | None = None
        self.waits: list[tuple[float, float]] = []
        self.attempts: list[Attempt] = []

    def attempt(self, instance_id: str, backend: str, at_s: float) -> Outgoing:
        """Note that an instance is asked now; what is begun `with` the result tells it of the trace."""
        attempt = Attempt(instance_id, backend, at_s)
        self.attempts.append(attempt)
        return Outgoing(self._headers(attempt.span_id) if self.is_passed_on else ())

    def attempt_failed(self, code: str, at_s: float) -> None:
        """Note that the last instance failed it, or did not begin in time."""
        if self.attempts and self.attempts[-1].error is None:
            self.attempts[-1].error = code
            self.attempts[-1].ended_s = at_s

    def answered(self, at_s: float) -> None:
        """Note that the last instance has said everything."""
        if self.attempts:
            self.attempts[-1].ended_s = at_s

    def _headers(self, span_id: int) -> TraceHeaders:
        parent = ("traceparent", f"00-{self.trace_id:032x}-{span_id:016x}-{int(self.is_sampled):02x}")
        return (parent, ("tracestate", self.state)) if self.state else (parent,)


class Outgoing:
    """Within it, requests that are sent carry *headers*."""

    __slots__ = ("_headers", "_token")

    def __init__(self, headers: TraceHeaders) -> None:
        self._headers = headers
        self._token: Token[TraceHeaders] | None = None

    def __enter__(self) -> None:
        if self._headers:
            self._token = trace_headers.set(self._headers)

    def __exit__(self, *_: object) -> None:
        if self._token is not None:
            trace_headers.reset(self._token)
            self._token = None


UNTRACED: Final = Outgoing(())


class Export(Protocol):
    """Sends traces and metrics away."""

    @property
    def lost(self) -> int:
        """How many requests could not be told of: too many waited, or nobody took them."""
        ...

    def begin(self, method: str, route: str, named: Mapping[bytes, bytes]) -> Trace:
        """Begin the trace of a request with these headers."""
        ...

    def add(self, trace: Trace, facts: RequestFacts, model: str) -> None:
        """Have the request told that has ended. *model* is empty for a name that is not configured. Never waits."""

    def close(self) -> None:
        """Send what waits, for a few seconds at most. Blocks."""


def begun(
    method: str, route: str, named: Mapping[bytes, bytes], *, sampling: Sampling, is_passed_on: bool, heeds_parent: bool
) -> Trace:
    """The trace of a request that has just come; with *heeds_parent* it is the client's, where that sends one."""
    parent = Parent.read(named.get(b"traceparent")) if heeds_parent else None
    state = named.get(b"tracestate", b"") if parent is not None else b""
    told = state.decode("ascii") if _STATE.fullmatch(state) else ""
    return Trace(method, route, parent, told, sampling=sampling, is_passed_on=is_passed_on)


def new_span_id() -> int:
    """An id for a span, never zero."""
    return _random.getrandbits(64) or 1
