"""A request's way from a model's name to the engine's events, and its account when it has ended.

facts = service.begin(request_id)                  # the first thing, also for what will be refused
lease = service.open(request, model, client=…, facts=facts, sink=…)
…                                                  # events go to the sink; `lease.cancel()` ends it all
service.finish(facts, status)
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from typing import Final

import msgspec

from enginehouse.accounts import AccountsState, Credits, Facts, Ledger, Limiter, Recent
from enginehouse.fleet import (
    ANY_CONTEXT,
    GENERATION,
    Ask,
    Counting,
    Fleet,
    FleetSnapshot,
    Job,
    Lease,
    ModelSnapshot,
    Several,
    Work,
    Working,
)
from enginehouse.plugins import Plugins
from enginehouse.telemetry import Export, InstanceGauge, Metrics, log_request
from enginehouse_plugin import Chat, GenerationRequest, Sink, UsageReport
from enginehouse_plugin.request import Prompt

PROBES: Final = "(probes)"
"""In place of a key in the usage, for the tokens of the router's own probes; no key has such a name."""
SETTLE_S: Final = 0.05
"""Requests that end within this time are accounted for together, beside the way of those that run. A router that is
killed may lose what ended within it and the time that rows are gathered in, but for requests that are paid for."""
PAID_SETTLE_S: Final = 0.005
"""The same for requests of keys with credit where the ledger has no journal: the ends of their answers are held back
until they are committed."""
HOLD_S: Final = 10.0
"""How long the end of an answer is held back at most, where the database neither commits nor fails: under a campaign
on a busy machine a commit took more than a second, and a kill then cost the charges of answers that had gone out."""


class Service:
    """Serves requests from *fleet*, and keeps account of them."""

    def __init__(
        self,
        plugins: Plugins,
        fleet: Fleet,
        *,
        metrics: Metrics | None = None,
        ledger: Ledger | None = None,
        limiter: Limiter | None = None,
        credit: Credits | None = None,
        export: Export | None = None,
    ) -> None:
        self.fleet = fleet
        self.plugins = plugins
        self.metrics = metrics or Metrics()
        self.ledger = ledger
        self.limiter = limiter or Limiter()
        self.credits = credit or Credits()
        self.export = export
        self.recent = Recent()
        self._is_noting = False
        self._ended: list[Facts] = []
        self._held: list[Callable[[], None]] = []
        self._is_due = self._is_paid_due = False

    def note_recent(self, *, is_on: bool) -> None:
        """Keep the last requests for who looks, or keep none."""
        self._is_noting = is_on
        if not is_on:
            self.recent = Recent()

    def begin(self, request_id: str) -> Facts:
        """Start the notes on a request, and its clock."""
        return Facts(request_id)

    def trace(self, facts: Facts, method: str, route: str, named: Mapping[bytes, bytes]) -> None:
        """Begin the trace of a request with the headers *named*, where traces or metrics are sent anywhere."""
        if self.export is not None:
            facts.trace = self.export.begin(method, route, named)

    def reserve(
        self,
        request: GenerationRequest,
        model: str,
        *,
        facts: Facts,
        said: Collection[str],
        profile: str,
        again: Callable[[], None],
        work: Work | None = None,
        prompts: int = 1,
    ) -> bool:
        """Reserve of the key's credit what *request* or *work* may cost, where its key pays and its model has prices;
        a request for as many *prompts*.

        False: the database is asked first, and *again* called when this is to be asked once more.

        Raises:
            InsufficientCredits: the key has too little.
            AccountsUnavailable: that cannot be known now.
        """
        prices = self.credits.prices.get(model)
        if prices is None or facts.credit is not None:  # a limit may have been asked for meanwhile
            return True
        facts.prices = prices
        purse = self.credits.purse(facts.key)
        chosen = self.fleet.models.get(model)
        if purse is None or self.ledger is None or chosen is None:
            return True
        said_tokens: int | None
        if work is None:
            said_tokens, most_tokens = chosen.bounds(request.max_tokens, said, profile)
        else:  # of several texts each has the whole context, and nothing is generated
            said_tokens, most_tokens = 0, ANY_CONTEXT
            facts.prompt_bytes = max(facts.prompt_bytes, work.prompt_bytes or 0)
        return self.credits.reserve(
            facts, purse, choices=request.n * prompts, said_tokens=said_tokens, most_tokens=most_tokens, again=again
        )

    def open(
        self,
        request: GenerationRequest,
        model: str,
        *,
        client: str,
        facts: Facts,
        sink: Sink,
        said: Collection[str] = (),
        profile: str = "",
        is_lenient: bool = False,
        is_from_host: bool = False,
        counts: Ask | None = None,
        work: Work | None = None,
        prompts: Sequence[Prompt] = (),
    ) -> Lease:
        """Begin to generate for *request* of *client*; events and the end go to *sink*, once this has returned.

        Fields of *request* that are not in *said* are left to the model's defaults, behind which those of the *profile*
        with this label stand. With *is_lenient* what the model lacks is left out and noted in `facts.ignored`, where
        that is possible. With *is_from_host* another host has sent it, and it goes no further than this one. With
        *counts* nothing is generated: the prompt is asked about, and the one event is a `UsageReport` of it. With
        *work* that is done instead, for which *request* stands in queues and among suspects. With *prompts* *request*
        is answered for each of these, of which its own is the first.

        Raises:
            ModelNotFound: there is no such model.
            WrongTask: it is for something else.
            AccountsUnavailable: usage cannot be written down, and the owner wants nothing served then.
            RateLimited: the key or the model has had as much as it may.
            Undecided: that has to be asked for; call this again when the limiter knows it.
            UnsupportedFeature: no instance of it has what the request needs.
            FleetError: none takes requests now.
            EnginehouseError: an instance refused it at once.
        """
        facts.model = model
        facts.is_stream = request.stream
        if facts.credit is not None and facts.credit.max_tokens is not None:
            request = msgspec.structs.replace(request, max_tokens=facts.credit.max_tokens)
            said = {*said, "max_tokens"}
        chosen = self.fleet.model(model)
        is_text = counts is not None and not isinstance(request.prompt, Chat)
        if not is_text:  # which has tokens for every model
            chosen.refuse_other("chat" if work is None else work.task)
        if is_from_host:
            chosen = chosen.alone()
        for sleeping in chosen.sleepers:
            sleeping.wake()
        if self.ledger is not None:
            self.ledger.check()
        self.limiter.enter(facts, request.n * max(1, len(prompts)) * (request.max_tokens or 0))
        job: Job = GENERATION
        if counts is not None:
            job = Counting(counts, is_text=is_text)
        elif work is not None:
            job = Working(work)
        elif prompts:
            job = Several(prompts)
        lease = Lease(request, chosen, client, facts, sink, said=said, profile=profile, is_lenient=is_lenient, job=job)
        if facts.trace is not None:
            facts.trace.leased_s = facts.duration_s
        lease.open()
        if self.ledger is not None:
            self.ledger.track(facts)
        return lease

    def probed(self, model: str, instance: str, prompt_tokens: int, completion_tokens: int) -> None:
        """Keep account of a probe of the router's own, apart from what clients have: it is nobody's request."""
        if self.ledger is None:
            return
        facts = Facts("")
        facts.key, facts.model, facts.instance_id, facts.endpoint = PROBES, model, instance, "probe"
        facts.note((UsageReport(prompt_tokens=prompt_tokens, completion_tokens=completion_tokens),))
        facts.end(200)
        self.ledger.add(facts)

    def finish(self, facts: Facts, status: int, then: Callable[[], None] | None = None) -> None:
        """End a request with HTTP *status*, once; it is accounted for within `SETTLE_S`.

        Of one that is paid for, *then* is called when what it took outlives this router: at once, where the ledger has
        a journal, or else when it is committed.
        """
        if facts.is_ended:
            return
        facts.end(status)
        self.limiter.leave(facts)
        self.credits.settle(facts)
        self._ended.append(facts)
        is_held = facts.charged is not None and self.ledger is not None and not self.ledger.keep(facts)
        if is_held and not self._is_paid_due:
            self._is_paid_due = True
            asyncio.get_running_loop().call_later(PAID_SETTLE_S, self.settle)
        elif not is_held and not self._is_due:
            self._is_due = True
            asyncio.get_running_loop().call_later(SETTLE_S, self.settle)
        if then is None:
            return
        if is_held:
            self._held.append(then)
        else:
            then()

    def settle(self) -> None:
        """Account for the requests that have ended: metrics, a log line, usage, observers."""
        self._is_due = self._is_paid_due = False
        ended, self._ended = self._ended, []
        if self.ledger is not None:
            self.ledger.add(*ended, then=self._release() if self._held else None)
        for facts in ended:
            record = facts.record()
            model = record.model if record.model in self.fleet.models else ""
            self.metrics.count(record, model)
            if self._is_noting:
                self.recent.note(record, model, facts.charged)
            if self.export is not None and facts.trace is not None:
                self.export.add(facts.trace, record, model)
            log_request(record, facts.recorded)
            if self.plugins.has_request_observers:
                self.plugins.request_finished(record)

    def _release(self) -> Callable[[], None]:
        """What lets the ends of answers go that are held back now, by any thread; they go by themselves in time."""
        held, self._held = self._held, []
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:  # it has ended, and with it whoever waits
            return lambda: None

        def let_go() -> None:
            late.cancel()
            while held:
                loop.call_soon(held.pop())  # each by itself: one that breaks holds up no other

        def release() -> None:
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(let_go)

        late = loop.call_later(HOLD_S, let_go)
        return release

    @property
    def accounts(self) -> AccountsState:
        """Whether usage is written down, where it is kept at all."""
        return "written" if self.ledger is None else self.ledger.state

    def snapshot(self) -> FleetSnapshot:
        """The fleet as it is now."""
        return self.fleet.snapshot()

    def model(self, name: str) -> ModelSnapshot:
        """The model called *name*, as it is now.

        Raises:
            ModelNotFound: there is none.
        """
        return self.fleet.model(name).snapshot()

    def metrics_text(self) -> str:
        """All metrics in Prometheus' text format."""
        self.settle()
        return self.metrics.render(
            (
                InstanceGauge(
                    instance_id=instance.id,
                    model=instance.planned.model,
                    backend=instance.planned.backend.name,
                    state=instance.state,
                    running=instance.running,
                    waiting=instance.waiting,
                    restarts=instance.restarts,
                    hangs=instance.hangs,
                    breaker=instance.breaker,
                    breaker_opened=instance.breaker_opened,
                    retried=instance.retried,
                    distance=None if instance.difference is None else instance.difference.distance,
                    is_aside=instance.aside is not None,
                    probe_tokens=instance.probe_tokens,
                )
                for instance in self.snapshot().instances
            ),
            lost_rows=0 if self.ledger is None else self.ledger.lost,
            is_written=self.accounts == "written",
            lost_traces=0 if self.export is None else self.export.lost,
        )
