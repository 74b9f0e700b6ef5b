"""Cross-origin requests: pages of the configured origins may call the API from a browser."""

from __future__ import annotations

from collections.abc import Iterable

from litestar.enums import ScopeType
from litestar.types import ASGIApp, HTTPScope, Message, Receive, Scope, Send

from enginehouse.dialects.endpoint import Header

_MAX_AGE_S = b"600"
_METHODS = b"GET, POST"


class Cors:
    """Answers preflights, and names allowed origins in every other response, errors included.

    Keys travel in a header that a page sets itself, not in cookies. So credentials are not allowed, and any header
    may be sent: SDKs send some of their own. A page of another origin gets no header, and its browser refuses it.
    """

    def __init__(self, app: ASGIApp, origins: Iterable[str], exposed_headers: Iterable[str]) -> None:
        self._app = app
        self._origins = {origin.rstrip("/").encode() for origin in origins}
        self._exposed = ", ".join(exposed_headers).encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer it if it is a preflight."""
        if scope["type"] != ScopeType.HTTP:
            await self._app(scope, receive, send)
            return
        sent = {name: value for name, value in scope["headers"] if name in _READ}
        origin = sent.get(b"origin")
        if origin is None:
            await self._app(scope, receive, send)
            return
        allowed = self._allowed(origin)
        if _is_preflight(scope, sent):
            headers = _preflight(allowed, sent.get(b"access-control-request-headers"))
            await send({"type": "http.response.start", "status": 204, "headers": headers})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
            return
        own = [*allowed, (b"access-control-expose-headers", self._exposed)] if allowed else []

        async def send_with_origin(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *own, (b"vary", b"origin")]
            await send(message)

        await self._app(scope, receive, send_with_origin)

    def _allowed(self, origin: bytes) -> list[Header]:
        if b"*" in self._origins:
            return [(b"access-control-allow-origin", b"*")]
        return [(b"access-control-allow-origin", origin)] if origin in self._origins else []


_READ = {b"origin", b"access-control-request-method", b"access-control-request-headers"}


def _is_preflight(scope: HTTPScope, sent: dict[bytes, bytes]) -> bool:
    return scope["method"] == "OPTIONS" and b"access-control-request-method" in sent


def _preflight(allowed: list[Header], wanted: bytes | None) -> list[Header]:
    headers = [*allowed, (b"vary", b"origin, access-control-request-headers")]
    if allowed:
        headers += [(b"access-control-allow-methods", _METHODS), (b"access-control-max-age", _MAX_AGE_S)]
        if wanted:
            headers.append((b"access-control-allow-headers", wanted))
    return headers
