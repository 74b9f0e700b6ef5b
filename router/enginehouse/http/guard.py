"""Who may use the routes under `/admin`: keys that are said to be for them, and whoever reaches the Unix socket."""

from __future__ import annotations

from typing import Any

from litestar import Request, Response
from litestar.connection import ASGIConnection
from litestar.enums import MediaType
from litestar.handlers.base import BaseRouteHandler

from enginehouse.accounts import KeyNotAllowed, KeyRing
from enginehouse.dialects.refusals import OriginNotAllowed

from .admit import check_key
from .asgi import OF_SOCKET

AnyRequest = Request[Any, Any, Any]  # user, auth and state are not used


class AdminGuard:
    """Lets a request to a route under `/admin` pass, or refuses it. No page of another origin gets an answer."""

    def __init__(self, keys: KeyRing) -> None:
        self._keys = keys

    def __call__(self, connection: ASGIConnection[Any, Any, Any, Any], _: BaseRouteHandler) -> None:
        """Let the request pass.

        Raises:
            Unauthorized: it has no key that is known.
            KeyNotAllowed: its key is not for these routes.
            OriginNotAllowed: it is from a page of another origin.
        """
        headers = refuse_pages(connection)
        if connection.scope.get(OF_SOCKET):
            return
        if self._keys.is_open:
            raise KeyNotAllowed(
                "Without keys nobody is known here: set [server] admin_socket and use that, or make a key for it."
            )
        client = connection.scope.get("client")
        name = check_key(self._keys, headers.get(b"authorization"), client[0] if client else "")
        if not self._keys.scope(name).admin:
            raise KeyNotAllowed("This API key is not for the routes under /admin.")


def refuse_pages(connection: ASGIConnection[Any, Any, Any, Any]) -> dict[bytes, bytes]:
    """Refuse what a browser says is from a page of another origin, one of `cors_origins` too; returns the headers.

    Raises:
        OriginNotAllowed: it is from one.
    """
    headers = dict(reversed(list(connection.scope["headers"])))  # of several the first
    origin = headers.get(b"origin")
    is_own = origin is None or origin.partition(b"://")[2] == headers.get(b"host", b"").lower()
    if not is_own or headers.get(b"sec-fetch-site", b"none") not in (b"none", b"same-origin"):
        raise OriginNotAllowed((origin or b"another site").decode("latin-1"))
    return headers


def json_response(body: bytes) -> Response[bytes]:
    """An answer with *body*."""
    return Response(body, media_type=MediaType.JSON, status_code=200)
