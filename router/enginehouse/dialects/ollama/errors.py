"""How Ollama's dialect tells of errors: a status, and a message for people."""

from __future__ import annotations

import msgspec

from enginehouse.dialects.openai.errors import ProfileErrors
from enginehouse.dialects.operation import Json, json_body

PREFIX = "Ollama"
"""Of the names of this dialect's types in the document."""
_FAILURES = (400, 401, 404, 413, 415, 429, 500, 502, 503, 504)


class ErrorBody(msgspec.Struct, frozen=True):
    """The body of every answer that is an error, and the last line of a stream that has failed."""

    error: str


_encode = msgspec.json.Encoder().encode


class OllamaErrors(ProfileErrors):
    """Says what a client gets: the statuses of the `openai` dialect, in this one's form."""

    def _body(self, status: int, message: str, param: str | None, code: str) -> bytes:  # noqa: ARG002  # not told here
        return _encode(ErrorBody(message))


def failures() -> Json:
    """What the document says of each status that is an error."""
    return {str(status): json_body("An error", ErrorBody, PREFIX) for status in _FAILURES}
