"""How Ollama's dialect tells of errors: a status, and a message for people."""

from __future__ import annotations

import msgspec

from enginehouse.dialects.openai.errors import ProfileErrors


class ErrorBody(msgspec.Struct, frozen=True):
    """The body of every answer that is an error, and the last line of a stream that has failed."""

    error: str


_encode = msgspec.json.Encoder().encode


class OllamaErrors(ProfileErrors):
    """Says what a client gets: the statuses of the `openai` dialect, in this one's form."""

    def _body(self, status: int, message: str, param: str | None, code: str) -> bytes:  # noqa: ARG002  # not told here
        return _encode(ErrorBody(message))
