"""Layers: what is done with every request before its route, on every lane.

A layer is a plain callable over the exchange. It appends to `response_headers`, or answers at once, and then no
route and no further layer sees the request.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from enginehouse.dialects.endpoint import Header
from enginehouse.dialects.ids import unique_hex

from .exchange import Exchange

Layer = Callable[[Exchange], None]

_ACCEPTED = re.compile(rb"[\x21-\x7e]{1,128}")


class RequestId:
    """Gives each request an id, which every answer carries: the client's own where it is usable, else a new one."""

    def __init__(self, header: str) -> None:
        self._name = header.lower().encode()

    def __call__(self, exchange: Exchange) -> None:
        """Set the exchange's id."""
        given = exchange.header(self._name)
        if given is None or _ACCEPTED.fullmatch(given) is None:
            exchange.request_id = made = "req-" + unique_hex()
            given = made.encode()
        else:
            exchange.request_id = given.decode()
        exchange.response_headers.append((self._name, given))


class Cors:
    """Answers preflights, and names allowed origins in every other response, errors included.

    Keys travel in a header that a page sets itself, not in cookies. So credentials are not allowed, and any header
    may be sent: SDKs send some of their own. A page of another origin gets no header, and its browser refuses it.
    """

    _NO_CONTENT = 204
    _MAX_AGE_S = b"600"
    _METHODS = b"GET, POST"

    def __init__(self, origins: Iterable[str], exposed_headers: Iterable[str]) -> None:
        self._origins = {origin.rstrip("/").encode() for origin in origins}
        self._exposed = ", ".join(exposed_headers).encode()

    def __call__(self, exchange: Exchange) -> None:
        """Add headers, or answer a preflight."""
        origin = exchange.header(b"origin")
        if origin is None:
            return
        allowed = self._allowed(origin)
        if exchange.method == "OPTIONS" and exchange.header(b"access-control-request-method") is not None:
            wanted = exchange.header(b"access-control-request-headers")
            exchange.answer(self._NO_CONTENT, self._preflight(allowed, wanted), b"")
            return
        if allowed:
            exchange.response_headers += (*allowed, (b"access-control-expose-headers", self._exposed))
        exchange.response_headers.append((b"vary", b"origin"))

    def _allowed(self, origin: bytes) -> list[Header]:
        if b"*" in self._origins:
            return [(b"access-control-allow-origin", b"*")]
        return [(b"access-control-allow-origin", origin)] if origin in self._origins else []

    def _preflight(self, allowed: list[Header], wanted: bytes | None) -> list[Header]:
        headers = [*allowed, (b"vary", b"origin, access-control-request-headers")]
        if allowed:
            headers += [(b"access-control-allow-methods", self._METHODS), (b"access-control-max-age", self._MAX_AGE_S)]
            if wanted:
                headers.append((b"access-control-allow-headers", wanted))
        return headers
