"""The application: routes, and an answer in the API's form for everything that is not one."""

from __future__ import annotations

from typing import Any

from litestar import Litestar, Request, Response, asgi
from litestar.enums import ScopeType
from litestar.exceptions import HTTPException, MethodNotAllowedException, NotFoundException
from litestar.types import ASGIApp, Receive, Scope, Send

from enginehouse.accounts import KeyRing
from enginehouse.config import Config
from enginehouse.dialects.endpoint import ErrorReply
from enginehouse.dialects.openai import errors
from enginehouse.dialects.refusals import MethodNotAllowed, NotFound, RefusedByFramework
from enginehouse.service import Service
from enginehouse.telemetry import get_logger
from enginehouse_plugin.errors import EnginehouseError

from . import chat
from .cors import Cors
from .envelope import Envelope
from .routes import small_routes

log = get_logger()
AnyRequest = Request[Any, Any, Any]  # user, auth and state are not used


def create_app(config: Config, service: Service) -> ASGIApp:
    """Return the ASGI application that serves *service*; its lifespan starts and ends the fleet."""
    keys = KeyRing(config.keys)

    async def start() -> None:
        service.fleet.start()

    chat_route = chat.ChatRoute(config, service, keys).answer
    litestar = Litestar(
        [asgi(chat.PATH, copy_scope=False)(chat_route), *small_routes(config, service, keys)],
        exception_handlers={
            HTTPException: _http_error,
            EnginehouseError: _error,
            Exception: _unexpected,
        },
        on_startup=[start],
        on_shutdown=[service.fleet.close],
        openapi_config=None,  # the document is `wire.openapi`: Litestar's would lack the chat route
        logging_config=None,
    )

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        # Straight to the route that counts: Litestar's way to it costs as much as reading the request.
        if scope["type"] == ScopeType.HTTP and scope["path"] == chat.PATH:
            await chat_route(scope, receive, send)
        else:
            await litestar(scope, receive, send)

    header = config.server.request_id_header
    if config.server.cors_origins:
        exposed = (header, "retry-after", chat.UNKNOWN_FIELDS_HEADER.decode())
        return Envelope(Cors(app, config.server.cors_origins, exposed), header)
    return Envelope(app, header)


def _http_error(request: AnyRequest, error: HTTPException) -> Response[bytes]:
    if isinstance(error, NotFoundException):
        return _response(errors.describe(NotFound(request.scope["path"])))
    if isinstance(error, MethodNotAllowedException):
        allowed = [name.strip() for name in (error.headers or {}).get("allow", "GET").split(",")]
        return _response(errors.describe(MethodNotAllowed(request.method, allowed)))
    return _response(errors.describe(RefusedByFramework(error.status_code)))


def _error(_: AnyRequest, error: EnginehouseError) -> Response[bytes]:
    return _response(errors.describe(error))


def _unexpected(request: AnyRequest, error: Exception) -> Response[bytes]:
    log.exception("request failed", path=request.scope["path"], exc_info=error)
    return _response(errors.describe(error))


def _response(reply: ErrorReply) -> Response[bytes]:
    headers = {name.decode(): value.decode() for name, value in reply.headers}
    return Response(reply.body, status_code=reply.status, headers=headers, media_type="application/json")
