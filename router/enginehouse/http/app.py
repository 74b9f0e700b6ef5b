"""The application: all routes behind the layers, for our own server and for any ASGI server."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any

from litestar import Request, Response, asgi
from litestar.enums import ScopeType
from litestar.exceptions import HTTPException, MethodNotAllowedException, NotFoundException
from litestar.handlers.http_handlers import HTTPRouteHandler
from litestar.types import ASGIApp, HTTPScope, Message, Receive, Scope, Send
from litestar.utils import normalize_path

from enginehouse.accounts import Desk, KeyRing
from enginehouse.config import Config, ServerConfig
from enginehouse.dialects.endpoint import ErrorReply
from enginehouse.dialects.openai import errors
from enginehouse.dialects.refusals import MethodNotAllowed, NotFound, RefusedByFramework
from enginehouse.dialects.scopes import Served
from enginehouse.live import Live
from enginehouse.service import Service
from enginehouse.telemetry import Metrics, get_logger
from enginehouse_plugin.errors import EnginehouseError

from .admin import admin_routes
from .admin_credits import credit_routes
from .api import IGNORED_HEADER, ApiRoute
from .asgi import AsgiExchange, Bridge
from .console import Feed, page_routes, proof_routes, runs_of
from .console.feed import PATH as FEED_PATH
from .direct import DirectExchange
from .exchange import Exchange, Handler
from .framework import Framework
from .guard import AdminGuard
from .hosts import host_routes
from .kept import kept_routes
from .layers import Cors, Layer, RequestId
from .limit_headers import LIMIT_HEADERS
from .limits import Limits
from .mounted import Mounted
from .ollama import ollama_routes
from .origins import Origins
from .routes import model_routes, small_routes
from .steering import steering_routes

log = get_logger()
AnyRequest = Request[Any, Any, Any]  # user, auth and state are not used

_EXCHANGE = "enginehouse.exchange"  # the key of a scope


class App:
    """Two lanes to the same routes: `handle` for our own connections, and the ASGI application that this is.

    Requests to endpoints of an API go straight to their route on the one lane, and by Litestar on the other.
    """

    def __init__(
        self,
        framework: Framework,
        endpoints: Mapping[str, Handler],
        layers: Sequence[Layer],
        *,
        limits: Limits,
        metrics: Metrics,
    ) -> None:
        self._framework = framework
        self._first = framework.routed.litestar  # which begins and ends with the server
        self._endpoints = endpoints
        self.layers = tuple(layers)
        self._limits = limits
        self.metrics = metrics
        self.bridge = Bridge(self._route, limits.max_body_bytes)

    def lifespan(self) -> AbstractAsyncContextManager[None]:
        """What starts and ends with the server."""
        return self._first.lifespan()

    def handle(self, exchange: DirectExchange) -> None:
        """Take a request of our own server at its head."""
        for layer in self.layers:
            layer(exchange)
            if exchange.is_begun:
                return
        path = exchange.path
        (self._endpoints.get(path) or self._endpoints.get(normalize_path(path)) or self.bridge)(exchange)

    def handle_owner(self, exchange: DirectExchange) -> None:
        """Take a request that came by the socket for administration."""
        exchange.is_of_socket = True
        self.handle(exchange)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Take a request of an ASGI server."""
        if scope["type"] != ScopeType.HTTP:
            await self._first(scope, receive, send)
            return
        exchange = AsgiExchange(scope, receive, send, self._limits)
        if not self._pass_layers(exchange):
            await exchange.serve(None)
            return
        scope[_EXCHANGE] = exchange  # type: ignore[literal-required]  # ours

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *exchange.response_headers]
            await send(message)

        await self._route(scope, receive, send_with_headers)

    async def _route(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._framework.routed.litestar(scope, receive, send)

    def _pass_layers(self, exchange: Exchange) -> bool:
        """Show *exchange* to the layers; False: it is answered."""
        for layer in self.layers:
            layer(exchange)
            if exchange.is_begun:
                return False
        try:
            exchange.head.check()  # on our own connections that is done before
        except EnginehouseError as error:
            exchange.refuse(errors.describe(error))
        return not exchange.is_begun


def create_app(live: Live, service: Service, keys: KeyRing, *, layers: Sequence[Layer] = ()) -> App:
    """Return the application that serves *service* to *keys* as *live* has it.

    Its lifespan starts and ends the fleet. *layers* come last.
    """
    config = live.config
    mounted = Mounted(config, service.plugins.profiles)
    guard = AdminGuard(keys, lambda: live.config.server)
    runs = runs_of(live, service.fleet)
    routes: dict[str, Handler] = {FEED_PATH: Feed(service, guard, lambda: live.config.server.console)}
    at_paths: dict[str, ApiRoute] = {}

    def put_routes(config: Config) -> None:
        """Have routes to what is mounted."""
        for path, (endpoint, ways) in mounted.endpoints.items():
            route = at_paths.get(path)
            if route is None:
                at_paths[path] = route = ApiRoute(endpoint, service, keys, config.server, ways)
            route.endpoint, route.ways, route.server = endpoint, ways, config.server
        routes.update({path: at_paths[path] if path in mounted.endpoints else _nothing for path in at_paths})

    put_routes(config)
    of_responses = ("store", "ttl_s", "max_responses", "max_bytes")
    live.observe([f"responses.{name}" for name in of_responses], lambda config: mounted.kept.follow(config.responses))
    live.observe(("keys",), lambda config: keys.replace(config.keys))

    def served() -> Served:
        return Served.of(live.config, mounted.mounts)

    async def start() -> None:
        service.fleet.start()

    async def close() -> None:  # a hook with a parameter would be handed the application
        await runs.close()
        await service.fleet.close()

    def to_prefixes(prefixes: Collection[str]) -> list[HTTPRouteHandler]:
        return [
            *model_routes(service, keys, mounted, prefixes),
            *ollama_routes(service, keys, mounted, prefixes),
            *kept_routes(keys, mounted, prefixes),
        ]

    framework = Framework(
        mounted,
        [
            *small_routes(live, service, keys, mounted),
            *steering_routes(live, service.fleet, keys, mounted),
            *host_routes(service.fleet, keys, guard),
            *page_routes(live, service, keys, mounted, guard),
            *proof_routes(live, service.fleet, guard, runs),
            asgi(FEED_PATH, copy_scope=False)(_mounted(routes, FEED_PATH)),
            *(admin_routes(Desk(config), keys, served) if config.accounts.keys else ()),
            *(credit_routes(config, guard) if config.store_url else ()),
        ],
        lambda path: asgi(path, copy_scope=False)(_mounted(routes, path)),
        to_prefixes,
        {
            "exception_handlers": {HTTPException: _http_error, EnginehouseError: _error, Exception: _unexpected},
            "on_startup": [start],
            "on_shutdown": [close],
            "openapi_config": None,  # the document is `dialects.openai.openapi`: Litestar's would lack the endpoints
            "logging_config": None,
        },
    )

    def check(config: Config) -> None:
        framework.prepare(config)

    live.check(check)

    def own_layers(server: ServerConfig) -> list[Layer]:
        header = server.request_id_header
        own: list[Layer] = [RequestId(header)]
        if server.cors_origins:
            own.append(Cors(server.cors_origins, (header, "retry-after", *LIMIT_HEADERS, IGNORED_HEADER.decode())))
        own.append(Origins(server, keys, mounted.hosts))
        return [*own, *layers]

    app = App(
        framework,
        routes,
        own_layers(config.server),
        limits=Limits.of(config.server, config.server.max_connections),
        metrics=service.metrics,
    )

    def follow(config: Config) -> None:
        framework.follow(config)
        put_routes(config)
        app.layers = tuple(own_layers(config.server))

    of_server = ("unknown_fields", "unsupported", "keep_alive_s", "cors_origins", "allowed_hosts")
    live.observe(("models", "agents", "mounts", *(f"server.{name}" for name in of_server)), follow)
    return app


def _nothing(exchange: Exchange) -> None:
    """Stand where an endpoint was, which is mounted no more."""
    exchange.refuse(errors.describe(NotFound(exchange.path)))


def _mounted(routes: Mapping[str, Handler], path: str) -> ASGIApp:
    """Return what *routes* has at *path* as Litestar mounts it."""

    async def serve(scope: HTTPScope, receive: Receive, send: Send) -> None:  # noqa: ARG001  # as Litestar wants it
        exchange: AsgiExchange = scope[_EXCHANGE]  # type: ignore[literal-required]  # by `App`
        await exchange.serve(routes[path])

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
