"""Who may use the routes under `/admin`: keys that are said to be for them, and whoever reaches the Unix socket.

Without keys a listener on loopback has them for its own page, the console: who reaches it may use this server anyway.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Mapping
from typing import Any, Final

from litestar import Request, Response
from litestar.connection import ASGIConnection
from litestar.enums import MediaType
from litestar.handlers.base import BaseRouteHandler

from enginehouse.accounts import KeyNotAllowed, KeyRing
from enginehouse.config import ServerConfig
from enginehouse.config.listener import is_loopback
from enginehouse.dialects.refusals import OriginNotAllowed

from .admit import check_key
from .asgi import OF_SOCKET
from .exchange import Exchange
from .origins import name_in

AnyRequest = Request[Any, Any, Any]  # user, auth and state are not used


CONSOLE_HEADER: Final = b"x-enginehouse-console"
"""What the console's page sends with each request: no page of another origin can without being asked for first."""
_OF_PROXIES: Final = frozenset((b"forwarded", b"via", b"x-forwarded-for", b"x-forwarded-host", b"x-real-ip"))


class AdminClosed(KeyNotAllowed):
    """There are no keys, and this request may come from anybody."""

    code = "admin_closed"


class AdminGuard:
    """Lets a request to a route under `/admin` pass, or refuses it. No page of another origin gets an answer.

    Where *server* (what is in force) says so, the console's own page passes on loopback while there are no keys.
    """

    def __init__(self, keys: KeyRing, server: Callable[[], ServerConfig] | None = None) -> None:
        self._keys = keys
        self._server = server

    @property
    def is_for_page(self) -> bool:
        """Whether the console needs no key while there are none."""
        return self._server is not None and is_for_own_page(self._server())

    def __call__(self, connection: ASGIConnection[Any, Any, Any, Any], _: BaseRouteHandler) -> None:
        """Let the request pass.

        Raises:
            Unauthorized: it has no key that is known.
            KeyNotAllowed: its key is not for these routes.
            AdminClosed: there are no keys, and it is not from the console's page on loopback.
            OriginNotAllowed: it is from a page of another origin.
        """
        headers = refuse_pages(connection)
        if not connection.scope.get(OF_SOCKET):
            client = connection.scope.get("client")
            self._check(headers, client[0] if client else "")

    def admit(self, exchange: Exchange) -> None:
        """Let a request pass on either lane.

        Raises:
            EnginehouseError: see `__call__`.
        """
        refuse_origin(exchange.named)
        if not exchange.is_of_socket:
            self._check(exchange.named, exchange.client)

    def _check(self, headers: Mapping[bytes, bytes], client: str) -> None:
        if self._keys.is_open:
            if self.is_for_page and is_of_own_page(headers, client):
                return
            raise AdminClosed(
                "Without keys nobody is known here: set [server] admin_socket and use that, or make a key for it."
            )
        name = check_key(self._keys, headers.get(b"authorization"), client)
        if not self._keys.scope(name).admin:
            raise KeyNotAllowed("This API key is not for the routes under /admin.")


def is_for_own_page(server: ServerConfig) -> bool:
    """Whether the console needs no key while there are none: nobody but this machine reaches *server*."""
    return server.console and is_loopback(server.host) and not server.trusted_proxies


def is_of_own_page(headers: Mapping[bytes, bytes], client: str) -> bool:
    """Whether a request with *headers* is what the console's page sends from this machine, and no proxy has said so.

    The address of the *client* counts, too: another server may listen elsewhere for this application.
    """
    return (
        CONSOLE_HEADER in headers
        and is_loopback(client)
        and is_of_loopback(headers.get(b"host", b""))
        and _OF_PROXIES.isdisjoint(headers)
    )


def is_of_loopback(host: bytes) -> bool:
    """Whether *host*, a value of that header, names loopback: what comes through a proxy mostly names another."""
    name = name_in(host)
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def refuse_pages(connection: ASGIConnection[Any, Any, Any, Any]) -> dict[bytes, bytes]:
    """Refuse what a browser says is from a page of another origin, one of `cors_origins` too; returns the headers.

    Raises:
        OriginNotAllowed: it is from one.
    """
    headers = dict(reversed(list(connection.scope["headers"])))  # of several the first
    refuse_origin(headers)
    return headers


def refuse_origin(headers: Mapping[bytes, bytes]) -> None:
    """Refuse a request with such *headers* that is from a page of another origin.

    Raises:
        OriginNotAllowed: it is from one.
    """
    origin = headers.get(b"origin")
    is_own = origin is None or origin.partition(b"://")[2] == headers.get(b"host", b"").lower()
    if not is_own or headers.get(b"sec-fetch-site", b"none") not in (b"none", b"same-origin"):
        raise OriginNotAllowed((origin or b"another site").decode("latin-1"))


def json_response(body: bytes) -> Response[bytes]:
    """An answer with *body*."""
    return Response(body, media_type=MediaType.JSON, status_code=200)
