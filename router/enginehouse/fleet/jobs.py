"""What a lease has done: an answer, one to each of several prompts, a count of the prompt's tokens, or other work."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Final

from enginehouse_plugin import AnyEvent, GenerationRequest, Instance, Run, Task
from enginehouse_plugin.request import Prompt

from .awaited import AwaitedRun
from .counted import Ask, counted
from .several import SeveralRun
from .work import Work

if TYPE_CHECKING:
    from .lease import Lease

_AT_ONCE: Final = 8
"""Prompts of one request that take slots at a time, where the instance has as many."""


class Job(ABC):
    """What is begun on an instance of *task* (None: of any); for each choice *at_once* slots are asked for.

    With *generates* it tells how fast answers come.
    """

    __slots__ = ("at_once", "generates", "task")

    def __init__(self, task: Task | None = "chat", *, generates: bool = False, at_once: int = 1) -> None:
        self.task: Task | None = task
        self.generates = generates
        self.at_once = at_once

    @abstractmethod
    def begin(self, instance: Instance, request: GenerationRequest, lease: Lease, slots: int) -> Run:
        """Begin on *instance* for *lease*, which has taken so many *slots*."""


class Generating(Job):
    """Has one answer generated."""

    def begin(self, instance: Instance, request: GenerationRequest, lease: Lease, slots: int) -> Run:  # noqa: ARG002
        """See `Job.begin`."""
        return instance.start(request, lease)


GENERATION: Final = Generating(generates=True)


class Counting(Job):
    """Asks *ask* about the prompt; the one event is a `UsageReport`, which nobody pays for.

    A conversation is what models for chat have; with *is_text* any model is asked.
    """

    __slots__ = ("_ask",)

    def __init__(self, ask: Ask, *, is_text: bool = False) -> None:
        super().__init__(None if is_text else "chat")
        self._ask = ask

    def begin(self, instance: Instance, request: GenerationRequest, lease: Lease, slots: int) -> Run:  # noqa: ARG002
        """See `Job.begin`."""
        return AwaitedRun(partial(counted, self._ask, instance, request), _Unnoted(lease))


class Working(Job):
    """Does *work*; the one event is a `UsageReport`, and what was made is the work's own."""

    __slots__ = ("_work",)

    def __init__(self, work: Work) -> None:
        super().__init__(work.task)
        self._work = work

    def begin(self, instance: Instance, request: GenerationRequest, lease: Lease, slots: int) -> Run:  # noqa: ARG002
        """See `Job.begin`; the request stands for the work."""
        return AwaitedRun(partial(self._work.do, instance), lease)


class Several(Job):
    """Answers each of *prompts*, as many at a time as there are slots.

    Choice `i` of the prompt at `at` is choice `at * n + i`, and counts are those of all.
    """

    __slots__ = ("_prompts",)

    def __init__(self, prompts: Sequence[Prompt]) -> None:
        super().__init__(generates=True, at_once=min(len(prompts), _AT_ONCE))
        self._prompts = prompts

    def begin(self, instance: Instance, request: GenerationRequest, lease: Lease, slots: int) -> Run:
        """See `Job.begin`."""
        return SeveralRun(instance, request, self._prompts, lease, max(1, slots // request.n))


class _Unnoted:
    """Hands events on past the notes of *lease*: what is counted is not used."""

    __slots__ = ("_lease",)

    def __init__(self, lease: Lease) -> None:
        self._lease = lease

    def events(self, batch: Sequence[AnyEvent]) -> None:
        """See `Sink.events`."""
        self._lease.sink.events(batch)

    def end(self, error: Exception | None) -> None:
        """See `Sink.end`."""
        self._lease.end(error)
