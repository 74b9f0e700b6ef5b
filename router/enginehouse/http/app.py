"""The application: all routes behind the layers, for our own server and for any ASGI server."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any

from litestar import Litestar, Request, Response, asgi
from litestar.enums import ScopeType
from litestar.exceptions import HTTPException, MethodNotAllowedException, NotFoundException
from litestar.types import ASGIApp, HTTPScope, Message, Receive, Scope, Send

from enginehouse.accounts import KeyRing
from enginehouse.config import Config
from enginehouse.dialects.endpoint import ErrorReply
from enginehouse.dialects.endpoints import endpoints
from enginehouse.dialects.openai import errors
from enginehouse.dialects.refusals import MethodNotAllowed, NotFound, RefusedByFramework
from enginehouse.live import Live
from enginehouse.service import Service
from enginehouse.telemetry import get_logger
from enginehouse_plugin.errors import EnginehouseError

from .api import IGNORED_HEADER, ApiRoute
from .asgi import AsgiExchange, Bridge
from .direct import DirectExchange
from .exchange import Exchange, Handler
from .layers import Cors, Layer, RequestId
from .routes import small_routes

log = get_logger()
AnyRequest = Request[Any, Any, Any]  # user, auth and state are not used

_EXCHANGE = "enginehouse.exchange"  # the key of a scope


class App:
    """Two lanes to the same routes: `handle` for our own connections, and the ASGI application that this is.

    Requests to endpoints of an API go straight to their route on the one lane, and by Litestar on the other.
    """

    def __init__(
        self,
        litestar: Litestar,
        endpoints: Mapping[str, Handler],
        layers: Sequence[Layer],
        *,
        max_body_bytes: int,
        write_timeout_s: float,
    ) -> None:
        self._litestar = litestar
        self._endpoints = endpoints
        self._layers = tuple(layers)
        self._write_timeout_s = write_timeout_s
        self.bridge = Bridge(litestar, max_body_bytes)

    def lifespan(self) -> AbstractAsyncContextManager[None]:
        """What starts and ends with the server."""
        return self._litestar.lifespan()

    def handle(self, exchange: DirectExchange) -> None:
        """Take a request of our own server at its head."""
        for layer in self._layers:
            layer(exchange)
            if exchange.is_begun:
                return
        (self._endpoints.get(exchange.path) or self.bridge)(exchange)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Take a request of an ASGI server."""
        if scope["type"] != ScopeType.HTTP:
            await self._litestar(scope, receive, send)
            return
        exchange = AsgiExchange(scope, receive, send, write_timeout_s=self._write_timeout_s)
        if not self._pass_layers(exchange):
            await exchange.serve(None)
            return
        scope[_EXCHANGE] = exchange  # type: ignore[literal-required]  # ours

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *exchange.response_headers]
            await send(message)

        await self._litestar(scope, receive, send_with_headers)

    def _pass_layers(self, exchange: Exchange) -> bool:
        """Show *exchange* to the layers; False: it is answered."""
        for layer in self._layers:
            layer(exchange)
            if exchange.is_begun:
                return False
        try:
            exchange.check_head()  # on our own connections that is done before
        except EnginehouseError as error:
            exchange.refuse(errors.describe(error))
        return not exchange.is_begun


def create_app(live: Live, service: Service, *, layers: Sequence[Layer] = ()) -> App:
    """Return the application that serves *service* as *live* has it.

    Its lifespan starts and ends the fleet. *layers* come last.
    """
    config = live.config
    keys = KeyRing(config.keys)
    served = endpoints(config, service.plugins.profiles)
    routes = {endpoint.path: ApiRoute(endpoint, service, keys, config.server) for endpoint in served}

    def follow(config: Config) -> None:
        for endpoint in endpoints(config, service.plugins.profiles):
            routes[endpoint.path].endpoint = endpoint
            routes[endpoint.path].server = config.server

    live.observe(("keys",), lambda config: keys.replace(config.keys))
    keys_of_routes = ("server.unknown_fields", "server.unsupported", "server.keep_alive_s")
    live.observe((*keys_of_routes, "models.*.defaults", "models.*.unsupported"), follow)

    async def start() -> None:
        service.fleet.start()

    async def close() -> None:  # a hook with a parameter would be handed the application
        await service.fleet.close()

    litestar = Litestar(
        [
            *(asgi(path, copy_scope=False)(_mounted(route)) for path, route in routes.items()),
            *small_routes(live, service, keys, served),
        ],
        exception_handlers={
            HTTPException: _http_error,
            EnginehouseError: _error,
            Exception: _unexpected,
        },
        on_startup=[start],
        on_shutdown=[close],
        openapi_config=None,  # the document is `dialects.openai.openapi`: Litestar's would lack the endpoints
        logging_config=None,
    )
    header = config.server.request_id_header
    own: list[Layer] = [RequestId(header)]
    if config.server.cors_origins:
        own.append(Cors(config.server.cors_origins, (header, "retry-after", IGNORED_HEADER.decode())))
    return App(
        litestar,
        routes,
        [*own, *layers],
        max_body_bytes=config.server.max_body_bytes,
        write_timeout_s=config.server.idle_timeout_s,
    )


def _mounted(route: Handler) -> ASGIApp:
    """Return *route* as Litestar mounts it."""

    async def serve(scope: HTTPScope, receive: Receive, send: Send) -> None:  # noqa: ARG001  # as Litestar wants it
        exchange: AsgiExchange = scope[_EXCHANGE]  # type: ignore[literal-required]  # by `App`
        await exchange.serve(route)

    return serve  # type: ignore[return-value]  # the scopes of a mounted path are HTTP's


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
