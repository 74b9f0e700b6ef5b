"""A lease that asks for the tokens of a prompt, and generates nothing."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from enginehouse_plugin import AnyEvent, GenerationRequest, Instance, Run, Sink
from enginehouse_plugin.run import GeneratedRun

from .counted import Ask, counted
from .defaults import OWN_PROFILE
from .lease import Lease
from .model import Model
from .notes import Notes


class CountLease(Lease):
    """Goes the way of a lease, loading and slots included; its one event is a `UsageReport`, which nobody pays for.

    *ask* is what is asked.
    """

    __slots__ = ("_ask",)

    def __init__(
        self,
        request: GenerationRequest,
        model: Model,
        client: str,
        facts: Notes,
        sink: Sink,
        *,
        ask: Ask,
        said: Collection[str] = (),
        profile: str = OWN_PROFILE,
        is_lenient: bool = False,
    ) -> None:
        self._ask = ask
        super().__init__(request, model, client, facts, sink, said=said, profile=profile, is_lenient=is_lenient)

    def begin(self, instance: Instance, request: GenerationRequest) -> Run:
        """Ask *instance* about *request*."""
        return GeneratedRun(counted(self._ask, self._model.checked(instance, "chat"), request), self)

    def events(self, batch: Sequence[AnyEvent]) -> None:
        """Hand *batch* on; what is counted is not used, so that no notes are taken."""
        self._sink.events(batch)

    def end(self, error: Exception | None) -> None:
        """See `Lease.end`; how long a count takes says nothing of how fast answers come."""
        self._tries.blocks = None
        super().end(error)
