"""Logs in one form for all, bounded, and the line of a request."""

from __future__ import annotations

import io
import json
import logging

import msgspec
import pytest
import structlog

from enginehouse.telemetry import configure_logging, flush_logs, get_logger, log_request, logs
from enginehouse_plugin import RequestFacts

FACTS = RequestFacts(
    request_id="r", model="m", instance_id="m#0", key="k", status=200, is_stream=True, is_cancelled=False, ttft_s=0.03,
    duration_s=1.5, prompt_tokens=10, cached_tokens=4, completion_tokens=20, finish_reasons=("stop",), error_code=None,
    reasoning_tokens=5, queue_s=0.25, endpoint="chat",
)  # fmt: skip


@pytest.fixture
def configured(monkeypatch):
    """Configure logging into a text, and put everything back."""
    monkeypatch.setattr(logs, "_lines", None)
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
        stream = stream or Text()
        configure_logging(**settings, stream=stream)
        return stream

    yield configure
    structlog.reset_defaults()
    for logger, handlers, level, propagate in before:
        logger.handlers[:] = handlers
        logger.setLevel(level)
        logger.propagate = propagate


class Text(io.StringIO):
    def getvalue(self) -> str:
        flush_logs()
        return super().getvalue()


class Terminal(Text):
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
    [("auto", Text, True), ("auto", Terminal, False), ("console", Text, False), ("json", Terminal, True)],
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


@pytest.mark.parametrize(("status", "level"), [(200, "info"), (499, "info"), (503, "warning")])
def test_a_request_is_one_line_of_its_facts(configured, status, level):
    out = configured(format="json")
    log_request(msgspec.structs.replace(FACTS, status=status), None)
    entry = json.loads(out.getvalue())
    assert entry.pop("timestamp")
    assert entry == {
        "event": "request", "level": level, "id": "r", "endpoint": "chat", "model": "m", "instance": "m#0",
        "key": "k", "status": status, "stream": True, "cancelled": False, "queue_s": 0.25, "ttft_s": 0.03,
        "duration_s": 1.5, "prompt_tokens": 10, "cached_tokens": 4, "completion_tokens": 20, "reasoning_tokens": 5,
        "finish": "stop", "error": None, "ignored": "",
    }  # fmt: skip


def test_what_was_recorded_and_ignored_is_named_if_there_is_any(configured):
    out = configured(format="json")
    log_request(msgspec.structs.replace(FACTS, ignored=("seed", "store")), {"user": "u", "metadata": {"a": "b"}})
    entry = json.loads(out.getvalue())
    assert (entry["ignored"], entry["recorded"]) == ("seed,store", {"user": "u", "metadata": {"a": "b"}})


@pytest.mark.parametrize(
    "recorded",
    [
        {"user": "u" * 15_000_000},
        {"metadata": {str(n): "v" for n in range(700_000)}},
        {"metadata": {"k" * 1_000_000: "v"}},
        {"metadata": [[["v" * 100] * 100] * 100] * 100},
    ],
)
def test_a_line_is_bounded_whatever_a_client_sent(configured, recorded):
    out = configured(format="json")
    log_request(msgspec.structs.replace(FACTS, model="m" * 1_000_000), recorded)
    (line,) = out.getvalue().splitlines()
    assert len(line) <= logs.MAX_LINE_BYTES
    assert json.loads(line)["id"] == "r"


@pytest.mark.parametrize("format", ["json", "console"])
def test_every_line_is_bounded_and_keeps_both_ends_of_a_long_text(configured, format):  # noqa: A002  # as configured
    out = configured(format=format)
    structlog.get_logger().error("it broke", problem="begin" + "x" * 1_000_000 + "end")
    logging.getLogger("somebody").error("y" * 1_000_000)
    first, second = out.getvalue().splitlines()
    assert len(first) <= logs.MAX_LINE_BYTES + 10
    assert len(second) <= logs.MAX_LINE_BYTES + 10
    assert "begin" in first
    assert "end" in first or format == "console"


def test_what_json_cannot_hold_is_written_all_the_same(configured):
    out = configured(format="json")
    structlog.get_logger().info("odd", half="a\ud800b")
    structlog.get_logger().info("many", **{f"field{n}": "x" * 1000 for n in range(100)})
    odd, many = map(json.loads, out.getvalue().splitlines())
    assert (odd["event"], odd["half"]) == ("odd", "a\\ud800b")
    assert (many["event"], many["is_cut"]) == ("many", True)


@pytest.mark.parametrize("format", ["json", "console"])
def test_no_value_moves_the_cursor_or_turns_the_text_around(configured, format):  # noqa: A002  # as configured
    out = configured(format=format)
    structlog.get_logger().info("hello", model="\x1b[31m\x9b31m\x7f\u202e\u2066\u200bé")
    logging.getLogger("somebody").warning("\x1b[31m%s", "\u202e")
    text = out.getvalue()
    assert not {"\x1b", "\x9b", "\x7f", "\u202e", "\u2066", "\u200b"} & set(text)
    assert "é" in text
    if format == "json":
        assert json.loads(text.splitlines()[0])["model"] == "\x1b[31m\x9b31m\x7f\u202e\u2066\u200bé"


def test_a_message_that_does_not_fit_its_arguments_is_a_line(configured):
    out = configured(format="json")
    logging.getLogger("somebody").warning("%d", "no number")
    assert "cannot be formatted" in out.getvalue()
