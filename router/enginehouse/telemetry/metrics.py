"""Metrics: counters in memory, rendered when they are asked for."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence

from enginehouse_plugin import RequestFacts

from .gauges import DoorGauge, InstanceGauge
from .logs import lost_lines
from .watchdog import BLOCKS

_DURATION_BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0)
_TTFT_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)
METRICS_CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Histogram:
    """Counts of observations in seconds below each bound; Prometheus adds them up on rendering."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    @property
    def has_any(self) -> bool:
        """Whether anything has been observed."""
        return any(self.counts)

    def observe(self, seconds: float) -> None:
        """Count one observation."""
        self.counts[bisect_left(self.bounds, seconds)] += 1
        self.total += seconds


class _ModelCounts:
    """What is counted of one model."""

    __slots__ = (
        "cached_tokens",
        "completion_tokens",
        "duration",
        "ignored",
        "prompt_tokens",
        "reasoning_tokens",
        "ttft",
    )

    def __init__(self) -> None:
        self.ignored = 0
        self.prompt_tokens = self.cached_tokens = self.completion_tokens = self.reasoning_tokens = 0
        self.duration = Histogram(_DURATION_BUCKETS)
        self.ttft = Histogram(_TTFT_BUCKETS)

    def tokens(self) -> list[tuple[str, int]]:
        """Kinds of tokens that there were, and how many."""
        kinds = (
            ("prompt", self.prompt_tokens),
            ("cached", self.cached_tokens),
            ("completion", self.completion_tokens),
            ("reasoning", self.reasoning_tokens),
        )
        return [(kind, number) for kind, number in kinds if number]


class Metrics:
    """Counters of this process, changed on the event loop's thread alone. `doors` reads those of the listener."""

    def __init__(self) -> None:
        self.doors: Callable[[], DoorGauge] = DoorGauge
        self._requests: dict[tuple[str, int], int] = {}
        self._models: dict[str, _ModelCounts] = {}

    def count(self, facts: RequestFacts, model: str) -> None:
        """Count an ended request under *model* (empty: none that is configured, so that labels stay bounded)."""
        key = (model, facts.status)
        self._requests[key] = self._requests.get(key, 0) + 1
        counts = self._models.get(model)
        if counts is None:
            counts = self._models[model] = _ModelCounts()
        counts.prompt_tokens += facts.prompt_tokens
        counts.cached_tokens += facts.cached_tokens
        counts.completion_tokens += facts.completion_tokens
        counts.reasoning_tokens += facts.reasoning_tokens
        counts.duration.observe(facts.duration_s)
        if facts.ignored:
            counts.ignored += len(facts.ignored)
        if facts.ttft_s is not None:
            counts.ttft.observe(facts.ttft_s)

    def histograms(self) -> dict[str, tuple[Histogram, Histogram]]:
        """How long requests took, and to the first part of their answers, by model (empty: none that is configured)."""
        return {model: (counts.duration, counts.ttft) for model, counts in self._models.items()}

    def render(
        self,
        instances: Iterable[InstanceGauge],
        *,
        lost_rows: int = 0,
        is_written: bool = True,
        lost_traces: int = 0,
    ) -> str:
        """All metrics in Prometheus' text format 0.0.4; *lost_rows* are those of usage, *is_written*: it takes more.

        *lost_traces* are requests that no collector was told of.
        """
        text = _Text()
        text.family("enginehouse_requests_total", "counter", "Requests that have ended.")
        for (model, status), number in self._requests.items():
            text.sample(number, model=model, status=str(status))
        text.family(
            "enginehouse_tokens_total",
            "counter",
            "Tokens that engines counted; cached ones are prompt, too, and reasoning ones completion.",
        )
        for model, counts in self._models.items():
            for kind, number in counts.tokens():
                text.sample(number, model=model, kind=kind)
        text.family(
            "enginehouse_ignored_total", "counter", "What requests asked for that was left out, and named to them."
        )
        for model, counts in self._models.items():
            text.sample(counts.ignored, model=model)
        known = {model: counts for model, counts in self._models.items() if model}
        text.histograms(
            "enginehouse_request_duration_seconds",
            "Duration of requests.",
            {model: counts.duration for model, counts in known.items()},
        )
        text.histograms(
            "enginehouse_ttft_seconds",
            "Time to the first delta.",
            {model: counts.ttft for model, counts in known.items() if counts.ttft.has_any},
        )
        rows = list(instances)
        text.family("enginehouse_running_sequences", "gauge", "Sequences that an instance works on.")
        for row in rows:
            text.sample(row.running, model=row.model, instance=row.instance_id)
        text.family("enginehouse_queued_requests", "gauge", "Requests that wait for a slot.")
        for row in rows:
            text.sample(row.waiting, model=row.model, instance=row.instance_id)
        text.family("enginehouse_instance_state", "gauge", "1 for the state that an instance is in.")
        for row in rows:
            text.sample(1, model=row.model, instance=row.instance_id, backend=row.backend, state=row.state)
        text.family("enginehouse_instance_restarts_total", "counter", "Restarts after an unexpected end.")
        for row in rows:
            text.sample(row.restarts, model=row.model, instance=row.instance_id)
        text.family("enginehouse_instance_hangs_total", "counter", "Restarts of an engine that made no progress.")
        for row in rows:
            text.sample(row.hangs, model=row.model, instance=row.instance_id)
        _render_tries(text, rows)
        _render_identity(text, rows)
        self._render_doors(text)
        text.family("enginehouse_loop_blocks_total", "counter", "Times that the event loop was blocked.")
        text.sample(BLOCKS.count)
        text.family("enginehouse_loop_blocked_seconds_total", "counter", "Time in which the event loop was blocked.")
        text.sample(round(BLOCKS.total_s, 3))
        text.family("enginehouse_log_lines_lost_total", "counter", "Lines that the log did not take.")
        text.sample(lost_lines())
        text.family("enginehouse_traces_lost_total", "counter", "Requests of which no trace or metric could be sent.")
        text.sample(lost_traces)
        text.family("enginehouse_usage_rows_lost_total", "counter", "Rows of usage that the database did not take.")
        text.sample(lost_rows)
        text.family("enginehouse_accounts_written", "gauge", "1 while the database of accounts takes what it is given.")
        text.sample(int(is_written))
        return text.whole()

    def _render_doors(self, text: _Text) -> None:
        doors = self.doors()
        text.family("enginehouse_connections", "gauge", "Open connections of clients.")
        text.sample(doors.open - doors.strangers, kind="known")
        text.sample(doors.strangers, kind="unknown")
        text.sample(doors.reserved, kind="reserved")
        text.family("enginehouse_connections_limit", "gauge", "Connections of clients that there may be.")
        text.sample(doors.most)
        text.family("enginehouse_connections_given_up_total", "counter", "Idle connections given up for others.")
        text.sample(doors.given_up)
        text.family("enginehouse_connections_turned_away_total", "counter", "Connections beyond the limits.")
        text.sample(doors.turned_away)
        text.family("enginehouse_in_flight_bytes", "gauge", "Memory of large bodies, and of answers not yet taken.")
        text.sample(doors.bodies_bytes, kind="bodies")
        text.sample(doors.answers_bytes, kind="answers")


class _Text:
    """Lines of the text format; samples belong to the family that was begun last."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._name = ""

    def family(self, name: str, kind: str, about: str) -> None:
        self._name = name
        self._lines += (f"# HELP {name} {about}", f"# TYPE {name} {kind}")

    def sample(self, value: float, suffix: str = "", **labels: str) -> None:
        pairs = ",".join(f'{name}="{_escape(text)}"' for name, text in labels.items())
        self._lines.append(f"{self._name}{suffix}{{{pairs}}} {value}" if pairs else f"{self._name} {value}")

    def histograms(self, name: str, about: str, of: dict[str, Histogram]) -> None:
        self.family(name, "histogram", about)
        for model, histogram in of.items():
            below = 0
            for bound, count in zip((*histogram.bounds, "+Inf"), histogram.counts, strict=True):
                below += count
                self.sample(below, "_bucket", model=model, le=str(bound))
            self.sample(histogram.total, "_sum", model=model)
            self.sample(below, "_count", model=model)

    def whole(self) -> str:
        return "\n".join(self._lines) + "\n"


def _escape(label: str) -> str:
    return label.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _render_tries(text: _Text, rows: Sequence[InstanceGauge]) -> None:
    text.family("enginehouse_instance_breaker", "gauge", "1 for the state that an instance's breaker is in.")
    for row in rows:
        text.sample(1, model=row.model, instance=row.instance_id, state=row.breaker)
    text.family("enginehouse_instance_breaker_opened_total", "counter", "Times that an instance's breaker opened.")
    for row in rows:
        text.sample(row.breaker_opened, model=row.model, instance=row.instance_id)
    text.family("enginehouse_instance_retries_total", "counter", "Requests that an instance failed, tried again.")
    for row in rows:
        text.sample(row.retried, model=row.model, instance=row.instance_id)


def _render_identity(text: _Text, rows: Sequence[InstanceGauge]) -> None:
    text.family("enginehouse_instance_distance", "gauge", "D of an instance's answers from the model's reference.")
    for row in rows:
        if row.distance is not None:
            text.sample(row.distance, model=row.model, instance=row.instance_id)
    text.family("enginehouse_instance_aside", "gauge", "1 for an instance that is set aside for its answers.")
    for row in rows:
        text.sample(int(row.is_aside), model=row.model, instance=row.instance_id)
    text.family("enginehouse_probe_tokens_total", "counter", "Tokens of the router's own probes.")
    for row in rows:
        if any(row.probe_tokens):
            for kind, number in zip(("prompt", "completion"), row.probe_tokens, strict=True):
                text.sample(number, model=row.model, instance=row.instance_id, kind=kind)
