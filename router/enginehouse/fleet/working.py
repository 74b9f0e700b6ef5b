"""A lease for a task that generates nothing: vectors of texts, or scores."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any

import msgspec

from enginehouse_plugin import AnyEvent, GenerationRequest, Instance, Run, Task, UsageReport
from enginehouse_plugin.run import GeneratedRun

from .lease import Lease


class Work(msgspec.Struct, frozen=True):
    """What is done on an instance with *task*; `do` keeps what comes of it, and returns what it has used.

    It may be done more than once: where an instance fails, another one does it. `prompt_bytes` bounds the tokens of
    the prompt, where texts count several times; None: the body does.
    """

    task: Task
    do: Callable[[Instance], Awaitable[UsageReport]]
    prompt_bytes: int | None = None


class WorkLease(Lease):
    """Goes the way of a lease; the one event is a `UsageReport`, and what was made is the work's own."""

    __slots__ = ("_work",)

    def __init__(self, *args: Any, work: Work, **more: Any) -> None:  # those of a lease
        self._work = work
        super().__init__(*args, **more)

    def begin(self, instance: Instance, request: GenerationRequest) -> Run:  # noqa: ARG002  # it stands for the work
        """Have the work done by *instance*."""
        return GeneratedRun(_done(self._work, self._model.checked(instance, self._work.task)), self)

    def end(self, error: Exception | None) -> None:
        """See `Lease.end`; how long it takes says nothing of how fast answers come."""
        self._tries.blocks = None
        super().end(error)


async def _done(work: Work, instance: Instance) -> AsyncGenerator[AnyEvent, None]:
    yield await work.do(instance)
