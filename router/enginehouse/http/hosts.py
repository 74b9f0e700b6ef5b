"""The routes by which hosts of one fleet know of each other, and that by which their owner sees them."""

from __future__ import annotations

from litestar import Response, route
from litestar.enums import HttpMethod
from litestar.handlers.http_handlers import HTTPRouteHandler

from enginehouse.accounts import KeyNotAllowed, KeyRing
from enginehouse.dialects import hosts as bodies
from enginehouse.fleet import HOST_HEADER, SNAPSHOT_PATH, Fleet

from .guard import AdminGuard, AnyRequest, json_response, refuse_pages
from .routes import key_of

_LONGEST_NAME = 64


def host_routes(fleet: Fleet, keys: KeyRing) -> list[HTTPRouteHandler]:
    """Return the handlers."""

    @route(SNAPSHOT_PATH, http_method=[HttpMethod.GET], sync_to_thread=False)
    def snapshot(request: AnyRequest) -> Response[bytes]:
        refuse_pages(request)
        name = key_of(request, keys)
        if keys.scope(name).models is not None:
            raise KeyNotAllowed("This API key is for some models alone, and hosts tell each other of all.")
        if (asking := _asking(request)) is not None:
            fleet.hosts.heard_from(asking)
        return json_response(bodies.encode(fleet.hosts.told()))

    @route("/admin/hosts", http_method=[HttpMethod.GET], guards=[AdminGuard(keys)], sync_to_thread=False)
    def hosts() -> Response[bytes]:
        return json_response(bodies.encode(bodies.shown_hosts(fleet.hosts.snapshot())))

    return [snapshot, hosts]


def _asking(request: AnyRequest) -> str | None:
    """The host that asks, as it calls itself."""
    given = [value for name, value in request.scope["headers"] if name == HOST_HEADER]
    return given[0].decode("latin-1")[:_LONGEST_NAME] if given else None
