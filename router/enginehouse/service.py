"""A request's way from a model's name to the engine's events, and its account when it has ended.

facts = service.begin(request_id)                  # the first thing, also for what will be refused
lease = service.open(request, model, client=…, facts=facts, sink=…)
…                                                  # events go to the sink; `lease.cancel()` ends it all
service.finish(facts, status)
"""

from __future__ import annotations

from enginehouse.accounts import Facts, Ledger
from enginehouse.fleet import Fleet, FleetSnapshot, Lease, ModelSnapshot
from enginehouse.plugins import Plugins
from enginehouse.telemetry import InstanceGauge, Metrics, log_request
from enginehouse_plugin import GenerationRequest, RequestFacts, Sink


class Service:
    """Serves requests from *fleet*, and keeps account of them."""

    def __init__(
        self,
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

    def begin(self, request_id: str) -> Facts:
        """Start the notes on a request, and its clock."""
        return Facts(request_id)

    def open(
        self,
        request: GenerationRequest,
        model: str,
        *,
        client: str,
        facts: Facts,
        sink: Sink,
        is_lenient: bool = False,
    ) -> Lease:
        """Begin to generate for *request* of *client*; events and the end go to *sink*, once this has returned.

        With *is_lenient* what the model lacks is left out and noted in `facts.ignored`, where that is possible.

        Raises:
            ModelNotFound: there is no such model.
            UnsupportedFeature: no instance of it has what the request needs.
            FleetError: none takes requests now.
            EnginehouseError: an instance refused it at once.
        """
        facts.model = model
        facts.is_stream = request.stream
        lease = Lease(request, self.fleet.model(model), client, facts, sink, is_lenient=is_lenient)
        lease.open()
        if self.ledger is not None:
            self.ledger.track(facts)
        return lease

    def finish(self, facts: Facts, status: int) -> RequestFacts | None:
        """Account for a request that has ended with HTTP *status*, once: metrics, a log line, usage, observers."""
        if facts.is_ended:
            return None
        record = facts.end(status)
        if self.ledger is not None:
            self.ledger.add(facts)
        self.metrics.count(record, record.model if record.model in self.fleet.models else "")
        log_request(record, facts.recorded)
        if self.plugins.has_request_observers:
            self.plugins.request_finished(record)
        return record

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
        return self.metrics.render(
            InstanceGauge(
                instance_id=instance.id,
                model=instance.planned.model,
                backend=instance.planned.backend.name,
                state=instance.state,
                running=instance.running,
                waiting=instance.waiting,
                restarts=instance.restarts,
            )
            for instance in self.snapshot().instances
        )
