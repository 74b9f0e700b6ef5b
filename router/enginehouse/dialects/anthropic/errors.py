"""From an error to what a client of Anthropic's dialect gets: status, body, headers.

Every error body is `{"type": "error", "error": {"type", "message"}, "request_id"}`. What the OpenAI dialect tells
as 503 is 529 here, `overloaded_error`: clients ask again. Messages name the field that is wrong.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import msgspec

from enginehouse.dialects.endpoint import ErrorReply, Header
from enginehouse.dialects.openai.errors import headers_of, message_of, status_of
from enginehouse_plugin import Profile
from enginehouse_plugin.errors import UnsupportedFeature

OVERLOADED = 529
_STATUSES: Mapping[int, int] = {502: 500, 503: OVERLOADED}
_TYPES: Mapping[int, str] = {
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    OVERLOADED: "overloaded_error",
}
"""Type by status; other statuses are `invalid_request_error` below 500, and `api_error` from there."""
_RETRY_AFTER = (429, OVERLOADED)


class AnthropicError(msgspec.Struct, frozen=True):
    """What is wrong: for people (`message`), and for programs (`type`)."""

    type: str
    message: str


class AnthropicErrorBody(msgspec.Struct, frozen=True, kw_only=True):
    """The body of every answer that is an error, and the data of the event that ends a stream with one."""

    type: Literal["error"] = "error"
    error: AnthropicError
    request_id: str | None = None


_encode = msgspec.json.Encoder().encode


class AnthropicErrors:
    """How Anthropic's dialect tells of errors, with the headers of *profile*. *places* are its names of fields."""

    def __init__(self, profile: Profile, places: Mapping[str, str]) -> None:
        own = ((name.encode(), value.encode()) for name, value in profile.headers.items())
        self._headers: tuple[Header, ...] = ((b"content-type", b"application/json"), *own)
        self._places = places

    def describe(self, error: BaseException, request_id: str = "") -> ErrorReply:
        """Say what a client gets for *error*. An error that is not of the contract tells nothing of itself."""
        own = status_of(error)
        status = _STATUSES.get(own, own)
        message, code = message_of(error)
        if isinstance(error, UnsupportedFeature) and error.param is not None:
            message = message.replace(f"'{error.param}'", f"'{self._place(error.param)}'")
        kind = _TYPES.get(status, "invalid_request_error" if status < 500 else "api_error")
        body = AnthropicErrorBody(error=AnthropicError(kind, message), request_id=request_id or None)
        return ErrorReply(status, _encode(body), (*self._headers, *headers_of(error, status, _RETRY_AFTER)), code)

    def _place(self, param: str) -> str:
        """*param* as this API calls it; a message's place is the contract's own, which counts otherwise."""
        return self._places.get(param, param.partition("[")[0])
