"""What is refused before an endpoint has read a request: errors like all others, for every dialect to put in its form.

EnginehouseError
├── RequestError
│   ├── NotFound                  no route
│   ├── MethodNotAllowed          the route has other methods
│   ├── UnsupportedMediaType      the body is not said to be JSON
│   ├── UnsupportedEncoding       the body is compressed
│   ├── BodyTooLarge
│   ├── HeadTooLarge
│   ├── TooSlow                   head or body did not come in time
│   ├── MalformedHTTP
│   ├── HostNotAllowed            no keys, and the request was sent to a name that is not this machine's
│   ├── OriginNotAllowed          no keys, and a page of another origin wants to change something
│   └── RefusedByFramework        anything else that never reached a route of ours
├── TooManyConnections
└── MemoryFull                    bodies and answers in flight take all that they may
"""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus
from typing import Literal

from enginehouse_plugin.errors import EnginehouseError, RequestError


class NotFound(RequestError):
    """There is no such route."""

    code = "not_found"

    def __init__(self, path: str) -> None:
        super().__init__(f"There is nothing at '{path[:200]}'.")


class MethodNotAllowed(RequestError):
    """The route answers only the methods *allowed*."""

    code = "method_not_allowed"

    def __init__(self, method: str, allowed: Sequence[str]) -> None:
        super().__init__(f"{method[:20]} is not allowed here. Allowed: {', '.join(allowed)}.")
        self.allowed = tuple(allowed)


class UnsupportedMediaType(RequestError):
    """The body is said to be something else than JSON, or (None) nothing is said of it."""

    code = "unsupported_media_type"

    def __init__(self, given: str | None) -> None:
        said = f"'{given[:100]}'" if given else "missing"
        super().__init__(f"The content type is {said}. Send 'content-type: application/json'.")


class UnsupportedEncoding(RequestError):
    """The body is compressed."""

    code = "unsupported_content_encoding"

    def __init__(self, given: str) -> None:
        super().__init__(f"The content encoding '{given[:100]}' is not supported. Send the body as it is.")


class BodyTooLarge(RequestError):
    """The body is larger than *limit_bytes*."""

    code = "request_too_large"

    def __init__(self, limit_bytes: int) -> None:
        super().__init__(f"The body is too large. At most {limit_bytes} bytes are allowed.")


class HeadTooLarge(RequestError):
    """The head is longer than *limit_bytes*."""

    code = "request_head_too_large"

    def __init__(self, limit_bytes: int) -> None:
        super().__init__(f"The head of the request is too long. At most {limit_bytes} bytes are allowed.")


class TooSlow(RequestError):
    """A part of the request did not come whole in time."""

    code = "request_timeout"

    def __init__(self, part: Literal["head", "body"]) -> None:
        what = "request" if part == "head" else "body of the request"
        super().__init__(f"The {what} did not arrive in time.")


class MalformedHTTP(RequestError):
    """What came in is no HTTP request."""

    code = "malformed_http"


class HostNotAllowed(RequestError):
    """The request was sent to the name *host*, which is none of this machine's."""

    code = "host_not_allowed"

    def __init__(self, host: str) -> None:
        super().__init__(
            f"Requests to the name '{host[:100]}' are not answered here, so that no web page can use this server. If "
            "the name is meant, add it to [server] allowed_hosts, or use keys."
        )


class OriginNotAllowed(RequestError):
    """The request comes from a page of *origin*, which is not this server's own and is not named."""

    code = "origin_not_allowed"

    def __init__(self, origin: str) -> None:
        super().__init__(
            f"Requests from pages of '{origin[:100]}' are not answered here. If they are meant, add it to [server] "
            "cors_origins, or use keys."
        )


class RefusedByFramework(RequestError):
    """The web framework refused the request with *status* before a route saw it."""

    def __init__(self, status: int) -> None:
        known = HTTPStatus(status)
        super().__init__(f"{known.description or known.phrase}.", code=known.phrase.lower().replace(" ", "_"))
        self.status = status


class TooManyConnections(EnginehouseError):
    """The server has as many connections as it may."""

    code = "too_many_connections"

    def __init__(self) -> None:
        super().__init__("The server has too many open connections. Try again soon.", retry_after_s=1.0)


class MemoryFull(EnginehouseError):
    """Bodies and answers in flight take all the memory that they may."""

    code = "memory_full"

    def __init__(self) -> None:
        super().__init__("The server has no room for the body of this request now. Try again soon.", retry_after_s=1.0)
