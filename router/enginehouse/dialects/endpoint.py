"""What an endpoint is: one operation of a dialect, between the bytes of HTTP and the contract's request and events.

An endpoint reads a body into a `Call`; the call's `Encoder` writes the answer's bytes from events; the dialect's
`Errors` say what a client gets when it fails. None of them knows HTTP's connection, and none keeps state between
requests.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import msgspec

from enginehouse.dialects.operation import Operation
from enginehouse_plugin import AnyEvent, GenerationRequest

Header = tuple[bytes, bytes]


class ErrorReply(msgspec.Struct, frozen=True):
    """An answer to send: `headers` lack only the length. `code` is for the log."""

    status: int
    body: bytes
    headers: tuple[Header, ...]
    code: str


class Errors(Protocol):
    """How a dialect tells of errors. The only place with HTTP status codes."""

    def describe(self, error: BaseException) -> ErrorReply:
        """Say what a client gets for *error*. An error that is not of the contract tells nothing of itself."""
        ...


class Origin(Protocol):
    """Tells what an answer is from, once it has started."""

    fingerprint: str | None


class Encoder(Protocol):
    """Writes one answer. Fed each batch of events in order, then asked for its end, or told why there is none."""

    content_type: bytes
    is_stream: bool
    keep_alive: bytes
    """What may be sent while a stream is silent; empty where the format has nothing of the kind."""
    origin: Origin | None

    def events(self, batch: Sequence[AnyEvent]) -> bytes:
        """Return the bytes that *batch* adds to the body, in one piece; none where the answer is sent as a whole.

        Raises:
            EngineProtocolError: an event breaks the order of a stream.
        """
        ...

    def end(self) -> bytes:
        """Return the last bytes of an answer that has succeeded; of a whole answer, all of them.

        Raises:
            EngineProtocolError: the answer is not complete.
        """
        ...

    def fail(self, error: BaseException) -> bytes:
        """Return what ends a stream that has begun and then failed: no claim of success follows."""
        ...


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """One request, read: what is asked of which model, and how the answer is written.

    `recorded` are fields that cannot change the answer, for the log line, as plain data. `ignored` names what was
    left out, where the policy allows that, as the API writes its place.
    """

    model: str
    request: GenerationRequest
    encoder: Encoder
    recorded: dict[str, Any] | None = None
    ignored: tuple[str, ...] = ()
    is_lenient: bool = False
    """What the model lacks is left out and named, too."""


class Endpoint(Protocol):
    """One operation. `name` is what logs and accounts call it; `path` is its route, always `POST`.

    `operation` is what the OpenAPI document says of it.
    """

    name: str
    path: str
    errors: Errors
    operation: Operation

    def decode(self, body: bytes, request_id: str) -> Call:
        """Read *body*, strictly.

        Raises:
            InvalidRequest: naming the field, the value's problem and what is allowed.
        """
        ...
