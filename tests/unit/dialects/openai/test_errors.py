"""Errors to answers: status, the four fields of the body, headers."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

import enginehouse.accounts.keys
import enginehouse.fleet.errors
import enginehouse_plugin.errors as contract
from enginehouse.dialects.endpoint import ErrorReply
from enginehouse.dialects.openai import errors
from enginehouse.dialects.refusals import (
    BodyTooLarge,
    HeadTooLarge,
    MalformedHTTP,
    MethodNotAllowed,
    NotFound,
    RefusedByFramework,
    TooManyConnections,
    TooSlow,
    UnsupportedEncoding,
    UnsupportedMediaType,
)
from enginehouse_plugin.errors import EnginehouseError, InvalidRequest


def told(reply: ErrorReply) -> dict[str, object]:
    body = json.loads(reply.body)
    assert list(body) == ["error"]
    assert list(body["error"]) == ["message", "type", "param", "code"]
    assert dict(reply.headers)[b"content-type"] == b"application/json"
    return body["error"]


REFUSALS = [
    (NotFound("/x"), 404, "not_found"),
    (MethodNotAllowed("PUT", ["GET", "POST"]), 405, "method_not_allowed"),
    (BodyTooLarge(5), 413, "request_too_large"),
    (UnsupportedMediaType("text/plain"), 415, "unsupported_media_type"),
    (UnsupportedMediaType(None), 415, "unsupported_media_type"),
    (UnsupportedEncoding("gzip"), 415, "unsupported_content_encoding"),
    (MalformedHTTP("Invalid HTTP request received."), 400, "malformed_http"),
    (TooSlow("head"), 408, "request_timeout"),
    (HeadTooLarge(100), 431, "request_head_too_large"),
    (TooSlow("body"), 408, "request_timeout"),
    (TooManyConnections(), 503, "too_many_connections"),
    (RefusedByFramework(404), 404, "not_found"),
]


@pytest.mark.parametrize(("refusal", "status", "code"), REFUSALS)
def test_a_refusal_has_its_status_and_the_four_fields(refusal: EnginehouseError, status: int, code: str) -> None:
    reply = errors.describe(refusal)
    error = told(reply)
    assert (reply.status, error["code"], reply.code) == (status, code, code)
    assert error["type"] == ("server_error" if status >= 500 else "invalid_request_error")


STATUSES = {
    "invalid_value": 400,
    "invalid_request": 400,
    "unsupported_parameter": 400,
    "context_length_exceeded": 400,
    "request_poisonous": 400,
    "wrong_task": 400,
    "invalid_api_key": 401,
    "key_not_allowed": 403,
    "admin_closed": 403,
    "instance_not_found": 404,
    "host_not_found": 404,
    "host_not_woken": 409,
    "response_not_found": 404,
    "model_not_found": 404,
    "internal_error": 500,
    "engine_error": 500,
    "engine_failure": 500,
    "engine_protocol_error": 502,
    "does_not_fit": 503,
    "draining": 503,
    "engine_died": 503,
    "engine_missing": 503,
    "engine_overloaded": 503,
    "engine_unavailable": 503,
    "load_failed": 503,
    "model_loading": 503,
    "model_unavailable": 503,
    "queue_full": 503,
    "queue_timeout": 503,
    "source_not_found": 503,
    "timeout": 504,
}


def subclasses(kind: type[EnginehouseError]) -> Iterator[type[EnginehouseError]]:
    yield kind
    for below in kind.__subclasses__():
        yield from subclasses(below)


OWN_MODULES = {contract.__name__, enginehouse.fleet.errors.__name__, enginehouse.accounts.keys.__name__}
KINDS = [kind for kind in subclasses(EnginehouseError) if kind.__module__ in OWN_MODULES]


@pytest.mark.parametrize("kind", KINDS, ids=[kind.__name__ for kind in KINDS])
def test_every_kind_of_error_has_a_decided_status(kind: type[EnginehouseError]) -> None:
    error = EnginehouseError.__new__(kind)
    EnginehouseError.__init__(error, "Something.", param="model")
    reply = errors.describe(error)
    assert reply.status == STATUSES[kind.code]
    assert told(reply) == {"message": "Something.", "type": told(reply)["type"], "param": "model", "code": kind.code}


@pytest.mark.parametrize(
    ("code", "status", "kind"),
    [
        ("missing_api_key", 401, "authentication_error"),
        ("insufficient_credits", 402, "insufficient_credits"),
        ("rate_limit_exceeded", 429, "rate_limit_error"),
        ("something_new", 500, "server_error"),
    ],
)
def test_codes_are_open_and_unknown_ones_are_500(code: str, status: int, kind: str) -> None:
    reply = errors.describe(EnginehouseError("Something.", code=code))
    assert (reply.status, told(reply)["type"], told(reply)["code"]) == (status, kind, code)


@pytest.mark.parametrize(
    ("code", "given", "shown"),
    [
        ("queue_full", 2.1, b"3"),
        ("queue_full", 0.0, b"1"),
        ("draining", None, b"1"),
        ("rate_limit_exceeded", 7.0, b"7"),
    ],
)
def test_what_may_succeed_later_says_when(code: str, given: float | None, shown: bytes) -> None:
    reply = errors.describe(EnginehouseError("Later.", code=code, retry_after_s=given))
    assert dict(reply.headers)[b"retry-after"] == shown


def test_other_errors_do_not_say_when() -> None:
    for error in (InvalidRequest("Bad.", param="n"), ValueError(), EnginehouseError("x", retry_after_s=3.0)):
        assert b"retry-after" not in dict(errors.describe(error).headers)


def test_a_refused_method_names_the_allowed_ones() -> None:
    assert dict(errors.describe(MethodNotAllowed("PUT", ["GET", "POST"])).headers)[b"allow"] == b"GET, POST"


def test_a_missing_key_asks_for_one() -> None:
    reply = errors.describe(EnginehouseError("Key?", code="missing_api_key"))
    assert dict(reply.headers)[b"www-authenticate"] == b"Bearer"


def test_an_unexpected_error_tells_nothing_of_itself() -> None:
    reply = errors.describe(RuntimeError("secret /path/of/host"))
    assert reply.status == 500
    assert b"secret" not in reply.body
    assert told(reply)["code"] == "internal_error"


def test_of_an_engines_words_only_the_first_line_is_told() -> None:
    reply = errors.describe(contract.EngineFailure("It failed.\nTraceback (most recent call last):\n" + "x" * 9000))
    assert told(reply)["message"] == "It failed."
    assert len(errors.describe(contract.EngineFailure("x" * 9000)).body) < 2000


def test_text_that_utf8_cannot_hold_does_not_break_the_answer() -> None:
    assert told(errors.describe(EnginehouseError("half \ud800 pair")))["message"] == "half ? pair"
