"""The facts of one request: everything worth keeping of it, noted while it runs.

Log line, metrics, usage row and what observers get are views of what `record` returns. A new fact is an attribute
here and a field of the same name there, and appears in those views that want it.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from enginehouse.telemetry import UNTRACED, Outgoing, Trace
from enginehouse_plugin import (
    AnyEvent,
    Finished,
    ReasoningDelta,
    RefusalDelta,
    RequestFacts,
    Started,
    TextDelta,
    ToolCallDelta,
    UsageReport,
)
from enginehouse_plugin.errors import EnginehouseError

if TYPE_CHECKING:
    from .credits import Reservation
    from .limits import Held
    from .prices import PerToken

_DELTAS: Final = frozenset({TextDelta, ReasoningDelta, RefusalDelta, ToolCallDelta})


class Facts:
    """The facts of one request, from its head to its end; the clock starts when it is made.

    Counts are the engine's own: the final report, or for a stream that was cut off the last running counts.
    `reasoning_tokens` are part of the completion's, and known from the report alone. `queue_s` is the time in which
    the request waited for a slot; `ignored` names what was asked for and left out. `is_complete`: the engine has said
    everything; `is_cancelled`: the client left before that. `status` is the HTTP status, 0 while the request runs.
    """

    __slots__ = (
        "_counts",
        "_ended_at",
        "_first_at",
        "_reported_tokens",
        "_started_at",
        "asked_at",
        "cached_tokens",
        "charged",
        "credit",
        "endpoint",
        "error_code",
        "fingerprint",
        "finish_reasons",
        "held",
        "ignored",
        "instance_id",
        "is_cancelled",
        "is_complete",
        "is_kept",
        "is_stream",
        "key",
        "model",
        "prices",
        "prompt_bytes",
        "prompt_tokens",
        "queue_s",
        "reasoning_tokens",
        "recorded",
        "request_id",
        "status",
        "trace",
    )

    def __init__(self, request_id: str) -> None:
        self.request_id = request_id
        self.endpoint = ""
        self.model = ""
        self.recorded: dict[str, Any] | None = None  # fields of the request, as plain JSON
        self.ignored: tuple[str, ...] = ()
        self.key: str | None = None
        self.instance_id: str | None = None
        self.fingerprint: str | None = None  # of what answers
        self.is_stream = False
        self.is_cancelled = False
        self.is_complete = False
        self.is_kept = False  # as a row of usage that outlives the router
        self.status = 0
        self.trace: Trace | None = None  # where it is told
        self.error_code: str | None = None
        self.held: Held | None = None  # of limits, while it runs
        self.prices: PerToken | None = None  # of the model
        self.credit: Reservation | None = None  # of the key, while it runs
        self.charged: int | None = None  # when it has ended, in units of credit
        self.prompt_bytes = 0  # of the request that holds it
        self.asked_at: float | None = None  # since when it waits for a part of a limit
        self.queue_s = 0.0
        self.prompt_tokens = 0
        self.cached_tokens = 0
        self.reasoning_tokens = 0
        self.finish_reasons: tuple[str, ...] = ()
        self._counts: dict[int, int] = {}
        self._reported_tokens: int | None = None
        self._started_at = time.perf_counter()
        self._first_at: float | None = None
        self._ended_at: float | None = None

    @property
    def has_delta(self) -> bool:
        """Whether part of an answer, or the end of a choice, has come."""
        return self._first_at is not None

    @property
    def is_ended(self) -> bool:
        """Whether `end` has been called."""
        return self._ended_at is not None

    @property
    def completion_tokens(self) -> int:
        """Tokens made so far, over all choices."""
        # A list first: usage is noted by another thread, while choices may be added here.
        return self._reported_tokens if self._reported_tokens is not None else sum(list(self._counts.values()))

    @property
    def ttft_s(self) -> float | None:
        """Time to the first part of the answer; None before it."""
        return None if self._first_at is None else self._first_at - self._started_at

    @property
    def duration_s(self) -> float:
        """Time to the end, or until now."""
        return (time.perf_counter() if self._ended_at is None else self._ended_at) - self._started_at

    @property
    def cost(self) -> int:
        """What the tokens so far cost, in units of credit."""
        if self.prices is None:
            return 0
        return self.prices.cost(self.prompt_tokens, self.cached_tokens, self.completion_tokens)

    def charge(self, cost: int) -> int | None:
        """What the key pays of *cost*, as far as its credit goes; None: it need not pay."""
        credit = self.credit  # once: it is noted by another thread, while the request may end here
        return self.charged if credit is None else min(cost, credit.amount)

    def waited(self, seconds: float) -> None:
        """Note that it has waited so long for a slot, until now."""
        self.queue_s += seconds
        if self.trace is not None:
            now_s = self.duration_s
            self.trace.waits.append((max(0.0, now_s - seconds), now_s))

    def attempt(self, instance_id: str, fingerprint: str | None, backend: str) -> Outgoing:
        """Note which instance is asked now; what is begun `with` the result carries the request's trace on."""
        self.instance_id = instance_id
        self.fingerprint = fingerprint
        return UNTRACED if self.trace is None else self.trace.attempt(instance_id, backend, self.duration_s)

    def attempt_failed(self, code: str) -> None:
        """Note that the instance which was asked has failed it with the error of this *code*."""
        if self.trace is not None:
            self.trace.attempt_failed(code, self.duration_s)

    def note(self, batch: Sequence[AnyEvent]) -> None:
        """Take events into account, in their order. Prompt tokens may come at the start or with the report."""
        for event in batch:
            kind = type(event)
            if kind in _DELTAS:
                if self._first_at is None:
                    self._first_at = time.perf_counter()
                self._counts[event.choice] = event.completion_tokens  # type: ignore[union-attr]  # `isinstance` costs more
            elif type(event) is Finished:
                if self._first_at is None:
                    self._first_at = time.perf_counter()
                self.finish_reasons += (event.reason,)
            elif type(event) is Started:
                if event.prompt_tokens is not None:
                    self.prompt_tokens = event.prompt_tokens
                self.cached_tokens = event.cached_tokens
                if event.ignored:  # of two tries the second may name the same
                    self.ignored += tuple(name for name in event.ignored if name not in self.ignored)
            elif type(event) is UsageReport:
                self.prompt_tokens = event.prompt_tokens
                self.cached_tokens = event.cached_tokens
                self.reasoning_tokens = event.reasoning_tokens
                self._reported_tokens = event.completion_tokens
                if self.trace is not None:
                    self.trace.answered(self.duration_s)

    def fail(self, error: BaseException) -> None:
        """Note that the request ends with *error*."""
        self.error_code = error.code if isinstance(error, EnginehouseError) else "internal_error"

    def end(self, status: int) -> None:
        """End the request now, with HTTP *status*; the facts stay as they are from here on."""
        self.status = status
        self._ended_at = time.perf_counter()

    def record(self) -> RequestFacts:
        """The facts of the request, which has ended."""
        return RequestFacts(
            request_id=self.request_id,
            model=self.model,
            instance_id=self.instance_id,
            key=self.key,
            status=self.status,
            is_stream=self.is_stream,
            is_cancelled=self.is_cancelled,
            ttft_s=self.ttft_s,
            duration_s=self.duration_s,
            prompt_tokens=self.prompt_tokens,
            cached_tokens=self.cached_tokens,
            completion_tokens=self.completion_tokens,
            finish_reasons=self.finish_reasons,
            error_code=self.error_code,
            reasoning_tokens=self.reasoning_tokens,
            queue_s=self.queue_s,
            endpoint=self.endpoint,
            ignored=self.ignored,
        )
