"""What is noted about one request while it runs, for its record."""

from __future__ import annotations

import time
from typing import Any

from enginehouse_plugin import (
    AnyEvent,
    Finished,
    ReasoningDelta,
    RefusalDelta,
    RequestRecord,
    Started,
    TextDelta,
    ToolCallDelta,
    UsageReport,
)
from enginehouse_plugin.errors import EnginehouseError


class Trace:
    """The notes on one request, from its head to its end; `record` makes them final.

    Counts are the engine's own: the final report, or for a stream that was cut off the last running counts.
    `is_complete`: the engine has said everything; `is_cancelled`: the client left before that.
    """

    __slots__ = (
        "_counts",
        "_first_at",
        "_started_at",
        "_usage",
        "cached_tokens",
        "error_code",
        "finish_reasons",
        "instance_id",
        "is_cancelled",
        "is_complete",
        "is_recorded",
        "is_stream",
        "key",
        "model",
        "prompt_tokens",
        "recorded",
        "request_id",
    )

    def __init__(self, request_id: str) -> None:
        self.request_id = request_id
        self.model = ""
        self.recorded: dict[str, Any] | None = None  # fields of the request, as plain JSON
        self.key: str | None = None
        self.instance_id: str | None = None
        self.is_stream = False
        self.is_cancelled = False
        self.is_complete = False
        self.is_recorded = False
        self.error_code: str | None = None
        self.prompt_tokens = 0
        self.cached_tokens = 0
        self.finish_reasons: list[str] = []
        self._counts: dict[int, int] = {}
        self._usage: UsageReport | None = None
        self._started_at = time.perf_counter()
        self._first_at: float | None = None

    @property
    def has_delta(self) -> bool:
        """Whether part of an answer, or the end of a choice, has come."""
        return self._first_at is not None

    @property
    def completion_tokens(self) -> int:
        """Tokens made so far, over all choices."""
        return self._usage.completion_tokens if self._usage is not None else sum(list(self._counts.values()))

    def note(self, event: AnyEvent) -> None:
        """Take *event* into account."""
        kind = type(event)
        if kind is TextDelta or kind is ToolCallDelta or kind is ReasoningDelta or kind is RefusalDelta:
            if self._first_at is None:
                self._first_at = time.perf_counter()
            self._counts[event.choice] = event.completion_tokens  # type: ignore[union-attr]  # `isinstance` costs more
        elif type(event) is Finished:
            if self._first_at is None:
                self._first_at = time.perf_counter()
            self.finish_reasons.append(event.reason)
        elif type(event) is Started:
            self.prompt_tokens = event.prompt_tokens
            self.cached_tokens = event.cached_tokens
        elif type(event) is UsageReport:
            self._usage = event
            self.prompt_tokens = event.prompt_tokens
            self.cached_tokens = event.cached_tokens

    def fail(self, error: BaseException) -> None:
        """Note that the request ends with *error*."""
        self.error_code = error.code if isinstance(error, EnginehouseError) else "internal_error"

    def record(self, status: int) -> RequestRecord:
        """The record of the request, which ends now with *status*."""
        self.is_recorded = True
        return self.so_far(status)

    def so_far(self, status: int) -> RequestRecord:
        """What the record would be if the request ended now; may be asked from another thread."""
        return RequestRecord(
            request_id=self.request_id,
            model=self.model,
            instance_id=self.instance_id,
            key=self.key,
            status=status,
            is_stream=self.is_stream,
            is_cancelled=self.is_cancelled,
            ttft_s=None if self._first_at is None else self._first_at - self._started_at,
            duration_s=time.perf_counter() - self._started_at,
            prompt_tokens=self.prompt_tokens,
            cached_tokens=self.cached_tokens,
            completion_tokens=self.completion_tokens,
            finish_reasons=tuple(self.finish_reasons),
            error_code=self.error_code,
        )
