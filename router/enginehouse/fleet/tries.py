"""The tries of one request: where it has failed, where it may go next, and when that is enough."""

from __future__ import annotations

from collections.abc import Sequence

from enginehouse.telemetry import get_logger
from enginehouse_plugin import GenerationRequest
from enginehouse_plugin.errors import EngineError, EnginehouseError

from .affinity import Block
from .choice import NOTHING_CACHED, choose
from .errors import FirstTokenTimeout
from .instance import HostedInstance
from .model import Model

log = get_logger()


class Tries:
    """The tries of one request to *model*. `failure` is that of the last one, which is told if no other succeeds.

    `blocks` are those of the prompt, None where the model has one instance: there is no choice then.
    """

    __slots__ = ("_avoid", "_model", "_number", "blocks", "failure")

    def __init__(self, model: Model) -> None:
        self._model = model
        self._avoid: tuple[HostedInstance, ...] = ()
        self._number = 0
        self.failure: EnginehouseError | None = None
        self.blocks: Sequence[Block] | None = None

    def choose(self, request: GenerationRequest, now: float) -> HostedInstance:
        """The instance where *request* goes next. Those that have failed it are asked again where no other is ready.

        Raises:
            UnsupportedFeature, FleetError: as `choice.choose`.
        """
        model = self._model
        if self.blocks is None and len(model.instances) > 1:
            self.blocks = model.traffic.came(request)
        while True:
            try:
                hosted = self._next(request, self._avoid, now)
                if hosted is None:
                    raise model.nowhere()
            except EnginehouseError:
                if not self._avoid or len(model.instances) < 2:
                    raise
                self._avoid = ()
            else:
                if hosted.gate.is_open or not any(failed.gate.is_open for failed in self._avoid):
                    return hosted
                self._avoid = ()  # rather than wait for one that loads

    def other(self, request: GenerationRequest, hosted: HostedInstance, now: float) -> HostedInstance | None:
        """An instance that would take *request* now in place of *hosted*; None: there is none."""
        try:
            other = self._next(request, (*self._avoid, hosted), now)
        except EnginehouseError:
            return None
        return other if other is not None and other.gate.has_room else None

    def failed(self, error: EngineError, hosted: HostedInstance, *, is_checked: bool, now: float) -> bool:
        """Count that *hosted* failed with *error* before the first delta; returns whether there is another try.

        *is_checked*: it is started again, or asked whether it is well; the first time it may then be asked once more.
        """
        self._number += 1
        if not error.retryable:
            return False
        # Alone it is asked once more, if it is checked first; of several each may, within the budget.
        if len(self._model.instances) < 2:
            if self._number > 1:
                return False
        elif not self._model.traffic.may_try_again(error, self._number, now):
            log.warning("request not retried", instance=hosted.id, model=self._model.name, tries=self._number)
            return False
        if not is_checked or self._number > 1:
            self._avoid = (*self._avoid, hosted)
        self.failure = error
        hosted.pace.retried += 1
        return True

    def moves(self, request: GenerationRequest, hosted: HostedInstance, since: float, now: float) -> bool:
        """Whether *request*, which *hosted* has had *since* then and not begun, goes elsewhere: there is room, and a
        retry left. A whole answer says nothing until it is whole: it is waited for.
        """
        model = self._model
        if not request.stream or self.other(request, hosted, now) is None or not model.traffic.retries.take(now):
            return False
        self._number += 1
        self._avoid = (*self._avoid, hosted)
        self.failure = FirstTokenTimeout(model.deadlines.try_s)
        log.info("request moved", id=request.id, instance=hosted.id, waited_s=now - since)
        hosted.liveness.count_timeout(since)
        hosted.pace.retried += 1
        self.blame(hosted, self.failure.code, now)
        return True

    def blame(self, hosted: HostedInstance, why: str, now: float) -> None:
        """Count a failure against *hosted*."""
        hosted.pace.failed()
        if hosted.breaker.failed(now):
            log.warning("breaker opened", instance=hosted.id, model=self._model.name, error=why)

    def _next(self, request: GenerationRequest, avoid: tuple[HostedInstance, ...], now: float) -> HostedInstance | None:
        model, blocks = self._model, self.blocks
        if blocks is None:
            return choose(request, model.instances, avoid, model.select)
        traffic = model.traffic
        cached = traffic.affinity.cached_chars(blocks) if blocks else NOTHING_CACHED
        return choose(request, model.instances, avoid, model.select, traffic.habits, blocks, cached, now)
