"""The right of one request to one instance: chosen, admitted, started, and tried elsewhere if it fails early.

    opened ─▶ waiting ─▶ running ─▶ over          waiting: in an instance's queue, also while that loads
                 ▲          │
                 └──────────┘ it failed before the first delta, or did not begin in time

Plain calls move it on: the gate's (`admitted`, `refused`, `stranded`), the instance's (`events`, `end`), the client's
(`pause`, `resume`, `cancel`) and the watch's (`look`). Where a slot is free, all of it happens in `open`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence

from enginehouse.telemetry import get_logger
from enginehouse_plugin import AnyEvent, GenerationRequest, Run, Sink, Started
from enginehouse_plugin.errors import EngineError, EnginehouseError, EngineUnavailable, RequestError, UnsupportedFeature

from .choice import first_unmet
from .defaults import OWN_PROFILE
from .errors import FirstTokenTimeout, GenerationTimeout, IdleTimeout, TotalTimeout
from .gate import Waiter
from .instance import HostedInstance
from .jobs import GENERATION, Job
from .left_out import without
from .model import Model
from .notes import Notes
from .tries import Tries

log = get_logger()

_ALL_SLOTS = 2**31  # more than any instance has: it then waits for all of them


class Lease(Run):
    """One request's work, and the one scope that ends it: `cancel` ends the queue, the wait for a load, and the run.

    It has *job* done, and is a `Run` to whoever asked, whose sink hears at most one `Started`, also where two instances
    were tried; and a `Sink` to the instance. The model's watch keeps all deadlines: nothing is set per event, but now
    and then it looks how long the engine, last heard at `heard_at`, has been waited for; a slow client is not.
    """

    __slots__ = (
        "_began_s", "_client", "_facts", "_has_begun", "_hosted", "_is_lenient", "_is_over", "_job",
        "_judged", "_loop", "_model", "_opened_at", "_paused_at", "_paused_s", "_profile", "_queued_at",
        "_release", "_request", "_run", "_said", "_started_at", "_tries", "_waiter", "_weight", "heard_at", "sink",
    )  # fmt: skip
    _hosted: HostedInstance

    def __init__(
        self,
        request: GenerationRequest,
        model: Model,
        client: str,
        facts: Notes,
        sink: Sink,
        *,
        said: Collection[str] = (),
        profile: str = OWN_PROFILE,
        is_lenient: bool = False,
        job: Job = GENERATION,
    ) -> None:
        self._request = request
        self._job = job
        self._model = model
        self._client = client
        self._facts = facts
        self.sink = sink
        self._said = said
        self._profile = profile
        self._is_lenient = is_lenient
        self._waiter: Waiter | None = None  # in a queue, and not admitted
        self._run: Run | None = None
        self._weight = 0  # slots held
        self._tries = Tries(model)
        self._has_begun = False  # the sink has heard `Started`
        self._is_over = False
        self._release: asyncio.Task[None] | None = None
        self._paused_at: float | None = None
        self._paused_s = 0.0
        self._loop = asyncio.get_running_loop()
        self._opened_at = self.heard_at = self._started_at = self._loop.time()
        model.watch.add(self, self._opened_at + model.deadlines.soonest_s)

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
            self._model.watch.remove(self)
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
            self.heard_at = self._loop.time()
            self._paused_s += self.heard_at - self._paused_at
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

    @property
    def request(self) -> GenerationRequest:
        """See `Holder`."""
        return self._request

    # ---- the gate's side ----

    def admitted(self, weight: int) -> None:
        """Start with *weight* slots; see `Entrant`."""
        self._waiter = None
        self._facts.waited(self._loop.time() - self._queued_at)
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
        if waiter is None or self._tries.other(self._request, self._hosted, self._loop.time()) is None:
            return  # it waits on: this one may be ready again before another is
        self._hosted.gate.withdraw(waiter)
        self.sent_on()

    def sent_on(self) -> None:
        """Go to another instance; see `Entrant`."""
        self._waiter = None
        self._facts.waited(self._loop.time() - self._queued_at)
        self._seek_or_finish()

    # ---- the instance's side ----

    def events(self, batch: Sequence[AnyEvent]) -> None:
        """Hand *batch* on; see `Sink`."""
        if self._is_over:
            return
        self.heard_at = self._hosted.liveness.moved_at = self._loop.time()
        self._facts.note(batch)
        if self._has_begun:
            if type(batch[0]) is Started:  # of two tries the client sees one start
                batch = batch[1:]
                if not batch:
                    return
        else:
            self._has_begun = True
        self.sink.events(batch)

    def end(self, error: Exception | None) -> None:
        """Give the slot back, and end or try once more; see `Sink`."""
        if self._is_over:
            return
        self._run = None
        self._leave()
        hosted = self._hosted
        if not isinstance(error, EngineError):  # a refusal is an answer, too
            hosted.breaker.succeeded()
        if error is not None:
            self._fail(error)
            return
        if (blocks := self._tries.blocks) is not None and self._job.generates:
            began, now = (self._started_at, self._began_s), self._loop.time()
            self._model.traffic.answered(hosted, blocks, self._facts, began, now)
        self._facts.is_complete = True
        hosted.liveness.timeouts = 0
        self._model.suspects.clear(self._request)
        self._finish(None)

    def lost(self, error: EnginehouseError) -> None:
        """Give up the run, of which nothing more comes, and end or try once more; see `Holder`."""
        if self._run is not None:
            self._release = self._give_back(self._run)
            self._run = None
            self._fail(error)

    # ---- its way ----

    def _seek(self) -> None:
        """Go to an instance, and to another if that one fails at once: begin there, or have a place in its queue."""
        request, tries = self._request, self._tries
        sequences = _ALL_SLOTS if self._model.suspects.must_run_alone(request) else request.n * self._job.at_once
        while True:
            try:
                hosted = tries.choose(request, self._loop.time())
            except EnginehouseError as refusal:
                if not isinstance(refusal, UnsupportedFeature) or not self._leaves_out(refusal):
                    raise tries.failure or refusal from None
                request = self._request
                continue
            self._hosted = hosted
            self._judged = hosted.capabilities
            weight = hosted.gate.enter(sequences)
            if not weight:
                hosted.wake()
                self._queued_at = self._loop.time()
                self._waiter = hosted.gate.queue(self._client, sequences, self)
                return
            try:
                self._start(weight)
                return
            except EngineError as error:
                if not self._may_try_again(error):
                    raise
            except RequestError as error:
                if not self._drops_default(error):
                    raise

    def _start(self, weight: int) -> None:
        hosted = self._hosted
        self._weight = weight
        self.heard_at = self._started_at = self._loop.time()
        self._began_s = self._facts.duration_s if self._tries.blocks is not None else 0.0
        self._model.traffic.went_to(hosted, self._started_at)
        try:
            instance = hosted.instance
            if instance is None:
                raise EngineUnavailable(f"'{hosted.id}' has just ended.")
            capabilities = hosted.capabilities
            if capabilities is not self._judged:  # a load since the choice has told more
                while unmet := first_unmet(self._request, capabilities):
                    lack = hosted.explained(unmet)
                    if not self._leaves_out(lack):
                        raise lack
            request = hosted.defaults.fill(self._request, self._said, self._profile)
            with self._facts.attempt(hosted.id, hosted.fingerprint, hosted.planned.backend.name):
                self._run = self._job.begin(self._model.checked(instance, self._job.task), request, self, weight)
            hosted.holders.add(self)
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
        if self._drops_default(error) or (isinstance(error, EngineError) and self._may_try_again(error)):
            self._seek_or_finish()
        else:
            self._finish(error)

    def _seek_or_finish(self) -> None:
        try:
            self._seek()
        except Exception as refusal:  # noqa: BLE001  # nobody else hears of what a plugin breaks here
            self._finish(refusal)

    def _drops_default(self, error: Exception) -> bool:
        """Whether *error* is about a default, which nobody asked for: the request goes on without it, and says so."""
        name = self._hosted.defaults.blames(error, self._said, self._profile)
        if name is None or self._has_begun:
            return False
        self._said = {*self._said, name}
        self._facts.ignored += (f"defaults.{name}",)
        return True

    def _may_try_again(self, error: EngineError) -> bool:
        """Report *error*. Before the first delta another instance may answer; after it none can go on."""
        hosted, now = self._hosted, self._loop.time()
        self._facts.attempt_failed(error.code)
        is_checked = hosted.report(error, self._request)
        self._tries.blame(hosted, error.code, now)
        if self._facts.has_delta or not self._tries.failed(error, hosted, is_checked=is_checked, now=now):
            return False
        log.info("request retried", id=self._request.id, instance=hosted.id, error=error.code)
        return True

    def _finish(self, error: Exception | None) -> None:
        self._is_over = True
        self._model.watch.remove(self)
        if error is not None:
            self._facts.fail(error)
        self.sink.end(error)

    def _stop(self) -> None:
        self._is_over = True
        self._model.watch.remove(self)
        if self._waiter is not None:
            self._hosted.gate.withdraw(self._waiter)
            self._waiter = None
        elif self._run is not None:
            self._hosted.breaker.left()
            self._release = self._give_back(self._run)

    def _give_back(self, run: Run) -> asyncio.Task[None] | None:
        self._hosted.holders.discard(self)
        weight, self._weight = self._weight, 0
        return self._hosted.release(run, weight, self._request)

    def _leave(self) -> None:
        self._hosted.holders.discard(self)
        weight, self._weight = self._weight, 0
        self._hosted.gate.leave(weight)

    # ---- deadlines ----

    def look(self, now: float) -> float | None:
        """End what has taken too long; see `Watched`."""
        deadlines = self._model.deadlines
        ends_at = self._opened_at + deadlines.total_s
        expired: GenerationTimeout | None = None
        if self._paused_at is not None:
            limit_at = now + deadlines.idle_s
        elif self._facts.has_delta:
            limit_at = self.heard_at + deadlines.idle_s
            expired = IdleTimeout(deadlines.idle_s)
        else:
            limit_at = self._opened_at + self._paused_s + deadlines.first_token_s
            expired = FirstTokenTimeout(deadlines.first_token_s)
            if self._run is not None and self._tries.blocks is not None and now < min(limit_at, ends_at):
                limit_at = min(limit_at, self._moves_at(now))
        if now >= ends_at:
            self._expire(TotalTimeout(deadlines.total_s))
            return None
        if expired is not None and now >= limit_at:
            self._expire(expired)
            return None
        # Again within the idle time at the latest: it counts as soon as the engine has begun.
        return None if self._is_over else min(limit_at, now + deadlines.idle_s, ends_at)

    def _moves_at(self, now: float) -> float:
        """Go to another instance if this one has not begun in time; returns when to look again."""
        try_s = self._model.deadlines.try_s
        run, since = self._run, self._started_at
        if now < since + try_s:
            return since + try_s
        if run is None or not self._tries.moves(self._request, self._hosted, since, now):
            return now + try_s
        self._facts.attempt_failed(FirstTokenTimeout.code)
        self._release = self._give_back(run)
        self._run = None
        self._seek_or_finish()
        return self._loop.time() + try_s

    def _expire(self, error: GenerationTimeout) -> None:
        if self._run is not None and self._has_lain(error):
            self._hosted.liveness.count_timeout(self.heard_at)
            self._tries.blame(self._hosted, error.code, self._loop.time())
        self._stop()
        self._facts.fail(error)
        self.sink.end(error)

    def _has_lain(self, error: GenerationTimeout) -> bool:
        """Whether the time that is over was the engine's: most of it may have gone in a queue, or with a load."""
        had_s = self._loop.time() - self.heard_at
        had_it = not self._has_begun and had_s >= self._model.deadlines.first_token_s / 2
        return had_it if isinstance(error, FirstTokenTimeout) else isinstance(error, IdleTimeout)
