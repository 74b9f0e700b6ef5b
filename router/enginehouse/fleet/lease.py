"""The right of one request to one instance: chosen, admitted, started, and tried elsewhere if it fails early.

    opened ─▶ waiting ─▶ running ─▶ over          waiting: in an instance's queue, also while that loads
                 ▲          │
                 └──────────┘ it failed before the first delta, once

Plain calls move it on: the gate's (`admitted`, `refused`, `stranded`), the instance's (`events`, `end`), the client's
(`pause`, `resume`, `cancel`) and one timer's. Where a slot is free, all of it happens in `open`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Protocol

from enginehouse.telemetry import get_logger
from enginehouse_plugin import AnyEvent, GenerationRequest, Run, Sink, Started
from enginehouse_plugin.errors import EngineError, EnginehouseError, EngineUnavailable, UnsupportedFeature

from .choice import choose, first_unmet
from .errors import FirstTokenTimeout, GenerationTimeout, IdleTimeout, TotalTimeout
from .gate import Waiter
from .instance import HostedInstance
from .left_out import without
from .model import Model

log = get_logger()


class Notes(Protocol):
    """What a lease writes down of its request; who keeps account brings it."""

    instance_id: str | None
    fingerprint: str | None
    queue_s: float
    ignored: tuple[str, ...]
    is_complete: bool
    is_cancelled: bool

    @property
    def has_delta(self) -> bool:
        """Whether part of an answer, or the end of a choice, has come."""
        ...

    def note(self, batch: Sequence[AnyEvent]) -> None:
        """Take the events of *batch* into account."""

    def fail(self, error: BaseException) -> None:
        """Take down that the request ends with *error*."""


class Lease(Run):
    """One request's work, and the one scope that ends it: `cancel` ends the queue, the wait for a load, and the run.

    It is a `Run` to whoever asked, whose sink hears at most one `Started`, also where two instances were tried; and a
    `Sink` to the instance. One timer keeps all three deadlines. It does not fire per event: when it does, it looks how
    long the engine has been waited for, and sets itself again. While the client is slow to read, the engine is not
    waited for.
    """

    __slots__ = (
        "_avoid",
        "_client",
        "_facts",
        "_failure",
        "_has_begun",
        "_heard_at",
        "_hosted",
        "_is_lenient",
        "_is_over",
        "_judged",
        "_loop",
        "_model",
        "_opened_at",
        "_paused_at",
        "_paused_s",
        "_queued_at",
        "_release",
        "_request",
        "_run",
        "_sink",
        "_timer",
        "_waiter",
        "_weight",
    )
    _hosted: HostedInstance

    def __init__(
        self,
        request: GenerationRequest,
        model: Model,
        client: str,
        facts: Notes,
        sink: Sink,
        *,
        is_lenient: bool = False,
    ) -> None:
        self._request = request
        self._model = model
        self._client = client
        self._facts = facts
        self._sink = sink
        self._is_lenient = is_lenient
        self._waiter: Waiter | None = None  # in a queue, and not admitted
        self._run: Run | None = None
        self._weight = 0  # slots held
        self._failure: EngineError | None = None  # of the first try
        self._avoid: HostedInstance | None = None
        self._has_begun = False  # the sink has heard `Started`
        self._is_over = False
        self._release: asyncio.Task[None] | None = None
        self._paused_at: float | None = None
        self._paused_s = 0.0
        self._loop = asyncio.get_running_loop()
        self._opened_at = self._heard_at = self._loop.time()
        self._timer = self._loop.call_later(model.deadlines.soonest_s, self._on_timer)

    def __repr__(self) -> str:
        state = "over" if self._is_over else "waiting" if self._waiter else "running" if self._run else "opened"
        return f"<Lease {self._request.id!r} on {self._model.name!r} {state}>"

    def open(self) -> None:
        """Choose an instance, and start there or wait for it. Called once; the sink is not called before it returns.

        Raises:
            UnsupportedFeature: no instance has what the request needs.
            FleetError: none takes requests now.
            EnginehouseError: it could not be started.
        """
        try:
            self._seek()
        except BaseException:
            self._is_over = True
            self._timer.cancel()
            raise

    # ---- the client's side ----

    def pause(self) -> None:
        """Ask for no more events until `resume`; the time until then is not the engine's."""
        if self._paused_at is None:
            self._paused_at = self._loop.time()
            if self._run is not None:
                self._run.pause()

    def resume(self) -> None:
        """Let events come again."""
        if self._paused_at is not None:
            self._heard_at = self._loop.time()
            self._paused_s += self._heard_at - self._paused_at
            self._paused_at = None
            if self._run is not None:
                self._run.resume()

    def cancel(self, error: Exception | None = None) -> None:
        """End the work, in whatever state it is; the sink hears nothing more. *error* tells of a fault on our side,
        without one the client has left. The slot is given back when the engine has released it.
        """
        if not self._is_over:
            if error is None:
                self._facts.is_cancelled = True
            else:
                self._facts.fail(error)
            self._stop()

    async def wait_released(self) -> None:
        """Wait until no slot is held any more; asked after the end or `cancel`."""
        if self._release is not None:
            await asyncio.wait([self._release])

    # ---- the gate's side ----

    def admitted(self, weight: int) -> None:
        """Start with *weight* slots; see `Entrant`."""
        self._waiter = None
        self._facts.queue_s += self._loop.time() - self._queued_at
        try:
            self._start(weight)
        except Exception as error:  # noqa: BLE001  # nobody else hears of what a plugin breaks here
            self._fail(error)

    def refused(self, error: EnginehouseError) -> None:
        """End without a slot; see `Entrant`."""
        self._waiter = None
        self._finish(error)

    def stranded(self) -> None:
        """Go to another instance if one is ready and has room; see `Entrant`."""
        waiter = self._waiter
        try:
            other = choose(self._request, self._model.instances, self._hosted, self._model.select)
        except EnginehouseError:
            return  # it waits on: this one may be ready again before another is
        if waiter is None or other is None or other is self._avoid or not other.gate.has_room:
            return
        self._hosted.gate.withdraw(waiter)
        self._waiter = None
        self._facts.queue_s += self._loop.time() - self._queued_at
        try:
            self._seek()
        except Exception as error:  # noqa: BLE001  # nobody else hears of what a plugin breaks here
            self._finish(error)

    # ---- the instance's side ----

    def events(self, batch: Sequence[AnyEvent]) -> None:
        """Hand *batch* on; see `Sink`."""
        if self._is_over:
            return
        self._heard_at = self._loop.time()
        self._facts.note(batch)
        if self._has_begun:
            if type(batch[0]) is Started:  # of two tries the client sees one start
                batch = batch[1:]
                if not batch:
                    return
        else:
            self._has_begun = True
        self._sink.events(batch)

    def end(self, error: Exception | None) -> None:
        """Give the slot back, and end or try once more; see `Sink`."""
        if self._is_over:
            return
        self._run = None
        self._leave()
        if error is not None:
            self._fail(error)
            return
        self._facts.is_complete = True
        self._finish(None)

    # ---- its way ----

    def _seek(self) -> None:
        """Go to an instance, and to another if that one fails at once: begin there, or have a place in its queue."""
        request = self._request
        while True:
            try:
                hosted = choose(request, self._model.instances, self._avoid, self._model.select)
                if hosted is None:
                    raise self._model.nowhere()
            except UnsupportedFeature as lack:
                if not self._leaves_out(lack):
                    raise self._failure or lack from None
                request = self._request
                continue
            except EnginehouseError as refusal:
                raise self._failure or refusal from None
            self._hosted = hosted
            self._judged = hosted.capabilities
            weight = hosted.gate.enter(request.n)
            if not weight:
                hosted.wake()
                self._queued_at = self._loop.time()
                self._waiter = hosted.gate.queue(self._client, request.n, self)
                return
            try:
                self._start(weight)
                return
            except EngineError as error:
                if not self._may_try_again(error):
                    raise

    def _start(self, weight: int) -> None:
        hosted = self._hosted
        self._weight = weight
        try:
            instance = hosted.instance
            if instance is None:
                raise EngineUnavailable(f"'{hosted.id}' has just ended.")
            capabilities = hosted.capabilities
            # A load since the choice has told more.
            if capabilities is not self._judged:
                while unmet := first_unmet(self._request, capabilities):
                    lack = hosted.explained(unmet)
                    if not self._leaves_out(lack):
                        raise lack
            self._facts.instance_id = hosted.id
            self._facts.fingerprint = hosted.fingerprint
            self._run = instance.start(self._request, self)
        except BaseException:
            self._leave()
            raise
        if self._paused_at is not None:
            self._run.pause()

    def _leaves_out(self, lack: UnsupportedFeature) -> bool:
        """Whether what *lack* is about may be left out, and has been: it asks for nothing here, or is reported."""
        if lack.turns_off is None and not self._is_lenient:
            return False
        request = without(self._request, lack)
        if request is None:
            return False
        self._request = request
        if lack.turns_off is None:
            self._facts.ignored += (str(lack.param),)
        return True

    def _fail(self, error: Exception) -> None:
        """Try once more after *error*, or end with it."""
        if isinstance(error, EngineError) and self._may_try_again(error):
            try:
                self._seek()
                return
            except Exception as refusal:  # noqa: BLE001  # nobody else hears of what a plugin breaks here
                error = refusal
        self._finish(error)

    def _may_try_again(self, error: EngineError) -> bool:
        """Report *error*. Before the first delta another instance may answer; after it none can go on."""
        hosted = self._hosted
        is_checked = hosted.report(error)
        if self._failure is not None or not error.retryable or self._facts.has_delta:
            return False
        log.info("request retried", id=self._request.id, instance=hosted.id, error=error.code)
        self._avoid, self._failure = None if is_checked else hosted, error
        return True

    def _finish(self, error: Exception | None) -> None:
        self._is_over = True
        self._timer.cancel()
        if error is not None:
            self._facts.fail(error)
        self._sink.end(error)

    def _stop(self) -> None:
        self._is_over = True
        self._timer.cancel()
        if self._waiter is not None:
            self._hosted.gate.withdraw(self._waiter)
            self._waiter = None
        elif self._run is not None:
            self._release = self._hosted.release(self._run, self._weight)

    def _leave(self) -> None:
        weight, self._weight = self._weight, 0
        self._hosted.gate.leave(weight)

    # ---- deadlines ----

    def _on_timer(self) -> None:
        deadlines, now = self._model.deadlines, self._loop.time()
        ends_at = self._opened_at + deadlines.total_s
        expired: GenerationTimeout | None = None
        if self._paused_at is not None:
            limit_at = now + deadlines.idle_s
        elif self._facts.has_delta:
            limit_at = self._heard_at + deadlines.idle_s
            expired = IdleTimeout(deadlines.idle_s)
        else:
            limit_at = self._opened_at + self._paused_s + deadlines.first_token_s
            expired = FirstTokenTimeout(deadlines.first_token_s)
        if now >= ends_at:
            self._expire(TotalTimeout(deadlines.total_s))
        elif expired is not None and now >= limit_at:
            self._expire(expired)
        else:
            # Again within the idle time at the latest: it counts as soon as the engine has begun.
            self._timer = self._loop.call_at(min(limit_at, now + deadlines.idle_s, ends_at), self._on_timer)

    def _expire(self, error: GenerationTimeout) -> None:
        self._stop()
        self._facts.fail(error)
        self._sink.end(error)
