"""Metrics in Prometheus' text format."""

from __future__ import annotations

import re

import msgspec
import pytest

from enginehouse.telemetry import InstanceGauge, Metrics
from enginehouse_plugin import RequestFacts

FACTS = RequestFacts(
    request_id="r", model="m", instance_id="m#0", key="k", status=200, is_stream=True, is_cancelled=False, ttft_s=0.03,
    duration_s=1.5, prompt_tokens=10, cached_tokens=4, completion_tokens=20, finish_reasons=("stop",), error_code=None,
    reasoning_tokens=5, queue_s=0.25, endpoint="chat",
)  # fmt: skip


def samples(text: str) -> dict[str, float]:
    """Every sample of a text in format 0.0.4; it must be well formed."""
    assert text.endswith("\n")
    found = {}
    for line in text.splitlines():
        if line.startswith("#"):
            assert re.fullmatch(r"# (HELP|TYPE) [a-z_]+ .+", line)
            continue
        match = re.fullmatch(r'([a-z_]+(?:\{(?:[a-z]+="(?:[^"\\\n]|\\["\\n])*",?)+\})?) ([-+.\de]+)', line)
        assert match, line
        assert match[1] not in found
        found[match[1]] = float(match[2])
    return found


def test_requests_and_tokens_are_counted():
    metrics = Metrics()
    metrics.count(FACTS, "m")
    metrics.count(FACTS, "m")
    metrics.count(
        msgspec.structs.replace(FACTS, status=503, prompt_tokens=0, cached_tokens=0, completion_tokens=0), "m"
    )
    found = samples(metrics.render([]))
    assert found['enginehouse_requests_total{model="m",status="200"}'] == 2
    assert found['enginehouse_requests_total{model="m",status="503"}'] == 1
    assert found['enginehouse_tokens_total{model="m",kind="prompt"}'] == 20
    assert found['enginehouse_tokens_total{model="m",kind="cached"}'] == 8
    assert found['enginehouse_tokens_total{model="m",kind="completion"}'] == 40
    assert found['enginehouse_tokens_total{model="m",kind="reasoning"}'] == 15


def test_what_was_left_out_is_counted_and_names_of_clients_are_no_labels():
    metrics = Metrics()
    metrics.count(msgspec.structs.replace(FACTS, ignored=("mood", "weather")), "m")
    metrics.count(FACTS, "m")
    text = metrics.render([])
    assert samples(text)['enginehouse_ignored_total{model="m"}'] == 2
    assert "mood" not in text


def test_a_histogram_adds_up_and_ends_with_everything():
    metrics = Metrics()
    for seconds in (0.01, 0.02, 1.5, 10_000.0):
        metrics.count(msgspec.structs.replace(FACTS, duration_s=seconds), "m")
    found = samples(metrics.render([]))
    name = "enginehouse_request_duration_seconds"
    assert found[f'{name}_bucket{{model="m",le="0.01"}}'] == 1
    assert found[f'{name}_bucket{{model="m",le="0.025"}}'] == 2
    assert found[f'{name}_bucket{{model="m",le="600.0"}}'] == 3
    assert found[f'{name}_bucket{{model="m",le="+Inf"}}'] == found[f'{name}_count{{model="m"}}'] == 4
    assert found[f'{name}_sum{{model="m"}}'] == pytest.approx(10001.53)
    buckets = [value for key, value in found.items() if key.startswith(f"{name}_bucket")]
    assert buckets == sorted(buckets)


def test_a_request_without_a_delta_is_in_no_time_to_the_first():
    metrics = Metrics()
    metrics.count(msgspec.structs.replace(FACTS, ttft_s=None), "m")
    assert not [key for key in samples(metrics.render([])) if "ttft" in key]


def test_a_request_without_a_model_is_counted_and_timed_nowhere():
    metrics = Metrics()
    metrics.count(msgspec.structs.replace(FACTS, status=401), "")
    found = samples(metrics.render([]))
    assert found['enginehouse_requests_total{model="",status="401"}'] == 1
    assert not [key for key in found if "duration" in key]


def test_instances_are_gauges_read_when_asked_for():
    row = InstanceGauge(
        instance_id="m#0", model="m", backend="b", state="ready", running=2, waiting=3, restarts=1, hangs=1
    )
    found = samples(Metrics().render([row]))
    assert found['enginehouse_running_sequences{model="m",instance="m#0"}'] == 2
    assert found['enginehouse_queued_requests{model="m",instance="m#0"}'] == 3
    assert found['enginehouse_instance_restarts_total{model="m",instance="m#0"}'] == 1
    assert found['enginehouse_instance_state{model="m",instance="m#0",backend="b",state="ready"}'] == 1


def test_an_instance_that_was_probed_tells_what_came_of_it_and_another_nothing():
    row = InstanceGauge(
        instance_id="m#0", model="m", backend="b", state="ready", running=0, waiting=0, restarts=0, hangs=0
    )
    probed = samples(Metrics().render([msgspec.structs.replace(row, distance=0.25, probe_tokens=(900, 24))]))
    told = {
        'enginehouse_instance_distance{model="m",instance="m#0"}': 0.25,
        'enginehouse_probe_tokens_total{model="m",instance="m#0",kind="prompt"}': 900,
        'enginehouse_probe_tokens_total{model="m",instance="m#0",kind="completion"}': 24,
    }
    assert told.items() <= probed.items()
    assert not told.keys() & samples(Metrics().render([row])).keys()


def test_labels_are_escaped():
    metrics = Metrics()
    metrics.count(FACTS, 'a"b\\c\nd')
    assert 'enginehouse_requests_total{model="a\\"b\\\\c\\nd",status="200"} 1' in metrics.render([]).splitlines()


def test_lines_that_the_log_did_not_take_are_counted(monkeypatch):
    monkeypatch.setattr("enginehouse.telemetry.metrics.lost_lines", lambda: 3)
    assert samples(Metrics().render([]))["enginehouse_log_lines_lost_total"] == 3


def test_rows_of_usage_that_were_lost_are_counted():
    assert samples(Metrics().render([], lost_rows=7))["enginehouse_usage_rows_lost_total"] == 7
