"""A lease that counts the tokens of a prompt, and generates nothing."""

from __future__ import annotations

from collections.abc import Sequence

from enginehouse_plugin import AnyEvent, GenerationRequest, Instance, Run
from enginehouse_plugin.run import GeneratedRun

from .counted import counted
from .lease import Lease


class CountLease(Lease):
    """Goes the way of a lease, loading and slots included; its one event is a `UsageReport`, which nobody pays for."""

    __slots__ = ()

    def begin(self, instance: Instance, request: GenerationRequest) -> Run:
        """Count *request* on *instance*."""
        return GeneratedRun(counted(self._model.checked(instance, "chat"), request), self)

    def events(self, batch: Sequence[AnyEvent]) -> None:
        """Hand *batch* on; what is counted is not used, so that no notes are taken."""
        self._sink.events(batch)

    def end(self, error: Exception | None) -> None:
        """See `Lease.end`; how long a count takes says nothing of how fast answers come."""
        self._tries.blocks = None
        super().end(error)
