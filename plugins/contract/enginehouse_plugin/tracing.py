"""The trace that a request belongs to, for adapters that hand requests on over HTTP."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Final, TypeAlias

TraceHeaders: TypeAlias = tuple[tuple[str, str], ...]

trace_headers: Final[ContextVar[TraceHeaders]] = ContextVar("trace_headers", default=())
"""Headers for whoever works on the request: `traceparent`, and `tracestate` where the client sent one.

Set while `Instance.start` is called, and in the tasks that it makes; empty where nothing is traced. Send them as they
are; the clients of the kit do so by themselves. Source: W3C Trace Context, level 1.
"""
