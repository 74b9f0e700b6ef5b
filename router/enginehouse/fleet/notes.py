"""What is written down of a request while it is served."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from enginehouse_plugin import AnyEvent


class Notes(Protocol):
    """What a lease writes down of its request; who keeps account brings it."""

    instance_id: str | None
    fingerprint: str | None
    queue_s: float
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

    def note(self, batch: Sequence[AnyEvent]) -> None:
        """Take the events of *batch* into account."""

    def fail(self, error: BaseException) -> None:
        """Take down that the request ends with *error*."""
