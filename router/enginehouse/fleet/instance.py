"""One instance of a model: loaded, watched, started again, and ended.

    unloaded ─▶ loading ─▶ ready ─▶ draining ─▶ closed
                 │  ▲        │
                 ▼  │        │ it ended unasked
                failed ◀─────┘

One task per instance goes this way; requests only wait at the instance's gate. So first requests share one
load, and a request that is cancelled cancels no load.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable

from enginehouse.certificates import NO_STANDING, Certificates, Standing, explained, usable
from enginehouse.config import ModelConfig, Trust
from enginehouse.telemetry import get_logger
from enginehouse_plugin import (
    BackendType,
    Candidate,
    Capabilities,
    ExitReport,
    Instance,
    InstanceChange,
    LoadProgress,
    Placement,
    Run,
)
from enginehouse_plugin.errors import (
    EngineDied,
    EnginehouseError,
    EngineProtocolError,
    EngineUnavailable,
    UnsupportedFeature,
)

from .errors import Draining, InstanceUnavailable
from .gate import Gate
from .loader import Loader, drain, identified, unload, why_not_loaded, with_last_words
from .plan import InstancePlan
from .planner import Planner
from .restart import RestartPolicy
from .snapshot import InstanceSnapshot, State
from .sources import Fetch, fetch_in_thread

_CHECK_TIMEOUT_S = 5.0
# After these the engine itself is in doubt; EngineOverloaded and EngineFailure come from a living one.
_DOUBTS = (EngineDied, EngineUnavailable, EngineProtocolError)

log = get_logger()


class HostedInstance:
    """One instance of a model, as *planned*, through all its loads and ends; at its `gate` requests wait.

    `declared` is what the backend says of it and `capabilities` what requests may use, which is less where only proven
    features are trusted; both are known from the first load on. `reason` is why it is in its state, `standing` how it
    stands to its certificate (None: not compared yet), `fingerprint` what was loaded last.
    """

    def __init__(
        self,
        planned: InstancePlan,
        config: ModelConfig,
        planner: Planner,
        *,
        fetch: Fetch = fetch_in_thread,
        policy: RestartPolicy | None = None,
        on_change: Callable[[InstanceChange], None] | None = None,
        certificates: Certificates | None = None,
        trust: Trust = "declared",
    ) -> None:
        self.id = planned.id
        self.model = planned.model
        self.state: State = "unloaded"
        self.reason = "not asked for yet"
        self.progress: LoadProgress | None = None
        self.declared: Capabilities | None = None
        self.capabilities: Capabilities | None = None
        self.trust = trust
        self.standing: Standing | None = None
        self.fingerprint: str | None = None
        self.instance: Instance | None = None
        self.restarts = 0
        self.gate = Gate(planned.model, max_queue=config.max_queue, queue_timeout_s=config.queue_timeout_s)
        self._loader = Loader(planned, planner, fetch)
        self._policy = policy or RestartPolicy()
        self._on_change = on_change
        self._certificates = certificates
        self._failures = 0  # in a row, without a healthy time between: they lengthen the backoff
        self._failed_loads = 0  # in a row, without a load that succeeded between: too many, and it gives up
        self._gave_up_at: float | None = None
        self._load_s = 0.0
        self._is_closing = False
        self._doubt = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._releases: set[asyncio.Task[None]] = set()

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

    # ---- for requests ----

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
            reason=self.reason,
            progress=self.progress,
            declared=self.declared,
            capabilities=self.capabilities,
            standing=self.standing,
            running=self.gate.running,
            waiting=self.gate.waiting,
            capacity=self.gate.capacity,
            restarts=self.restarts,
        )

    def refusal(self) -> EnginehouseError | None:
        """Why no request may come in now, or None: at once, or once it has loaded."""
        if self._is_closing:
            return Draining()
        if self.state != "ready" and not self._is_at_work and (wait_s := self._seconds_to_next_try()) > 0:
            return InstanceUnavailable(self.model, reason=self.reason, retry_after_s=wait_s)
        return None

    def release(self, run: Run, weight: int) -> asyncio.Task[None] | None:
        """Cancel *run*, give *weight* slots back when it holds none any more; returns that work, None once done."""
        try:
            run.cancel()
        except Exception:  # a plugin's fault must not cost a slot
            log.exception("backend broke while it released a request", instance=self.id)
            self.gate.leave(weight)
            return None
        task = asyncio.create_task(self._release(run, weight), name=f"release {self.id}")
        self._releases.add(task)
        task.add_done_callback(self._releases.discard)
        return task

    async def _release(self, run: Run, weight: int) -> None:
        try:
            await run.wait_released()
        except Exception:  # a plugin's fault must not cost a slot
            log.exception("backend broke while it released a request", instance=self.id)
        finally:
            self.gate.leave(weight)

    def report(self, error: EnginehouseError) -> bool:
        """Hear that a request failed with *error*; returns whether the instance is now checked or started again."""
        if isinstance(error, _DOUBTS) and self.state == "ready":
            self.gate.pause()
            self._doubt.set()
        return not self.gate.is_open

    def explained(self, refusal: UnsupportedFeature) -> UnsupportedFeature:
        """*refusal* of a request here, in words for a feature that is declared and not proven."""
        if self.trust == "declared":
            return refusal
        return explained(refusal, self.model, self.declared, self.standing or NO_STANDING)

    # ---- its way ----

    @property
    def _is_at_work(self) -> bool:
        return self._task is not None and not self._task.done()

    def wake(self) -> None:
        """Begin to load, unless that is under way or done."""
        if not self._is_at_work:
            self.gate.hold_deadlines()
            self._set("loading", "asked for")
            self._task = asyncio.create_task(self._run(), name=f"instance {self.id}")

    def stop_admitting(self) -> None:
        """Refuse all that wait and all that come; what runs goes on."""
        self._is_closing = True
        self.gate.pause()
        self.gate.fail(Draining())

    async def close(self, drain_s: float = 0.0) -> None:
        """End the instance, after running requests had *drain_s* seconds to finish."""
        if self.state == "closed":
            return
        self.stop_admitting()
        if self.state == "ready" and drain_s > 0:
            self._set("draining", "the router is going down")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(drain_s):
                    await self._drain(drain_s)
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        self._set("closed", "the router is going down")

    async def _drain(self, timeout_s: float) -> None:
        await self.gate.wait_idle()
        if self.instance is not None:
            await drain(self.instance, self.id, timeout_s)

    async def _run(self) -> None:
        while True:
            try:
                instance, placement = await self._load()
            except EnginehouseError as error:
                self._failed_loads += 1
                hopeless = not error.retryable or self._failed_loads >= self._policy.max_failures
                self._note_failure(why_not_loaded(error))
                if hopeless:
                    self._give_up()
                    return
                await self._sit_out()
                continue
            self._failed_loads = 0
            try:
                async with self._assessing(instance.capabilities, placement):
                    reason = await self._serve(instance)
            finally:
                self.gate.pause()
                self.instance = None
                # Also when this task is cancelled: an instance never outlives its task.
                await unload(instance, self.id)
            if self._is_closing:
                return
            self._note_failure(reason)
            await self._sit_out()
            self.restarts += 1

    async def _load(self) -> tuple[Instance, Placement]:
        self._set("loading", "weights and engine")
        self.gate.hold_deadlines()
        self.progress = None
        started = time.monotonic()
        loaded = await self._loader.load(self._note_progress)
        self._load_s = time.monotonic() - started
        return loaded

    @contextlib.asynccontextmanager
    async def _assessing(self, declared: Capabilities, placement: Placement) -> AsyncIterator[None]:
        """Compare the instance with its certificate: before the block where requests depend on it, else beside it."""
        task = asyncio.create_task(self._assess(placement))
        try:
            self.fingerprint = await identified(self.planned, placement)
            if self.trust == "proven":
                await task
            self.declared = declared
            self.capabilities = usable(declared, self.standing or NO_STANDING) if self.trust == "proven" else declared
            yield
        finally:
            task.cancel()

    async def _assess(self, placement: Placement) -> None:
        standing = NO_STANDING
        if self._certificates is not None:
            standing = await self._certificates.assess(self.backend, placement, self.planned.devices)
        self.standing = standing
        if standing.state == "current":
            log.info("instance certified", instance=self.id, model=self.model, proven=len(standing.proven))
        elif standing.state != "none" or self.trust == "proven":
            log.warning("instance not certified", instance=self.id, model=self.model, reason=standing.reason)

    async def _serve(self, instance: Instance) -> str:
        """Let requests in until the instance has ended; returns why it did."""
        self.instance = instance
        self._gave_up_at = None
        self._doubt.clear()
        self._set("ready", f"loaded in {self._load_s:.1f} s")
        self.gate.open(instance.capabilities.max_concurrent_requests)
        since = time.monotonic()
        closed = asyncio.ensure_future(instance.wait_closed())
        try:
            while True:
                doubt = asyncio.ensure_future(self._doubt.wait())
                try:
                    await asyncio.wait([closed, doubt], return_when=asyncio.FIRST_COMPLETED)
                finally:
                    doubt.cancel()
                if closed.done():
                    return _why(closed)
                self._doubt.clear()
                if problem := await self._check(instance, closed):
                    return problem
                if not self._is_closing:
                    self.gate.open(instance.capabilities.max_concurrent_requests)
        finally:
            closed.cancel()
            if time.monotonic() - since >= self._policy.healthy_s:
                self._failures = 0

    @staticmethod
    async def _check(instance: Instance, closed: asyncio.Future[ExitReport]) -> str | None:
        """Ask an instance that is in doubt; returns what is wrong with it."""
        try:
            # Not `wait_for`: before Python 3.12 it loses a cancellation that meets the result.
            async with asyncio.timeout(_CHECK_TIMEOUT_S):
                await instance.check_ready()
        except EnginehouseError as error:
            return _why(closed) if closed.done() else error.message
        except TimeoutError:
            return f"it did not answer within {_CHECK_TIMEOUT_S:g} s"
        except Exception as error:  # a plugin's fault must not end the task that watches over it
            log.exception("backend broke while it was checked")
            return f"its check broke: {type(error).__name__}: {error}"
        return None

    def _note_failure(self, reason: str) -> None:
        self._failures += 1
        self._set("failed", reason)
        self.gate.start_deadlines()
        self.gate.strand()

    async def _sit_out(self) -> None:
        """Wait as long as the backoff says; requests wait at the gate meanwhile."""
        delay_s = self._policy.delay_s(self._failures)
        log.warning("instance restarts", instance=self.id, model=self.model, reason=self.reason, delay_s=delay_s)
        await asyncio.sleep(delay_s)

    def _give_up(self) -> None:
        self._gave_up_at = time.monotonic()
        wait_s = self._seconds_to_next_try()
        log.error("instance given up", instance=self.id, model=self.model, reason=self.reason)
        self.gate.fail(InstanceUnavailable(self.model, reason=self.reason, retry_after_s=wait_s))

    def _seconds_to_next_try(self) -> float:
        if self._gave_up_at is None:
            return 0.0
        return max(0.0, self._gave_up_at + self._policy.cap_s - time.monotonic())

    def _note_progress(self, progress: LoadProgress) -> None:
        before = self.progress
        self.progress = progress
        # One line per stage and per tenth: a download reports thousands of times.
        if before is None or before.stage != progress.stage or _tenth(before) != _tenth(progress):
            log.info("instance loading", instance=self.id, stage=progress.stage, fraction=progress.fraction)

    def _set(self, state: State, reason: str) -> None:
        before, self.state, self.reason = self.state, state, reason
        if before == state:
            return
        write = log.warning if state == "failed" else log.info
        write("instance " + state, instance=self.id, model=self.model, backend=self.backend.name, reason=reason)
        if self._on_change is not None:
            self._on_change(
                InstanceChange(
                    instance_id=self.id,
                    model=self.model,
                    backend=self.backend.name,
                    before=before,
                    after=state,
                    reason=reason,
                    at=time.time(),
                )
            )


def _tenth(progress: LoadProgress) -> int | None:
    return None if progress.fraction is None else int(progress.fraction * 10)


def _why(closed: asyncio.Future[ExitReport]) -> str:
    if closed.cancelled():
        return "its end could not be told"
    if error := closed.exception():
        return f"its end could not be told: {type(error).__name__}: {error}"
    report = closed.result()
    return with_last_words(report.reason, report.last_words)
