"""Whatever a target does, a run ends with a result and an exit code, and never with a traceback."""

from __future__ import annotations

import asyncio
import json
import random
import socket

import pytest
from click.testing import CliRunner, Result

from conformance_stub import Behaviour
from conformance_stub.trial import run_on_stub
from enginehouse_conformance.cli import cli
from enginehouse_conformance.registry import all_checks

RULES = "ENV1,ENV9,ERR1,ERR3,ERR12,ERR14,SSE1,SSE3,SSE6,SSE11"
HTML = b"<!doctype html><title>Welcome</title><h1>It works!</h1>"
PATIENCE_S = "20"  # for targets that answer at once, on however busy a machine
CHUNK = b'data: {"id":"a","object":"chat.completion.chunk","created":1,"model":"m","choices":[]}\n\n'


def run(url: str, *words: str, rules: str = RULES, timeout_s: str = PATIENCE_S) -> Result:
    result = CliRunner().invoke(
        cli, ["run", url, "--model", "m", "--rules", rules, "--timeout", timeout_s, "--seed", "1", *words]
    )
    assert result.exception is None or isinstance(result.exception, SystemExit), repr(result.exception)
    assert "Traceback" not in result.output
    return result


def reply(body: bytes, *, status: bytes = b"200 OK", kind: bytes = b"application/json", length: int | None = None):
    """A handler that answers with *body*; *length* in place of the right content-length."""
    size = len(body) if length is None else length

    async def handler(reader, writer):
        writer.write(b"HTTP/1.1 %b\r\ncontent-type: %b\r\ncontent-length: %d\r\n\r\n%b" % (status, kind, size, body))

    return handler


def raw(data: bytes):
    async def handler(reader, writer):
        writer.write(data)

    return handler


async def hangs(reader, writer):
    await reader.read()


async def closes(reader, writer):
    return


async def resets(reader, writer):
    writer.transport.abort()


async def drips(reader, writer):
    """A head that never ends."""
    writer.write(b"HTTP/1.1 200 OK\r\n")
    while True:
        writer.write(b"x: y\r\n")
        await writer.drain()
        await asyncio.sleep(0.05)


async def floods(reader, writer):
    """A body that never ends."""
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n")
    while True:
        writer.write(b"x" * 65536)
        await writer.drain()


async def hangs_in_the_stream(reader, writer):
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n" + CHUNK)
    await writer.drain()
    await reader.read()


def closed_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def test_a_target_that_is_not_there_is_no_verdict() -> None:
    port = closed_port()
    result = run(f"http://127.0.0.1:{port}/v1")
    assert result.exit_code == 2
    assert f"no connection to 127.0.0.1:{port}" in result.stdout


def test_a_name_that_does_not_resolve_is_no_verdict() -> None:
    result = run("http://nowhere.invalid/v1")
    assert result.exit_code == 2
    assert "no connection to nowhere.invalid" in result.stdout


def test_tls_to_a_plain_server_is_no_verdict(serve) -> None:
    result = run(serve(reply(b"{}")).replace("http:", "https:"), timeout_s="0.4")
    assert result.exit_code == 2


@pytest.mark.parametrize("handler", [hangs, drips], ids=lambda handler: handler.__name__)
def test_a_target_that_hangs_is_no_verdict(handler, serve) -> None:
    result = run(serve(handler), timeout_s="0.4")
    assert result.exit_code == 2
    assert "no answer within 0.4 s" in result.stdout


@pytest.mark.parametrize("handler", [closes, resets], ids=lambda handler: handler.__name__)
def test_a_target_that_closes_without_an_answer_is_no_verdict(handler, serve) -> None:
    result = run(serve(handler))
    assert result.exit_code == 2
    assert "connection" in result.stdout


@pytest.mark.parametrize(
    "handler",
    [
        reply(HTML, status=b"404 Not Found", kind=b"text/html"),
        reply(HTML, status=b"405 Method Not Allowed", kind=b"text/html"),
        reply(HTML, status=b"401 Unauthorized", kind=b"text/html"),
        reply(b"", status=b"302 Found"),
    ],
    ids=["404", "405", "401", "302"],
)
def test_a_site_that_is_no_api_is_no_verdict(handler, serve) -> None:
    result = run(serve(handler))
    assert result.exit_code == 2
    assert "check the" in result.stdout


@pytest.mark.parametrize(
    "handler",
    [
        reply(HTML, kind=b"text/html"),
        raw(b"\x00\xff\x16\x03 garbage\r\n\r\n" * 50),
        raw(b"SSH-2.0-OpenSSH_9.6\r\n"),
        raw(b"HTTP/1.1 banana\r\n\r\n"),
        raw(b"HTTP/1.1 200 OK\r\nno colon here\r\n\r\n"),
        raw(b"HTTP/1.1 200 OK\r\ncontent-length: banana\r\n\r\n"),
        raw(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nbanana\r\n"),
        raw(b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\n\r\nabc"),
        raw(b"HTTP/1.1 200 OK\r\nx: " + b"y" * 300_000),
        raw(b"HTTP/1.1 200"),
        reply(b'{"id": "a', length=9999),
        reply(b"null"),
        reply(b"[]"),
        reply(b"42"),
        reply(b'"text"'),
        reply(b"\xff\xfe"),
        reply(b"[" * 100_000),
        reply(b""),
        reply(b'{"choices": 5, "error": "no", "data": {}}'),
        reply(b'{"choices": [5], "error": ["no"], "data": [null]}'),
        reply(b'{"choices": [{"message": []}], "error": {"message": {}}, "data": [{"id": 5}]}'),
        reply(b'{"choices": [{"index": "x", "message": {"content": {}, "tool_calls": {}}, "logprobs": 5}]}'),
        reply(b"data: banana\n\n", kind=b"text/event-stream"),
        reply(b"data: 5\n\ndata: [5]\n\ndata: [DONE]\n\n", kind=b"text/event-stream"),
        reply(b'data: {"choices": {"a": 1}}\n\ndata: [DONE]\n\n', kind=b"text/event-stream"),
        reply(b'data: {"choices": [{"delta": 5}, 6]}\n\ndata: [DONE]\n\n', kind=b"text/event-stream"),
        reply(b"data: \xff\xff\n\n\xff", kind=b"text/event-stream"),
        reply(b"\r\r\n\n:::\ndata\ndata\n\n", kind=b"text/event-stream"),
        reply(CHUNK, kind=b"text/event-stream"),
        reply(CHUNK, kind=b"text/event-stream", length=9999),
        raw(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nffff\r\n" + CHUNK),
        reply(b'{"error": 5}', status=b"500 Oops"),
    ],
    ids=[
        "html", "garbage", "ssh", "status line", "header line", "content-length", "chunk size", "coding",
        "endless header",
        "cut head", "cut body", "null", "array", "number", "string", "not utf-8", "deep", "empty", "wrong types 1",
        "wrong types 2", "wrong types 3", "wrong types 4", "sse garbage", "sse numbers", "sse types 1", "sse types 2",
        "sse not utf-8", "sse lines", "stream without done", "stream cut", "chunk cut", "500",
    ],
)  # fmt: skip
def test_a_target_that_answers_wrongly_does_not_conform(handler, serve) -> None:
    does_not_conform(run(serve(handler), "--json"))


def test_a_target_whose_answer_never_ends_does_not_conform(serve) -> None:
    does_not_conform(run(serve(floods), "--json", rules="ENV1", timeout_s="120"))


def does_not_conform(result: Result) -> None:
    """The target's fault, not the harness's: no check breaks, and there are failures."""
    report = json.loads(result.stdout)
    said = {entry["rule"]: entry.get("message", "") for entry in report["results"]}
    broken = {rule: message for rule, message in said.items() if "itself broke" in message}
    assert not broken
    assert result.exit_code == 1, report["fault"]
    assert report["summary"]["verdicts"]["fail"] > 0


def test_a_stream_that_stops_has_no_verdict_and_ends(serve) -> None:
    result = run(serve(hangs_in_the_stream), "--json", timeout_s="0.4")
    report = json.loads(result.stdout)
    messages = [entry["message"] for entry in report["results"] if entry["verdict"] == "error"]
    assert messages
    assert result.exit_code in (1, 2)


def test_a_target_that_goes_away_in_the_middle_is_told(serve) -> None:
    """It answers the first request rightly enough and hangs from then on."""
    answered = []

    async def handler(reader, writer):
        if answered:
            await reader.read()
        answered.append(1)
        await reply(b'{"choices": []}')(reader, writer)

    result = run(serve(handler), "--concurrency", "1", timeout_s="2")
    assert result.exit_code == 2
    assert "the target is gone" in result.stdout


def test_a_target_that_is_always_busy_is_no_verdict(serve) -> None:
    body = b'{"error": {"message": "later", "type": "busy", "param": null, "code": null}}'
    result = run(serve(reply(body, status=b"503 Busy")), "--json", rules="SSE6", timeout_s="5")
    assert result.exit_code == 2
    busy = json.loads(result.stdout)["results"][0]
    assert busy["verdict"] == "error"
    assert len(busy["retries"]) == 3


@pytest.mark.parametrize(
    ("rule", "told"),
    [("SSE1", b"503 Busy"), ("SSE1", b"429 Later"), ("SSE1", b""), ("SSE21", b""), ("LEN6", b"503 Busy")],
)
def test_a_target_without_a_slot_fails_no_rule(serve, rule, told) -> None:
    """Neither before an answer, nor in its midst, nor where a rule wants a refusal."""
    body = b'{"error": {"message": "No slot.", "type": "server_error", "param": null, "code": "queue_timeout"}}'
    stream = reply(CHUNK + b"data: " + body + b"\n\n", kind=b"text/event-stream")
    result = run(serve(reply(body, status=told) if told else stream), "--json", rules=rule, timeout_s="5")
    assert [found["verdict"] for found in json.loads(result.stdout)["results"]] == ["error"]


@pytest.mark.parametrize(
    ("rule", "told"),
    [
        ("ANT2", b'{"type": "error", "error": {"type": "overloaded_error", "message": "Later."}}'),
        ("RESP2", b'{"type": "error", "code": "queue_timeout", "message": "No slot.", "param": null}'),
        ("RESP2", b'{"type": "response.failed", "response": {"error": {"code": "rate_limit_exceeded"}}}'),
        ("CMP2", b'{"error": {"message": "No slot.", "type": "server_error", "code": "queue_timeout"}}'),
    ],
)
def test_no_slot_in_midst_of_another_stream_fails_no_rule(serve, rule, told) -> None:
    stream = reply(b"data: " + told + b"\n\n", kind=b"text/event-stream")
    result = run(serve(reply(b"{}"), stream), "--json", rules=rule, timeout_s="5")
    assert [found["verdict"] for found in json.loads(result.stdout)["results"]] == ["error"]
    assert "busy" in json.loads(result.stdout)["results"][0]["message"]


def test_words_of_a_target_do_not_drive_the_terminal(serve) -> None:
    result = run(serve(reply(b'{"choices": "\\u001b[31m\\u0007"}')))
    assert "\x1b" not in result.output
    assert "\x07" not in result.output


JUNK = [None, 5, -1.5, "text", [], {}, [1, None], {"a": 1}, True, "9" * 30]


class Misshapen(Behaviour):
    """Here and there in what it says is something of another type, or nothing."""

    def __init__(self, seed):
        self._random = random.Random(seed)

    def _spoilt(self, value, share):
        if self._random.random() < share:
            return self._random.choice(JUNK)
        if isinstance(value, dict):
            return {
                key: self._spoilt(inner, share) for key, inner in value.items() if self._random.random() > share / 2
            }
        return [self._spoilt(inner, share) for inner in value] if isinstance(value, list) else value

    def answer(self, answer, body):
        return self._spoilt(answer, 0.06)

    def chunks(self, chunks, body):
        return [self._spoilt(chunk, 0.03) for chunk in chunks]

    def error(self, status, error, headers):
        return status, self._spoilt(error, 0.15), headers

    def models(self):
        return self._spoilt(super().models(), 0.2)


@pytest.mark.parametrize("seed", range(4))
async def test_no_shape_of_json_breaks_a_check(seed) -> None:
    rules = [rule for rule, check in all_checks().items() if not check.exclusive]
    report = await run_on_stub(Misshapen(seed), rules=rules, seed=seed, check_timeout_s=5.0)
    broken = {result.rule: result.message for result in report.results if "itself broke" in result.message}
    assert not broken
    assert report.summary.conforms == "no"
