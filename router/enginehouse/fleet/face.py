"""The side of an instance that listings see, and that its owner gives orders to."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from enginehouse.certificates import NO_STANDING, Probed, Standing, explained
from enginehouse.config import Trust
from enginehouse.telemetry import get_logger
from enginehouse_plugin import (
    BackendType,
    Candidate,
    Capabilities,
    GenerationRequest,
    Instance,
    LoadProgress,
    Measured,
    Run,
    Sleepable,
)
from enginehouse_plugin.errors import EnginehouseError, UnsupportedFeature

from .affinity import Cache
from .breaker import Breaker
from .claims import Weight
from .defaults import InstanceDefaults
from .errors import Draining, InstanceUnavailable, ModelLoading
from .fullness import Fullness
from .gate import RETRY_AFTER_S, Gate
from .identity import Identity
from .keeper import Keeper
from .liveness import Liveness
from .loader import Loader, wait_released, weighed
from .others import Others
from .pace import Pace
from .plan import InstancePlan
from .residence import Residence
from .restart import Failures
from .snapshot import InstanceSnapshot, State

log = get_logger()

HELD: Final = "its owner has taken it out; 'load' brings it back"
HELD_S: Final = 60.0
_PROBE_S: Final = 45.0
"""How long a probe may wait for a slot and for its answer."""
_LOOK_S: Final = 0.02


class Face:
    """What an instance shows and is told; its life is `HostedInstance`'s.

    `cache` stands for what it has read since the last of its `starts`, and `told_starts` are those at its host.
    """

    id: str
    model: str
    state: State
    reason: str
    progress: LoadProgress | None
    declared: Capabilities | None
    capabilities: Capabilities | None
    standing: Standing | None
    defaults: InstanceDefaults
    instance: Instance | None
    restarts: int
    liveness: Liveness
    breaker: Breaker
    pace: Pace
    cache: Cache[Any]  # of this instance; Any: its own type stands further up
    starts: int = 0
    told_starts: int = 0
    gate: Gate
    residence: Residence
    others: Others
    fullness: Fullness | None = None
    told_start_s: float = 0.0
    keeper: Keeper
    wake: Callable[[], None]
    _loader: Loader
    _failures: Failures
    _load_began_at: float
    _task: asyncio.Task[None] | None
    identity: Identity
    trust: Trust
    note: Callable[[State, str], None]
    tell: Callable[[str], None]
    _releases: dict[asyncio.Task[None], GenerationRequest]
    _let_go: Callable[[EnginehouseError], None]

    def __repr__(self) -> str:
        return f"<HostedInstance {self.id!r} {self.state} {self.gate!r}>"

    @property
    def planned(self) -> InstancePlan:
        """The decision for it; a load may find that another does better."""
        return self._loader.planned

    @property
    def backend(self) -> BackendType:
        """What loads it."""
        return self.planned.backend

    # ---- shown ----

    def candidate(self) -> Candidate:
        """How the choice among instances sees this one."""
        return Candidate(
            instance_id=self.id,
            model=self.model,
            backend=self.backend.name,
            device_ids=self.planned.device_ids,
            running=self.gate.running,
            waiting=self.gate.waiting,
            max_concurrent_requests=self.capabilities.max_concurrent_requests if self.capabilities else 1,
        )

    def snapshot(self) -> InstanceSnapshot:
        """How it is now."""
        return InstanceSnapshot(
            planned=self.planned,
            state=self.state,
            reason=self.keeper.reason(self.id) or self.reason,
            progress=self.progress,
            declared=self.declared,
            capabilities=self.capabilities,
            standing=self.standing,
            difference=self.identity.difference,
            aside=self.identity.aside,
            identity=self.identity.words,
            probe_tokens=(self.identity.prompt_tokens, self.identity.completion_tokens),
            defaults=self.defaults.by_profile,
            running=self.gate.running,
            waiting=self.gate.waiting,
            capacity=self.gate.capacity,
            is_pinned=self.residence.is_pinned,
            is_held=self.residence.is_held,
            doing=self.doing,
            memory=self.keeper.holding(self.id),
            restarts=self.restarts,
            starts=self.starts,
            hangs=self.liveness.hangs,
            breaker=self.breaker.state(time.monotonic()),
            breaker_opened=self.breaker.opened,
            retried=self.pace.retried,
            tokens_s=self.pace.tokens_s or None,
            others=self.others.count,
            cache_used=None if self.fullness is None else self.fullness.share,
            start_s=self.start_s,
        )

    def why_not_ready(self) -> ModelLoading:
        """What requests are told that have waited too long for it to be loaded."""
        waited_s = self.gate.load_timeout_s or 0.0
        return ModelLoading(self.model, waited_s=waited_s, reason=self.doing, retry_after_s=self.estimate_s)

    @property
    def doing(self) -> str:
        """What it does, in words: its state's reason, and how far a load is."""
        if self.identity.aside is not None:
            return f"{self.state} ({self.identity.aside})"
        if (waits := self.keeper.reason(self.id)) is not None:
            return f"{self.state} ({waits})"
        progress = self.progress if self.state == "loading" else None
        if progress is None:
            return f"{self.state} ({self.reason})"
        share = "" if progress.fraction is None else f" ({progress.fraction:.0%})"
        return f"{self.state} ({progress.stage}{share})"

    @property
    def estimate_s(self) -> float:
        """About how many seconds a load takes from now on: by the last one, else by how far this one is."""
        since_s = time.monotonic() - self._load_began_at if self.state == "loading" else 0.0
        fraction = self.progress.fraction if self.progress and self.state == "loading" else None
        left_s = self.residence.start_s - since_s
        if not self.residence.start_s and fraction:
            left_s = since_s / fraction - since_s
        return max(RETRY_AFTER_S, left_s)

    def begin_load(self, what: str) -> None:
        """Note that it loads, or wakes, from now on: *what* it does."""
        self.note("loading", what)
        self.gate.hold_deadlines()
        self.progress = None
        self._load_began_at = time.monotonic()

    @property
    def start_s(self) -> float:
        """About how many seconds it takes to begin from now on, by its last start; 0: it has had none."""
        known_s = self.told_start_s or self.residence.start_s
        since_s = time.monotonic() - self._load_began_at if self.state == "loading" else 0.0
        return max(known_s - since_s, known_s / 10)

    @property
    def could_start(self) -> bool:
        """Whether it, which is not ready, would be so by a start alone: it has not failed, and nobody gives way."""
        if self._failures.has_failed or self.keeper.reason(self.id) is not None:
            return False
        if self.state not in ("unloaded", "asleep", "loading"):
            return False
        return self.planned.host is not None or self.keeper.has_room(self.id, self.planned.footprint_bytes)

    # ---- for requests ----

    def release(self, run: Run, weight: int, request: GenerationRequest) -> asyncio.Task[None] | None:
        """Cancel *run* of *request*, give *weight* slots back once it holds none; returns that work, None if done."""
        try:
            run.cancel()
        except Exception:  # a plugin's fault must not cost a slot
            log.exception("backend broke while it released a request", instance=self.id)
            self.gate.leave(weight)
            return None
        task = asyncio.create_task(wait_released(run, self.id), name=f"release {self.id}")
        self._releases[task] = request
        task.add_done_callback(lambda _: self.gate.leave(weight))
        task.add_done_callback(self._releases.pop)
        return task

    def explained(self, refusal: UnsupportedFeature) -> UnsupportedFeature:
        """*refusal* of a request here, in words for a feature that is declared and not proven."""
        if self.trust == "declared":
            return refusal
        return explained(refusal, self.model, self.declared, self.standing or NO_STANDING)

    def let_in(self, instance: Instance) -> None:
        """Let requests in to *instance*, unless it is set aside."""
        capacity = instance.capabilities.max_concurrent_requests
        if self.identity.aside is None:
            self.gate.open(capacity)
        else:
            self.gate.capacity = max(1, capacity)  # for probes
            self.gate.send_on()

    def move_aside(self) -> None:
        """Hear that it is set aside, or is not any more: what runs goes on, and what waits goes elsewhere."""
        if self.identity.aside is not None:
            self.gate.pause()
            self.gate.send_on()
        elif self.residence.ready_at is not None and self.residence.leaving is None and self.instance is not None:
            self.let_in(self.instance)
        self.tell(self.identity.aside or "it is near enough to its model's reference again")

    # ---- asked by the router itself ----

    async def probe(self, prompt: str, temperature: float = 0.0, *, tokens: int = 0) -> Probed:
        """What comes to *prompt*, in a slot that no request wants; see `Identity.ask`.

        Raises:
            InstanceUnavailable: it is not loaded, or has no slot in time.
            EnginehouseError: it refuses that, or fails.
        """
        try:
            async with asyncio.timeout(_PROBE_S):
                while self.instance is not None and not self.gate.take():  # noqa: ASYNC110  # only who queues is told
                    await asyncio.sleep(_LOOK_S)
                if (instance := self.instance) is None:
                    raise InstanceUnavailable(self.model, reason=self.doing, retry_after_s=RETRY_AFTER_S)
                try:
                    return await self.identity.ask(instance, prompt, temperature, tokens=tokens)
                finally:
                    self.gate.leave(1)
        except TimeoutError:
            told = f"it did not answer a probe within {_PROBE_S:g} s"
            raise InstanceUnavailable(self.model, reason=told, retry_after_s=RETRY_AFTER_S) from None

    # ---- ordered ----

    def load(self) -> None:
        """Begin to load now, also one that was taken out, failed or is about to leave."""
        self.residence.is_held = False
        self.residence.is_called = True
        self.residence.is_sent = False
        self.forgive()
        self.stay()
        self.wake()

    def vacate(self, reason: str, *, may_sleep: bool = False) -> None:
        """See `Tenant.vacate`."""
        self.residence.leave(reason, may_sleep=may_sleep)
        if self.instance is not None:
            self.note("draining", reason)

    def stay(self) -> None:
        """See `Tenant.stay`."""
        stay = self.residence
        if stay.leaving is not None and not stay.is_sent and stay.stay() and self.instance is not None:
            self.note("ready", "it stays")
            self.let_in(self.instance)

    def asleep(self) -> Mapping[str, int] | None:
        """See `Tenant.asleep`."""
        can_sleep = not self.residence.is_asleep and isinstance(self.instance, Sleepable)
        return self.residence.asleep_bytes if can_sleep else None

    async def weigh(self) -> Weight | None:
        """See `Tenant.weigh`."""
        instance = self.instance
        return None if instance is None else await weighed(instance, self.planned, is_asleep=self.state == "asleep")

    async def unload(self, drain_s: float | None = 0.0, reason: str = "its owner unloaded it") -> None:
        """Give the memory back, once what runs has finished or is cut after *drain_s* seconds (None: never); a request
        loads it again.

        One that loads is cancelled, and those that wait for it are refused.
        """
        if self.residence.ready_at is None:
            await self._cancel_load(reason)
            return
        self.residence.is_sent = True
        self.vacate(reason)
        try:
            async with asyncio.timeout(drain_s):
                await self.residence.wait_left()
        except TimeoutError:
            self._let_go(Draining(is_cut=True))
            self.residence.cut()
            await self.residence.wait_left()

    async def drain(self, drain_s: float | None = None) -> None:
        """Take it out: those that wait go elsewhere or are refused, what runs may finish, and then its memory is given
        back; no request loads it until `load`. With *drain_s* what runs is cut after so many seconds.
        """
        self.residence.is_held = True
        self.gate.pause()
        self.gate.strand()
        self.gate.fail(InstanceUnavailable(self.model, reason=HELD, retry_after_s=HELD_S))
        await self.unload(drain_s, HELD)

    def abandon(self, error: EnginehouseError) -> None:
        """Tell those whose requests run here with *error* that nothing comes any more: they go elsewhere, or end."""
        self._let_go(error)

    def pin(self, is_pinned: bool) -> None:
        """Keep it loaded whatever else needs its memory and however long nobody asks, or no more."""
        self.residence.pin(is_pinned)

    def begun(self, instance: Instance) -> None:
        """Note that *instance* has loaded, or woken."""
        self.starts += 1
        self.forget()
        # Looked at here: it takes longer than to choose an instance.
        measured = instance if isinstance(instance, Measured) else None
        self.others.measured = None if self.planned.devices else measured
        self.fullness = Fullness(measured, self.gate) if measured is not None and self.planned.devices else None

    def ended(self) -> None:
        """Note that it sleeps, or has ended."""
        self.cache.owner = self.others.measured = None
        if self.fullness is not None:
            self.fullness.forget()
            self.fullness = None

    def forget(self) -> None:
        """Take for lost what it had read before."""
        self.cache.owner = None
        self.cache = Cache(self)

    def forgive(self) -> None:
        """Forget what has failed: the next try begins at once, and requests are taken again."""
        self._failures.forgive()
        self.breaker.reset()

    async def _cancel_load(self, reason: str) -> None:
        if self._task is not None and not self._task.done():
            self._task.cancel()
            await asyncio.wait([self._task])
        self.gate.fail(InstanceUnavailable(self.model, reason=reason, retry_after_s=HELD_S))
        self.note("unloaded", reason)
