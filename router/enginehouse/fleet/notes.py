"""What is written down of a request while it is served."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from enginehouse.telemetry import Outgoing
from enginehouse_plugin import AnyEvent


class Notes(Protocol):
    """What a lease writes down of its request; who keeps account brings it."""

    ignored: tuple[str, ...]
    is_stream: bool
    prompt_tokens: int
    cached_tokens: int
    is_complete: bool
    is_cancelled: bool

    @property
    def has_delta(self) -> bool:
        """Whether part of an answer, or the end of a choice, has come."""
        ...

    @property
    def completion_tokens(self) -> int:
        """Tokens made so far."""
        ...

    @property
    def ttft_s(self) -> float | None:
        """Time to the first part of the answer, in seconds; None before it."""
        ...

    @property
    def duration_s(self) -> float:
        """Time until now, in seconds."""
        ...

    def waited(self, seconds: float) -> None:
        """Take down that it has waited so long for a slot, until now."""

    def attempt(self, instance_id: str, fingerprint: str | None, backend: str) -> Outgoing:
        """Take down which instance is asked now; what is begun `with` the result carries the request's trace on."""
        ...

    def attempt_failed(self, code: str) -> None:
        """Take down that this instance has failed it."""

    def note(self, batch: Sequence[AnyEvent]) -> None:
        """Take the events of *batch* into account."""

    def fail(self, error: BaseException) -> None:
        """Take down that the request ends with *error*."""
