"""A request's way from a model's name to the engine's events: steps 3 to 7, and 9 when it has ended.

    facts = service.begin(request_id)                      # the first thing, also for what will be refused
    try:
        async with service.open(request, model, client=client, facts=facts) as events:
            async for event in events:
                …
    except EnginehouseError as error:
        facts.fail(error)
    finally:
        service.finish(facts, status)

The whole block runs in one task. Leaving it, in any way, frees the slot.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from types import TracebackType

from enginehouse.accounts import Facts, Ledger
from enginehouse.config import Config
from enginehouse.fleet import (
    FirstTokenTimeout,
    Fleet,
    FleetError,
    GenerationTimeout,
    HostedInstance,
    IdleTimeout,
    InstanceUnavailable,
    Model,
    TotalTimeout,
)
from enginehouse.plugins import Plugins
from enginehouse.telemetry import Metrics, get_logger
from enginehouse_plugin import AnyEvent, Capabilities, GenerationRequest, RequestFacts, Started, missing
from enginehouse_plugin.backend import unsupported
from enginehouse_plugin.errors import EngineError, EngineUnavailable, UnsupportedFeature

log = get_logger()


class Service:
    """Serves requests from *fleet*, and keeps account of them."""

    def __init__(
        self,
        config: Config,
        plugins: Plugins,
        fleet: Fleet,
        *,
        metrics: Metrics | None = None,
        ledger: Ledger | None = None,
    ) -> None:
        self.fleet = fleet
        self.plugins = plugins
        self.metrics = metrics or Metrics()
        self.ledger = ledger
        self.first_token_timeout_s = config.server.first_token_timeout_s
        self.idle_timeout_s = config.server.idle_timeout_s
        self.total_timeout_s = config.server.total_timeout_s

    def begin(self, request_id: str) -> Facts:
        """Start the notes on a request, and its clock."""
        return Facts(request_id)

    def open(self, request: GenerationRequest, model: str, *, client: str, facts: Facts) -> Generation:
        """Prepare to generate; entering the result gives the events. Nothing happens before the first is asked for."""
        facts.model = model
        facts.is_stream = request.stream
        return Generation(self, request, model, client, facts)

    def choose(self, model: Model, request: GenerationRequest, avoid: HostedInstance | None = None) -> HostedInstance:
        """The instance that serves *request*: one that may take it, has the features, and is least loaded.

        Plugins are asked first. Instances that are ready go before those that load.

        Raises:
            UnsupportedFeature: no instance has what the request needs.
            FleetError: none takes requests now.
        """
        usable, refusal = [], None
        for hosted in model.instances:
            if hosted is avoid:
                continue
            problem = hosted.refusal()
            if problem is None:
                usable.append(hosted)
            else:
                refusal = problem
        if not usable:
            raise refusal or _nowhere(model)
        fit, unmet = [], None
        for hosted in usable:
            problem = first_unmet(request, hosted.capabilities)
            if problem is None:
                fit.append(hosted)
            else:
                unmet = unmet or hosted.explained(problem)
        if unmet is not None and not fit:
            raise unmet
        if len(fit) == 1:
            return fit[0]
        fit = [hosted for hosted in fit if hosted.gate.is_open] or fit
        if self.plugins.has_selectors:
            candidates = [hosted.candidate() for hosted in fit]
            chosen = self.plugins.select(request, candidates)
            if chosen is not None:
                return next(hosted for hosted in fit if hosted.id == chosen)
        return min(fit, key=_load)

    def finish(self, facts: Facts, status: int) -> RequestFacts | None:
        """Account for a request that has ended with HTTP *status*, once: metrics, a log line, usage, observers."""
        if facts.is_ended:
            return None
        record = facts.end(status)
        if self.ledger is not None:
            self.ledger.add(facts)
        self.metrics.count(record, record.model if record.model in self.fleet.models else "")
        write = log.warning if status >= 500 else log.info
        write(
            "request",
            id=record.request_id,
            model=record.model[:200],
            instance=record.instance_id,
            key=record.key,
            status=status,
            stream=record.is_stream,
            cancelled=record.is_cancelled,
            ttft_s=None if record.ttft_s is None else round(record.ttft_s, 4),
            duration_s=round(record.duration_s, 4),
            prompt_tokens=record.prompt_tokens,
            cached_tokens=record.cached_tokens,
            completion_tokens=record.completion_tokens,
            finish=",".join(record.finish_reasons),
            error=record.error_code,
            **({"recorded": facts.recorded} if facts.recorded else {}),
        )
        if self.plugins.has_request_observers:
            self.plugins.request_finished(record)
        return record

    def metrics_text(self) -> str:
        """All metrics in Prometheus' text format."""
        return self.metrics.render(self.fleet.gauges())


class Generation:
    """One request at the fleet: enter for its events, leave to free its slot.

    One timer keeps all three deadlines. It does not fire per event: when it does, it looks how long the engine
    has been waited for, and sets itself again. While the client is slow to read, the engine is not waited for.
    """

    __slots__ = (
        "_began_at",
        "_cancels",
        "_client",
        "_events",
        "_expired",
        "_facts",
        "_loop",
        "_model",
        "_request",
        "_service",
        "_task",
        "_timer",
        "_waits_since",
    )

    def __init__(self, service: Service, request: GenerationRequest, model: str, client: str, facts: Facts) -> None:
        self._service = service
        self._request = request
        self._model = model
        self._client = client
        self._facts = facts
        self._expired: GenerationTimeout | None = None
        self._waits_since: float | None = None

    async def __aenter__(self) -> AsyncGenerator[AnyEvent, None]:
        self._loop = asyncio.get_running_loop()
        task = asyncio.current_task(self._loop)
        if task is None:
            raise RuntimeError("a generation is entered in a task")
        self._task = task
        self._cancels = task.cancelling()
        self._began_at = self._loop.time()
        service = self._service
        soonest_s = min(service.first_token_timeout_s, service.idle_timeout_s, service.total_timeout_s)
        self._timer = self._loop.call_later(soonest_s, self._on_timer)
        self._events = self._run()
        return self._events

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._timer.cancel()
        if isinstance(error, Exception):
            self._facts.fail(error)
        elif self._expired is not None:
            self._facts.fail(self._expired)
        elif not self._facts.is_complete:
            self._facts.is_cancelled = True
        try:
            await self._events.aclose()
        finally:
            if kind is asyncio.CancelledError:
                self._raise_if_expired()

    async def _run(self) -> AsyncGenerator[AnyEvent, None]:
        facts, service, request, now = self._facts, self._service, self._request, self._loop.time
        model = service.fleet.model(self._model)
        avoid: HostedInstance | None = None
        failure: EngineError | None = None
        has_started = False
        while True:
            try:
                hosted = service.choose(model, request, avoid)
            except FleetError as refusal:
                raise failure or refusal from None
            self._waits_since = now()
            try:
                knew = hosted.capabilities is not None
                weight = await hosted.gate.enter(self._client, request.n)
                try:
                    instance = hosted.instance
                    if instance is None:  # it ended between letting us in and this step
                        raise EngineUnavailable(f"'{hosted.id}' has just ended.")
                    if not knew and (unmet := first_unmet(request, hosted.capabilities)):
                        raise hosted.explained(unmet)
                    facts.instance_id = hosted.id
                    if service.ledger is not None:
                        service.ledger.track(facts)
                    events = instance.generate(request)
                    try:
                        async for event in events:
                            self._waits_since = None
                            facts.note((event,))
                            if type(event) is not Started:
                                yield event
                            elif not has_started:  # of two tries the client sees one start
                                has_started = True
                                yield event
                            self._waits_since = now()
                    finally:
                        await events.aclose()
                finally:
                    hosted.gate.leave(weight)
                facts.is_complete = True
                return
            except asyncio.CancelledError:
                self._raise_if_expired()
                raise
            except EngineError as error:
                # Before the first delta another instance may answer; after it none can go on with the answer.
                is_checked = hosted.report(error)
                if facts.has_delta or failure is not None or not error.retryable:
                    raise
                log.info("request retried", id=request.id, instance=hosted.id, error=error.code)
                avoid, failure = None if is_checked else hosted, error

    def _on_timer(self) -> None:
        service, now = self._service, self._loop.time()
        expired: GenerationTimeout | None = None
        ends_at = self._began_at + service.total_timeout_s
        if self._waits_since is None:
            limit_at = now + service.idle_timeout_s
        elif self._facts.has_delta:
            limit_at = self._waits_since + service.idle_timeout_s
            expired = IdleTimeout(service.idle_timeout_s)
        else:
            limit_at = self._began_at + service.first_token_timeout_s
            expired = FirstTokenTimeout(service.first_token_timeout_s)
        if now >= ends_at:
            self._expire(TotalTimeout(service.total_timeout_s))
        elif expired is not None and now >= limit_at:
            self._expire(expired)
        else:
            # Again within the idle time at the latest: it counts as soon as the engine has begun.
            next_at = min(limit_at, now + service.idle_timeout_s, ends_at)
            self._timer = self._loop.call_at(next_at, self._on_timer)

    def _expire(self, error: GenerationTimeout) -> None:
        self._expired = error
        self._task.cancel()

    def _raise_if_expired(self) -> None:
        """Turn a cancellation that was our own into its timeout, as `asyncio.timeout` does."""
        expired, self._expired = self._expired, None
        if expired is not None and self._task.uncancel() <= self._cancels:
            raise expired from None


def first_unmet(request: GenerationRequest, capabilities: Capabilities | None) -> UnsupportedFeature | None:
    """The refusal of the first need of *request* that *capabilities* do not meet; unknown ones are met."""
    if capabilities is None:
        return None
    for need in missing(request, capabilities):
        return unsupported(need, capabilities)
    return None


def _load(hosted: HostedInstance) -> float:
    gate = hosted.gate
    return (gate.running + gate.waiting) / max(1, gate.capacity)


def _nowhere(model: Model) -> InstanceUnavailable:
    reasons = "; ".join(f"placement {rejected.index}: {rejected.reason}" for rejected in model.decision.rejected)
    return InstanceUnavailable(model.name, reason=reasons or "it has no instance", retry_after_s=60.0)
