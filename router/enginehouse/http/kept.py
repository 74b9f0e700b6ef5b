"""The routes to responses that are kept: show, list what they were made of, cancel, delete."""

from __future__ import annotations

from collections.abc import Collection
from functools import partial
from typing import Any

from litestar import Request, Response, route
from litestar.enums import HttpMethod, MediaType
from litestar.handlers.http_handlers import HTTPRouteHandler

from enginehouse.accounts import KeyRing
from enginehouse.dialects.openai.responses import stored

from .mounted import Mounted
from .routes import key_of

AnyRequest = Request[Any, Any, Any]  # user, auth and state are not used

_get = partial(route, http_method=[HttpMethod.GET], sync_to_thread=False)


def kept_routes(keys: KeyRing, mounted: Mounted, prefixes: Collection[str]) -> list[HTTPRouteHandler]:
    """Return the handlers of the routes for kept responses under *prefixes*; a key sees only its own."""
    if not prefixes:
        return []
    kept = mounted.kept
    paths = [f"{prefix}/responses/{{response_id:str}}" for prefix in prefixes]

    # One handler for both methods, so that `Allow` names them. On the event loop's thread: what runs is ended there.
    @route(paths, http_method=[HttpMethod.GET, HttpMethod.DELETE], sync_to_thread=False, status_code=200)
    def show_or_delete(request: AnyRequest) -> Response[bytes]:
        if request.method == "DELETE":
            return _json(stored.delete(kept, _id_in(request), key_of(request, keys)))
        return _json(stored.show(kept, _id_in(request), key_of(request, keys), request.scope["query_string"]))

    @_get([f"{path}/input_items" for path in paths])
    def list_items(request: AnyRequest) -> Response[bytes]:
        return _json(stored.list_items(kept, _id_in(request), key_of(request, keys), request.scope["query_string"]))

    @route([f"{path}/cancel" for path in paths], http_method=[HttpMethod.POST], sync_to_thread=False)
    def cancel(request: AnyRequest) -> Response[bytes]:
        return _json(stored.cancel(kept, _id_in(request), key_of(request, keys)))

    return [show_or_delete, list_items, cancel]


def _id_in(request: AnyRequest) -> str:
    # Not a parameter of its own: how one is declared differs between Litestar's versions.
    return str(request.path_params["response_id"])


def _json(body: bytes) -> Response[bytes]:
    return Response(body, media_type=MediaType.JSON, status_code=200)
