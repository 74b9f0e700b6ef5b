"""From an error to what a client gets: status, body, headers. The only place with HTTP status codes.

Every error body is exactly `{"error": {"message", "type", "param", "code"}}`. The status follows from the
error's `code`, which is an open string: what is not known here is 400 if the request is at fault, else 500.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import msgspec

from enginehouse.dialects.endpoint import ErrorReply, Header
from enginehouse.dialects.refusals import MethodNotAllowed, RefusedByFramework
from enginehouse_plugin import Profile
from enginehouse_plugin.errors import EnginehouseError, RequestError

STATUS = {
    "invalid_api_key": 401,
    "missing_api_key": 401,
    "insufficient_credits": 402,
    "host_not_allowed": 403,
    "key_not_allowed": 403,
    "admin_closed": 403,
    "origin_not_allowed": 403,
    "model_not_found": 404,
    "instance_not_found": 404,
    "host_not_found": 404,
    "key_not_found": 404,
    "response_not_found": 404,
    "not_found": 404,
    "method_not_allowed": 405,
    "request_timeout": 408,
    "host_not_woken": 409,
    "key_exists": 409,
    "reference_used": 409,
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
    "model_loading": 503,
    "model_unavailable": 503,
    "accounts_unavailable": 503,
    "queue_full": 503,
    "queue_timeout": 503,
    "source_not_found": 503,
    "does_not_fit": 503,
    "engine_missing": 503,
    "too_many_connections": 503,
    "memory_full": 503,
    "timeout": 504,
}
"""Status by code; other codes are 400 if the request is at fault, else 500."""

OK = 200
CLIENT_LEFT = 499
"""Logged as the status of a request whose client did not wait for the answer."""
NOT_READY = 503
"""Status of `GET /ready` while requests are not answered."""

_TYPES: Mapping[int, str] = {401: "authentication_error", 402: "insufficient_credits", 429: "rate_limit_error"}
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


class ProfileErrors:
    """How the OpenAI dialect tells of errors in the words, statuses and headers of *profile*.

    A message begins with what the document says of its status, and goes on with what is wrong.
    """

    def __init__(self, profile: Profile) -> None:
        self._profile = profile
        own = ((name.encode(), value.encode()) for name, value in profile.headers.items())
        self._headers: tuple[Header, ...] = ((b"content-type", b"application/json"), *own)

    def describe(self, error: BaseException, request_id: str = "") -> ErrorReply:  # noqa: ARG002  # is in no body
        """Say what a client gets for *error*. An error that is not of the contract tells nothing of itself."""
        own = status_of(error)
        status = self._profile.statuses.get(own, own)
        message, code = message_of(error)
        param = error.param if isinstance(error, EnginehouseError) else None
        if (said := self._profile.errors.get(status)) is not None:
            message = f"{said.words} {message}"
        headers = headers_of(error, status, self._profile.retry_after)
        return ErrorReply(status, self._body(status, message, param, code), (*self._headers, *headers), code)

    def _body(self, status: int, message: str, param: str | None, code: str) -> bytes:
        kind = _TYPES.get(status, "invalid_request_error" if status < 500 else "server_error")
        return _encode(ErrorEnvelope(ErrorBody(message=message, type=kind, param=param, code=code)))


def status_of(error: BaseException) -> int:
    """Return the HTTP status for *error*."""
    if not isinstance(error, EnginehouseError):
        return 500
    if isinstance(error, RefusedByFramework):
        return error.status
    return STATUS.get(error.code, 400 if isinstance(error, RequestError) else 500)


def message_of(error: BaseException) -> tuple[str, str]:
    """Return what people are told of *error*, and its code.

    Of a fault that is not the request's only the first line, in bounds; of what is not of the contract nothing.
    """
    if not isinstance(error, EnginehouseError):
        return _INTERNAL, "internal_error"
    if isinstance(error, RequestError):
        message = error.message
    else:
        message = error.message.strip().partition("\n")[0][:_LONGEST_MESSAGE] or _INTERNAL
    # An engine's text may hold half a surrogate pair, which UTF-8 cannot.
    return message.encode(errors="replace").decode(), error.code


def headers_of(error: BaseException, status: int, retry_after: Sequence[int]) -> list[Header]:
    """Return the headers that tell of *error*, sent with *status*; those of *retry_after* say when to ask again.

    A request that is at fault itself, and not told when it would do, does not get better by asking again.
    """
    headers: list[Header] = []
    if isinstance(error, MethodNotAllowed):
        headers.append((b"allow", ", ".join(error.allowed).encode()))
    if isinstance(error, EnginehouseError) and status in retry_after:
        default_s = None if isinstance(error, RequestError) else _DEFAULT_RETRY_AFTER_S
        wait_s = default_s if error.retry_after_s is None else error.retry_after_s
        if wait_s is not None:
            headers.append((b"retry-after", b"%d" % max(1, math.ceil(wait_s))))
    if status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    return headers


describe = ProfileErrors(Profile(name="openai")).describe
"""Says what a client gets for an error where no profile has a say: on routes of this server's own."""
