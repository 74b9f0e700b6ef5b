"""Logs in one form for all, and metrics in Prometheus' text format."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import re

import msgspec
import pytest
import structlog

from enginehouse.telemetry import InstanceGauge, Metrics, configure_logging, get_logger
from enginehouse_plugin import RequestFacts

RECORD = RequestFacts(
    request_id="r", model="m", instance_id="m#0", key="k", status=200, is_stream=True, is_cancelled=False, ttft_s=0.03,
    duration_s=1.5, prompt_tokens=10, cached_tokens=4, completion_tokens=20, finish_reasons=("stop",), error_code=None,
)  # fmt: skip


# ---- logs ----


@pytest.fixture
def configured():
    """Configure logging into a text, and put everything back."""
    names = (
        "",
        "uvicorn",
        "uvicorn.error",
        "uvicorn.access",
        "litestar",
        "httpx",
        "httpcore",
        "huggingface_hub",
        "filelock",
    )
    before = [(logging.getLogger(name), logging.getLogger(name).handlers[:], logging.getLogger(name).level,
               logging.getLogger(name).propagate) for name in names]  # fmt: skip

    def configure(stream=None, **settings) -> io.StringIO:
        stream = stream or io.StringIO()
        configure_logging(**settings, stream=stream)
        return stream

    yield configure
    structlog.reset_defaults()
    for logger, handlers, level, propagate in before:
        logger.handlers[:] = handlers
        logger.setLevel(level)
        logger.propagate = propagate


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_json_logs_are_one_object_per_line(configured):
    out = configured(format="json")
    structlog.get_logger().info("request", id="r1", model="a\nb", ttft_s=0.5, odd=object)
    (line,) = out.getvalue().splitlines()
    entry = json.loads(line)
    assert (entry["event"], entry["level"], entry["model"], entry["ttft_s"]) == ("request", "info", "a\nb", 0.5)
    assert entry["timestamp"].endswith("Z")


def test_exceptions_are_in_the_line(configured):
    out = configured(format="json")
    try:
        raise KeyError("oops")
    except KeyError:
        structlog.get_logger().exception("it broke")
    (line,) = out.getvalue().splitlines()
    assert "KeyError: 'oops'" in json.loads(line)["exception"]


async def test_lines_that_can_wait_share_a_write_and_what_cannot_takes_them_along(configured):
    writes = []

    class Stream(io.StringIO):
        def write(self, text: str) -> int:
            writes.append([json.loads(line)["event"] for line in text.splitlines()])
            return len(text)

    configured(format="json", stream=Stream())
    log = structlog.get_logger()
    log.info("one")
    log.info("two")
    assert writes == []
    log.warning("three")
    assert writes == [["one", "two", "three"]]
    log.info("four")
    while len(writes) < 2:  # noqa: ASYNC110  # the stream has no event of its own
        await asyncio.sleep(0.01)
    assert writes[1] == ["four"]


def test_logs_of_the_standard_library_take_the_same_form(configured):
    out = configured(format="json")
    logging.getLogger("uvicorn.error").warning("started %s", "here")
    (line,) = out.getvalue().splitlines()
    entry = json.loads(line)
    assert (entry["event"], entry["level"], entry["logger"]) == ("started here", "warning", "uvicorn.error")


def test_uvicorns_access_lines_are_left_out_because_each_request_has_its_own(configured):
    out = configured(format="json")
    logging.getLogger("uvicorn.access").info("GET /")
    assert out.getvalue() == ""


def test_the_level_holds_for_all(configured):
    out = configured(format="json", level="warning")
    structlog.get_logger().info("quiet")
    logging.getLogger("somebody").info("quiet")
    assert out.getvalue() == ""
    structlog.get_logger().warning("loud")
    assert "loud" in out.getvalue()


@pytest.mark.parametrize(
    ("form", "stream", "is_json"),
    [("auto", io.StringIO, True), ("auto", Terminal, False), ("console", io.StringIO, False), ("json", Terminal, True)],
)
def test_a_terminal_gets_the_form_for_people_unless_told_otherwise(configured, form, stream, is_json):
    out = configured(format=form, stream=stream())
    structlog.get_logger().info("hello", who="you")
    assert out.getvalue().startswith("{") is is_json


def test_a_logger_made_before_the_configuration_follows_it(configured):
    early = get_logger()
    out = configured(format="json")
    early.info("hello")
    assert json.loads(out.getvalue())["event"] == "hello"


# ---- metrics ----


def samples(text: str) -> dict[str, float]:
    """Every sample of a text in format 0.0.4; it must be well formed."""
    assert text.endswith("\n")
    found = {}
    for line in text.splitlines():
        if line.startswith("#"):
            assert re.fullmatch(r"# (HELP|TYPE) [a-z_]+ .+", line)
            continue
        match = re.fullmatch(r'([a-z_]+(?:\{(?:[a-z]+="(?:[^"\\\n]|\\["\\n])*",?)*\})) ([-+.\de]+)', line)
        assert match, line
        assert match[1] not in found
        found[match[1]] = float(match[2])
    return found


def test_requests_and_tokens_are_counted():
    metrics = Metrics()
    metrics.count(RECORD, "m")
    metrics.count(RECORD, "m")
    metrics.count(
        msgspec.structs.replace(RECORD, status=503, prompt_tokens=0, cached_tokens=0, completion_tokens=0), "m"
    )
    found = samples(metrics.render([]))
    assert found['enginehouse_requests_total{model="m",status="200"}'] == 2
    assert found['enginehouse_requests_total{model="m",status="503"}'] == 1
    assert found['enginehouse_tokens_total{model="m",kind="prompt"}'] == 20
    assert found['enginehouse_tokens_total{model="m",kind="cached"}'] == 8
    assert found['enginehouse_tokens_total{model="m",kind="completion"}'] == 40


def test_a_histogram_adds_up_and_ends_with_everything():
    metrics = Metrics()
    for seconds in (0.01, 0.02, 1.5, 10_000.0):
        metrics.count(msgspec.structs.replace(RECORD, duration_s=seconds), "m")
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
    metrics.count(msgspec.structs.replace(RECORD, ttft_s=None), "m")
    assert not [key for key in samples(metrics.render([])) if "ttft" in key]


def test_a_request_without_a_model_is_counted_and_timed_nowhere():
    metrics = Metrics()
    metrics.count(msgspec.structs.replace(RECORD, status=401), "")
    found = samples(metrics.render([]))
    assert found['enginehouse_requests_total{model="",status="401"}'] == 1
    assert not [key for key in found if "duration" in key]


def test_instances_are_gauges_read_when_asked_for():
    row = InstanceGauge(instance_id="m#0", model="m", backend="b", state="ready", running=2, waiting=3, restarts=1)
    found = samples(Metrics().render([row]))
    assert found['enginehouse_running_sequences{model="m",instance="m#0"}'] == 2
    assert found['enginehouse_queued_requests{model="m",instance="m#0"}'] == 3
    assert found['enginehouse_instance_restarts_total{model="m",instance="m#0"}'] == 1
    assert found['enginehouse_instance_state{model="m",instance="m#0",backend="b",state="ready"}'] == 1


def test_labels_are_escaped():
    metrics = Metrics()
    metrics.count(RECORD, 'a"b\\c\nd')
    assert 'enginehouse_requests_total{model="a\\"b\\\\c\\nd",status="200"} 1' in metrics.render([]).splitlines()
