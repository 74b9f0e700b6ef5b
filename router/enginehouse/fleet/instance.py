"""One instance of a model: loaded, watched, started again, and ended.

    unloaded ─▶ loading ─▶ ready ─▶ draining ─▶ closed
        ▲        │  ▲ ▲      │          │ │
        │        ▼  │ │      │ it ended unasked
        │       failed ◀─────┘          │ │
        │             └────── asleep ◀──┘ │ it gives most of its memory back (slumber)
        └─────────────────────────────────┘ all of it (residence)

One task per instance goes this way; requests wait at its gate: first ones share a load, which none of them cancels.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Any

from enginehouse.certificates import NO_STANDING, Certificates, Standing, usable
from enginehouse.config import ModelConfig, Trust
from enginehouse.telemetry import get_logger
from enginehouse_plugin import Capabilities, GenerationRequest, Instance, InstanceChange, LoadProgress, Placement
from enginehouse_plugin.errors import (
    EngineDied,
    EnginehouseError,
    EngineProtocolError,
    EngineUnavailable,
)

from .affinity import Cache
from .breaker import Breaker
from .claims import NoRoom
from .defaults import InstanceDefaults
from .errors import Draining, InstanceUnavailable
from .face import HELD, HELD_S, Face
from .gate import RETRY_AFTER_S, Gate
from .identity import Identity
from .keeper import Keeper
from .liveness import DEFAULT_HANG_TIMEOUT_S, Liveness
from .loader import Loader, drain, identified, is_news, unload, why_ended, why_not_loaded
from .lookout import look_out
from .others import Others
from .pace import Pace
from .plan import InstancePlan
from .planner import AnyPlanner
from .residence import Residence
from .restart import Failures, RestartPolicy
from .slumber import in_turns
from .snapshot import State
from .sources import Fetch, fetch_in_thread
from .standing import assess_again, standing_of
from .suspects import Holder, Suspects

# After these the engine itself is in doubt; EngineOverloaded and EngineFailure come from a living one.
_DOUBTS = (EngineDied, EngineUnavailable, EngineProtocolError)

log = get_logger()


class HostedInstance(Face):
    """One instance of a model, as *planned*, through all its loads and ends; at its `gate` requests wait.

    `declared` is what the backend says of it and `capabilities` what requests may use, which is less where only proven
    features are trusted; both are known from the first load on. `reason` is why it is in its state, `standing` how it
    stands to its certificate (None: not compared yet), `fingerprint` what was loaded last, `defaults` what requests get
    where they are silent: those of *profiles*, by label, stand behind the model's own.
    """

    def __init__(
        self,
        planned: InstancePlan,
        config: ModelConfig,
        planner: AnyPlanner,
        *,
        keeper: Keeper,
        fetch: Fetch = fetch_in_thread,
        policy: RestartPolicy | None = None,
        on_change: Callable[[InstanceChange], None] | None = None,
        certificates: Certificates | None = None,
        trust: Trust = "declared",
        profiles: Mapping[str, Mapping[str, Any]] | None = None,
        suspects: Suspects | None = None,
        hang_timeout_s: float = DEFAULT_HANG_TIMEOUT_S,
        breaker: Breaker | None = None,
        identity: Identity | None = None,
    ) -> None:
        self.id = planned.id
        self.model = planned.model
        self.state: State = "unloaded"
        self.reason = "not asked for yet"
        self.progress: LoadProgress | None = None
        self.declared: Capabilities | None = None
        self.capabilities: Capabilities | None = None
        self.trust: Trust = trust
        self.standing: Standing | None = None
        self.fingerprint: str | None = None
        self.identity = identity or Identity(planned.id)
        self.identity.on_aside, self.identity.probe = self.move_aside, self.probe
        self.defaults = InstanceDefaults(config.defaults, profiles or {})
        self.instance: Instance | None = None
        self.placement: Placement | None = None  # what was loaded last
        self.restarts = 0
        self.holders: set[Holder] = set()
        self.liveness = Liveness(hang_timeout_s)
        self.breaker = breaker or Breaker()
        self.pace = Pace()
        self.cache: Cache[HostedInstance] = Cache()
        self.gate = Gate(
            planned.model,
            max_queue=config.max_queue,
            queue_timeout_s=config.queue_timeout_s,
            load_timeout_s=config.load_timeout_s,
            why=self.why_not_ready,
        )
        self.residence = Residence(self.gate, keep_alive_s=config.keep_alive_s, is_pinned=config.pinned)
        self.residence.on_idle = keeper.changed
        self.others = Others(self.gate)
        self.keeper = keeper
        self._loader = Loader(planned, planner, fetch, self._room)
        self._failures = Failures(policy or RestartPolicy(), is_endless=not planned.devices)
        self._on_change = on_change
        self._certificates = certificates
        self._load_began_at = 0.0
        self._is_closing = False
        self._doubt = asyncio.Event()
        self._suspects = suspects or Suspects()
        self._died: list[GenerationRequest] = []  # requests that failed because, they say, the engine has ended
        self._task: asyncio.Task[None] | None = None
        self._releases: dict[asyncio.Task[None], GenerationRequest] = {}

    # ---- for requests ----

    def refusal(self) -> EnginehouseError | None:
        """Why no request may come in now, or None: at once, or once it has loaded."""
        if self._is_closing:
            return Draining()
        if self.residence.is_held:
            return InstanceUnavailable(self.model, reason=HELD, retry_after_s=HELD_S)
        if (aside := self.identity.aside) is not None:
            return InstanceUnavailable(self.model, reason=aside, retry_after_s=HELD_S)
        if self.state != "ready" and not self._is_at_work and (wait_s := self._failures.to_next_try_s) > 0:
            return InstanceUnavailable(self.model, reason=self.reason, retry_after_s=wait_s)
        return None

    def report(self, error: EnginehouseError, request: GenerationRequest | None = None) -> bool:
        """Hear that *request* failed with *error*; returns whether the instance is now checked or started again."""
        if isinstance(error, _DOUBTS) and self.state == "ready":
            if isinstance(error, EngineDied) and request is not None:
                self._died.append(request)
            self.gate.pause()
            self._doubt.set()
        return not self.gate.is_open

    # ---- its way ----

    @property
    def _is_at_work(self) -> bool:
        return self._task is not None and not self._task.done()

    def wake(self) -> None:
        """Begin to load, or to wake, unless that is under way or done, or its owner has taken it out."""
        if self.residence.is_asleep and not self.residence.is_held:
            self.residence.rouse()
        if not self._is_at_work and not self.residence.is_held and not self._is_closing:
            self.gate.hold_deadlines()
            self.note("loading", "asked for")
            self._task = asyncio.create_task(self._run(), name=f"instance {self.id}")

    def stop_admitting(self) -> None:
        """Refuse all that wait and all that come; what runs goes on."""
        self._is_closing = True
        self.gate.pause()
        self.gate.fail(Draining())

    async def close(self, drain_s: float = 0.0, reason: str = "the router is going down") -> None:
        """End the instance because of *reason*, after running requests had *drain_s* seconds to finish."""
        if self.state == "closed":
            return
        self.stop_admitting()
        if self.state == "ready" and drain_s > 0:
            self.note("draining", reason)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(drain_s):
                    await self.gate.wait_idle()
                    if self.instance is not None:
                        await drain(self.instance, self.id, drain_s)
        self._let_go(Draining(is_cut=True))
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        self.note("closed", reason)

    async def _run(self) -> None:
        while True:
            try:
                instance, placement = await self._load()
            except NoRoom as error:
                self.note("unloaded", error.message)
                self.gate.fail(InstanceUnavailable(self.model, reason=error.message, retry_after_s=RETRY_AFTER_S))
                return
            except EnginehouseError as error:
                gives_up = self._failures.load_failed(retryable=error.retryable)
                self._note_failure(why_not_loaded(error))
                if gives_up:
                    self._give_up()
                    return
                await self._sit_out()
                continue
            self._failures.loaded()
            has_left = False
            try:
                async with self._assessing(instance, placement):
                    reason, has_ended = await in_turns(self, instance)
                has_left = self.residence.leaving is not None
                if not self._is_closing and not has_left:
                    self._lose(reason, has_ended=has_ended)
            finally:
                self.gate.pause()
                self.instance = None
                # Also when this task is cancelled: an instance never outlives its task.
                await unload(instance, self.id)
                self.keeper.release(self)
                self.residence.end()
                self._let_go(EngineDied(f"The engine has ended: {self.reason}."))
                for task in self._releases:  # nothing of the engine is left that could hold a slot
                    task.cancel()
            if self._is_closing:
                return
            if has_left:
                self.note("unloaded", reason)
                if (self.gate.waiting or self.residence.is_wanted_back) and not self.residence.is_held:
                    continue  # those that came while it left
                return
            if self._failures.ended():
                self._give_up()
                return
            await self._sit_out()
            self.restarts += 1

    def _lose(self, reason: str, *, has_ended: bool) -> None:
        """Take the instance out, because of *reason*."""
        self.gate.pause()
        self.instance = None
        # A client that has left leaves its request in the engine until that lets go of it.
        in_flight = [*(holder.request for holder in self.holders), *self._releases.values()]
        if self.planned.devices:  # a network's fault says nothing of requests
            self._suspects.ended([*self._died, *in_flight])
        self._note_failure(reason)
        if not has_ended:  # else requests hear from the engine, with its last words
            self._let_go(EngineDied(f"The engine was ended: {reason}."))

    def _let_go(self, error: EnginehouseError) -> None:
        """Tell those whose requests are in flight with *error* that nothing comes any more; take their slots back."""
        for holder in list(self.holders):
            holder.lost(error)

    async def _load(self) -> tuple[Instance, Placement]:
        self.begin_load("weights and engine")
        try:
            return await self._loader.load(self._note_progress)
        except BaseException:
            self.keeper.release(self)  # also what was made and cannot be used
            raise

    def _room(self, planned: InstancePlan) -> AbstractAsyncContextManager[None]:
        return self.keeper.room(self, planned.footprint_bytes, planned.device_ids)

    @contextlib.asynccontextmanager
    async def _assessing(self, instance: Instance, placement: Placement) -> AsyncIterator[None]:
        """Learn what requests may use and get, and compare with the certificate: beside the block if none needs it."""
        self.placement = placement
        self.fingerprint, engine = await identified(self.planned, placement)
        take = partial(self.identity.take, instance, self.planned, placement, engine)
        is_beside = self.identity.may_come_later(self.planned, self.trust)
        if not is_beside:
            # Before requests come: what else is in an engine's step changes answers of quantised weights.
            await take()
        looks = look_out(self, take if is_beside else None)
        work = (self.assess(), assess_again(self.planned, self.assess), looks)
        tasks = [asyncio.create_task(each) for each in work]
        try:
            if self.trust == "proven":
                await tasks[0]
            self.declared = instance.capabilities
            capabilities = self._judged(self.declared)
            await self.defaults.settle(instance, capabilities, self.backend.create(), placement)
            yield
        finally:
            for task in tasks:
                task.cancel()

    async def assess(self) -> None:
        """Compare what was loaded last, if anything, with its certificate as that is now."""
        if self.placement is not None:
            trust, before = self.trust, self.standing
            certificates, identity = self._certificates, self.identity
            self.standing = await standing_of(self.planned, self.placement, certificates, trust, before, identity)
            if self.declared is not None:
                self._judged(self.declared)

    def _judged(self, declared: Capabilities) -> Capabilities:
        self.capabilities = usable(declared, self.standing or NO_STANDING) if self.trust == "proven" else declared
        return self.capabilities

    async def serve(self, instance: Instance) -> tuple[str, bool]:
        """Let requests in until the instance has ended, or must be; returns why, and whether it has ended itself."""
        self.instance = instance
        self._doubt.clear()
        self._died.clear()
        load_s = time.monotonic() - self._load_began_at
        how = "woken" if self.residence.is_asleep else "loaded"
        self.residence.begin(load_s)
        self.breaker.reset()
        self.begun(instance)
        if self.planned.devices:
            self.keeper.look_soon()
        self.note("ready", f"{how} in {load_s:.1f} s")
        self.let_in(instance)
        since = time.monotonic()
        closed = asyncio.ensure_future(instance.wait_closed())
        hung = asyncio.ensure_future(self.liveness.watch(instance))
        leaves = asyncio.ensure_future(self.residence.wait_to_leave())
        try:
            while True:
                doubt = asyncio.ensure_future(self._doubt.wait())
                try:
                    await asyncio.wait([closed, hung, leaves, doubt], return_when=asyncio.FIRST_COMPLETED)
                finally:
                    doubt.cancel()
                if closed.done():
                    return why_ended(closed), True
                if hung.done():
                    return hung.result(), False
                if leaves.done():
                    self.note("draining", leaves.result())
                    return leaves.result(), False
                self._doubt.clear()
                if problem := await self.liveness.check(instance, closed):
                    return problem, closed.done()
                self._died.clear()
                if not self._is_closing and self.residence.leaving is None:
                    self.let_in(instance)
        finally:
            closed.cancel()
            hung.cancel()
            leaves.cancel()
            self.ended()
            self._failures.served(time.monotonic() - since)

    def _note_failure(self, reason: str) -> None:
        self.note("failed", reason)
        self.gate.start_deadlines()
        self.gate.strand()

    async def _sit_out(self) -> None:
        """Wait as long as the backoff says; requests wait at the gate meanwhile."""
        delay_s = self._failures.delay_s
        log.warning("instance restarts", instance=self.id, model=self.model, reason=self.reason, delay_s=delay_s)
        await self._failures.sit_out()

    def _give_up(self) -> None:
        self._failures.give_up()
        log.error("instance given up", instance=self.id, model=self.model, reason=self.reason)
        after_s = self._failures.to_next_try_s
        self.gate.fail(InstanceUnavailable(self.model, reason=self.reason, retry_after_s=after_s))

    def _note_progress(self, progress: LoadProgress) -> None:
        if is_news(self.progress, progress):
            log.info("instance loading", instance=self.id, stage=progress.stage, fraction=progress.fraction)
        self.progress = progress

    def note(self, state: State, reason: str) -> None:
        """Be in *state* from now on, because of *reason*."""
        before, self.state, self.reason = self.state, state, reason
        self._loader.note_speed(self.pace.tokens_s)
        if before == state:
            return
        write = log.warning if state == "failed" else log.info
        write("instance " + state, instance=self.id, model=self.model, backend=self.backend.name, reason=reason)
        self.tell(reason, before)

    def tell(self, reason: str, before: State | None = None) -> None:
        """Have observers told of its state, because of *reason*; *before* it was in another one, or is as it was."""
        if self._on_change is not None:
            self._on_change(
                InstanceChange(
                    instance_id=self.id,
                    model=self.model,
                    backend=self.backend.name,
                    before=before or self.state,
                    after=self.state,
                    reason=reason,
                    at=time.time(),
                )
            )
