"""From an error to what a client gets: status, body, headers. The only place with HTTP status codes.

Every error body is exactly `{"error": {"message", "type", "param", "code"}}`. The status follows from the
error's `code`, which is an open string: what is not known here is 400 if the request is at fault, else 500.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import msgspec

from enginehouse.dialects.endpoint import ErrorReply, Header
from enginehouse.dialects.refusals import MethodNotAllowed, RefusedByFramework
from enginehouse_plugin.errors import EnginehouseError, RequestError

STATUS = {
    "invalid_api_key": 401,
    "missing_api_key": 401,
    "insufficient_credits": 402,
    "model_not_found": 404,
    "not_found": 404,
    "method_not_allowed": 405,
    "request_timeout": 408,
    "request_too_large": 413,
    "unsupported_content_encoding": 415,
    "unsupported_media_type": 415,
    "rate_limit_exceeded": 429,
    "request_head_too_large": 431,
    "engine_protocol_error": 502,
    "draining": 503,
    "engine_died": 503,
    "engine_overloaded": 503,
    "engine_unavailable": 503,
    "load_failed": 503,
    "model_unavailable": 503,
    "queue_full": 503,
    "queue_timeout": 503,
    "source_not_found": 503,
    "does_not_fit": 503,
    "engine_missing": 503,
    "too_many_connections": 503,
    "timeout": 504,
}
"""Status by code; other codes are 400 if the request is at fault, else 500."""

OK = 200
CLIENT_LEFT = 499
"""Logged as the status of a request whose client did not wait for the answer."""
NOT_READY = 503
"""Status of `GET /ready` while requests are not answered."""

_TYPES = {401: "authentication_error", 402: "insufficient_credits", 429: "rate_limit_error"}
_ASK_AGAIN = (429, 503)  # statuses that say when to ask again
_DEFAULT_RETRY_AFTER_S = 1.0
_LONGEST_MESSAGE = 1000  # characters; an engine's own words are not under our control

_INTERNAL = "The server had an internal error while it processed the request. The fault is not in the request."


class ErrorBody(msgspec.Struct, frozen=True):
    """What is wrong: for people (`message`), for programs (`type`, `code`), and where (`param`)."""

    message: str
    type: str
    param: str | None
    code: str | None


class ErrorEnvelope(msgspec.Struct, frozen=True):
    """The body of every answer that is an error."""

    error: ErrorBody


_encode = msgspec.json.Encoder().encode


def describe(error: BaseException) -> ErrorReply:
    """Say what a client gets for *error*. An error that is not of the contract tells nothing of itself."""
    if not isinstance(error, EnginehouseError):
        return _reply(500, _INTERNAL, code="internal_error")
    status = status_of(error)
    headers: list[Header] = []
    if isinstance(error, MethodNotAllowed):
        headers.append((b"allow", ", ".join(error.allowed).encode()))
    if status in _ASK_AGAIN:
        wait_s = _DEFAULT_RETRY_AFTER_S if error.retry_after_s is None else error.retry_after_s
        headers.append((b"retry-after", b"%d" % max(1, math.ceil(wait_s))))
    if status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    return _reply(status, _message(error), param=error.param, code=error.code, headers=headers)


def status_of(error: BaseException) -> int:
    """Return the HTTP status for *error*."""
    if not isinstance(error, EnginehouseError):
        return 500
    if isinstance(error, RefusedByFramework):
        return error.status
    return STATUS.get(error.code, 400 if isinstance(error, RequestError) else 500)


def _message(error: EnginehouseError) -> str:
    """Return the error's message; of a fault that is not the request's only its first line, in bounds."""
    if isinstance(error, RequestError):
        return error.message
    line = error.message.strip().partition("\n")[0]
    return line[:_LONGEST_MESSAGE] or _INTERNAL


def _reply(
    status: int,
    message: str,
    *,
    code: str,
    param: str | None = None,
    headers: Iterable[Header] = (),
) -> ErrorReply:
    kind = _TYPES.get(status, "invalid_request_error" if status < 500 else "server_error")
    # An engine's text may hold half a surrogate pair, which UTF-8 cannot.
    text = message.encode(errors="replace").decode()
    body = _encode(ErrorEnvelope(ErrorBody(message=text, type=kind, param=param, code=code)))
    return ErrorReply(status, body, ((b"content-type", b"application/json"), *headers), code)
