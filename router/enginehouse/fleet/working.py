"""A lease for a task that generates nothing: vectors of texts, or scores."""

from __future__ import annotations

from collections.abc import Collection

from enginehouse_plugin import GenerationRequest, Instance, Run, Sink
from enginehouse_plugin.run import GeneratedRun

from .defaults import OWN_PROFILE
from .lease import Lease
from .model import Model
from .notes import Notes
from .work import Work, done


class WorkLease(Lease):
    """Goes the way of a lease; the one event is a `UsageReport`, and what was made is the work's own."""

    __slots__ = ("_work",)

    def __init__(
        self,
        request: GenerationRequest,
        model: Model,
        client: str,
        facts: Notes,
        sink: Sink,
        *,
        work: Work,
        said: Collection[str] = (),
        profile: str = OWN_PROFILE,
        is_lenient: bool = False,
    ) -> None:
        self._work = work
        super().__init__(request, model, client, facts, sink, said=said, profile=profile, is_lenient=is_lenient)

    def begin(self, instance: Instance, request: GenerationRequest) -> Run:  # noqa: ARG002  # it stands for the work
        """Have the work done by *instance*."""
        return GeneratedRun(done(self._work, self._model.checked(instance, self._work.task)), self)

    def end(self, error: Exception | None) -> None:
        """See `Lease.end`; how long it takes says nothing of how fast answers come."""
        self._tries.blocks = None
        super().end(error)
