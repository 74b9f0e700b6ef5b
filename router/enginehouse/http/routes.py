"""The small routes: models, health, readiness, metrics and documentation."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from functools import partial
from typing import Any

import msgspec
from litestar import MediaType, Request, Response, route
from litestar.connection import ASGIConnection
from litestar.enums import HttpMethod
from litestar.handlers.base import BaseRouteHandler
from litestar.handlers.http_handlers import HTTPRouteHandler

from enginehouse import __version__
from enginehouse.accounts import KeyRing
from enginehouse.certificates import Standing
from enginehouse.dialects.anthropic import models as anthropic_models
from enginehouse.dialects.anthropic.errors import AnthropicErrors
from enginehouse.dialects.anthropic.models import page_in, speaks_anthropic
from enginehouse.dialects.endpoint import Named
from enginehouse.dialects.mounts import Mount
from enginehouse.dialects.openai import models as bodies
from enginehouse.dialects.openai.openapi import document
from enginehouse.dialects.profiles import built_in
from enginehouse.dialects.refusals import NotFound
from enginehouse.fleet import Default, InstanceSnapshot, ModelNotFound, ModelSnapshot
from enginehouse.live import Live
from enginehouse.service import Service
from enginehouse.telemetry import METRICS_CONTENT_TYPE
from enginehouse_plugin.errors import EnginehouseError

from . import docs_page
from .admit import authorization_in, check_key
from .console.pages import DOCS_POLICY, answer
from .mounted import Mounted

Connection = ASGIConnection[Any, Any, Any, Any]  # user, auth and state are not used

_anthropic_errors = AnthropicErrors(built_in()["openai"], {})

_read = partial(route, http_method=[HttpMethod.GET, HttpMethod.HEAD])  # HEAD: some load balancers probe with it


def small_routes(live: Live, service: Service, keys: KeyRing, mounted: Mounted) -> list[HTTPRouteHandler]:
    """Return the handlers of health, readiness and metrics, and of documentation of all of *mounted*."""
    live.observe(("server.metrics_public",))
    snapshot = service.snapshot

    def ask_key(connection: Connection, _: BaseRouteHandler | None = None) -> None:
        key_of(connection, keys)

    def may_see(connection: Connection) -> bool:
        if not keys.is_open and authorization_in(_named(connection)) is None:
            return False  # a load balancer, which is no news
        try:
            ask_key(connection)
        except EnginehouseError:
            return False
        return True

    def check_metrics_key(connection: Connection, handler: BaseRouteHandler) -> None:
        if not live.config.server.metrics_public:
            ask_key(connection, handler)

    @_read("/", sync_to_thread=False)  # where agents look whether there is a server
    def root() -> Response[bytes]:
        return _json(bodies.health(__version__))

    @_read("/health", sync_to_thread=False)
    def health() -> Response[bytes]:
        return _json(bodies.health(__version__))

    @_read("/ready", sync_to_thread=False)
    def ready(request: Request[Any, Any, Any]) -> Response[bytes]:
        fleet, state = snapshot(), service.accounts
        readiness = bodies.Readiness(
            status="accounts_unavailable" if state == "refusing" and fleet.state == "ready" else fleet.state,
            accounts=msgspec.UNSET if state == "written" else state,
            models={name: model.state for name, model in fleet.models.items()},
            loading={
                name: bodies.Loading(stage=progress.stage, fraction=progress.fraction)
                for name, model in fleet.models.items()
                if (progress := model.loading) is not None
            },
            problems={
                name: problem
                for name, model in fleet.models.items()
                if (problem := model.problem) is not None and may_see(request)
            },
        )
        return _json(bodies.readiness(readiness), is_ok=readiness.status == "ready")

    @_read("/metrics", guards=[check_metrics_key], sync_to_thread=False)
    def metrics() -> Response[bytes]:
        # Litestar would add a charset of its own to a media type of text.
        headers = {"content-type": METRICS_CONTENT_TYPE}
        return Response(service.metrics_text().encode(), headers=headers, media_type=MediaType.JSON)

    handlers = [root, health, ready, metrics]
    if live.config.server.docs:
        handlers += _documentation(mounted)
    return handlers


def model_routes(
    service: Service, keys: KeyRing, mounted: Mounted, prefixes: Collection[str]
) -> list[HTTPRouteHandler]:
    """Return the handlers of the routes for models under *prefixes*, as long as there are mounts."""
    if not prefixes:
        return []
    created = int(time.time())

    @_read([f"{prefix}/models" for prefix in prefixes], sync_to_thread=False)
    @_in_its_dialect
    def list_models(request: Request[Any, Any, Any]) -> Response[bytes]:
        mount = mount_of(request, request.scope["path"].rstrip("/").removesuffix("/models"), mounted, keys)
        models = service.snapshot().models
        scope = keys.scope(key_of(request, keys))
        cards = [
            _card(name, named, models[named.model], mount.label, created)
            for name, named in mount.names.items()
            if scope.allows_model(named.model, named.agent_name)
        ]
        if speaks_anthropic(_named(request)):
            return _json(anthropic_models.model_page(cards, page_in(request.scope["query_string"])))
        return _json(bodies.model_list(cards))

    @_read([f"{prefix}/models/{{model_id:path}}" for prefix in prefixes], sync_to_thread=False)
    @_in_its_dialect
    def show_model(request: Request[Any, Any, Any]) -> Response[bytes]:
        # Not a parameter of its own: how one is declared differs between Litestar's versions.
        below = str(request.path_params["model_id"])
        mount = mount_of(
            request, request.scope["path"].removesuffix("/").removesuffix(f"/models{below}"), mounted, keys
        )
        name = below.removeprefix("/")
        named = mount.names.get(name)
        if named is None or not keys.scope(key_of(request, keys)).allows_model(named.model, named.agent_name):
            raise ModelNotFound(name, known=mount.names)
        card = _card(name, named, service.model(named.model), mount.label, created)
        tell = anthropic_models.model_info if speaks_anthropic(_named(request)) else bodies.model_card
        return _json(tell(card))

    return [list_models, show_model]


def _in_its_dialect(
    answer: Callable[[Request[Any, Any, Any]], Response[bytes]],
) -> Callable[[Request[Any, Any, Any]], Response[bytes]]:
    """Have the errors of *answer* told in the form of the dialect that its client speaks."""

    def answered(request: Request[Any, Any, Any]) -> Response[bytes]:
        try:
            return answer(request)
        except EnginehouseError as error:
            if not speaks_anthropic(_named(request)):
                raise
            reply = _anthropic_errors.describe(error)
            headers = {name.decode(): value.decode() for name, value in reply.headers}
            return Response(reply.body, status_code=reply.status, headers=headers, media_type=MediaType.JSON)

    answered.__name__ = answer.__name__  # the name of a handler, by which the framework tells it from others
    return answered


def mount_of(request: Request[Any, Any, Any], prefix: str, mounted: Mounted, keys: KeyRing) -> Mount:
    """Return whose routes *request* means under *prefix*.

    Raises:
        NotFound: nothing is mounted there for its host and key.
        Unauthorized: it has no key, or one that is not known.
    """
    hosts = [value for name, value in request.scope["headers"] if name == b"host"]
    ways = mounted.models.get(prefix)
    found = None if ways is None else ways.of(hosts[0] if hosts else None, key_of(request, keys))
    if found is None:
        raise NotFound(request.scope["path"])
    return found


def key_of(connection: Connection, keys: KeyRing) -> str:
    """The name of the key that a request has.

    Raises:
        Unauthorized: it has none, or one that is not known.
    """
    client = connection.scope.get("client")
    return check_key(keys, authorization_in(_named(connection)), client[0] if client else "")


def _named(connection: Connection) -> dict[bytes, bytes]:
    return dict(reversed(list(connection.scope["headers"])))  # of several the first


def _documentation(mounted: Mounted) -> list[HTTPRouteHandler]:
    # Each is made when it is asked for, on a thread: that takes tens of milliseconds the first time.
    made: list[tuple[object, bytes, bytes]] = []

    def described() -> tuple[object, bytes, bytes]:
        mounts = mounted.mounts
        if not made or made[0][0] is not mounts:  # a reload may have changed them
            whole = document([each for mount in mounts for each in mount.endpoints], list(mounted.models))
            made[:] = [(mounts, bodies.encode(whole), docs_page.render(whole))]
        return made[0]

    @_read("/openapi.json", sync_to_thread=True)
    def openapi() -> Response[bytes]:
        return _json(described()[1])

    @_read("/docs", sync_to_thread=True)
    def docs(request: Request[Any, Any, Any]) -> Response[bytes]:
        return answer(request, "docs.html", DOCS_POLICY)

    @_read("/docs/assets/{name:str}", sync_to_thread=True)
    def asset(request: Request[Any, Any, Any]) -> Response[bytes]:
        return answer(request, str(request.path_params["name"]))

    @_read("/docs/plain", sync_to_thread=True)
    def plain() -> Response[bytes]:
        return Response(described()[2], media_type=MediaType.HTML)

    return [openapi, docs, asset, plain]


def _json(body: bytes, *, is_ok: bool = True) -> Response[bytes]:
    return Response(body, media_type=MediaType.JSON, status_code=bodies.OK if is_ok else bodies.NOT_READY)


def _card(name: str, named: Named, model: ModelSnapshot, profile: str, created: int) -> bodies.ModelCard:
    instance = model.described
    capabilities = instance.capabilities if instance else None
    declared = instance.declared if instance else None
    standing = instance.standing if instance else None
    decided = model.defaults_by(profile)
    described = named.agent or model.config
    values = decided.values
    if named.agent is not None:
        own = msgspec.structs.asdict(named.agent.defaults).items()
        values = {**values, **{field: Default(value, "configuration") for field, value in own if value is not None}}
    return bodies.ModelCard(
        id=name,
        created=created,
        owned_by=described.owned_by,
        description=described.description,
        context_length=capabilities.context_tokens if capabilities else model.config.said_context,
        task=model.task,
        dimensions=capabilities.dimensions if capabilities else (),
        features=tuple(sorted(capabilities.features)) if capabilities else (),
        declared_features=tuple(sorted(declared.features)) if declared else (),
        proven_features=tuple(sorted(declared.features & standing.proven)) if declared and standing else (),
        trust=model.trust,
        certificate=_certificate(standing) if standing else None,
        limits=capabilities.limits if capabilities else {},
        defaults={field: default.value for field, default in values.items()},
        defaults_from={field: default.origin for field, default in values.items()},
        defaults_refused=decided.refused,
        backends=tuple(placement.backend for placement in model.config.placements),
        instances=tuple(map(_instance, model.instances)),
        state=model.state,
    )


def _instance(instance: InstanceSnapshot) -> bodies.InstanceCard:
    capabilities = instance.capabilities
    return bodies.InstanceCard(
        id=instance.id,
        host=instance.planned.host,
        backend=instance.planned.backend.name,
        state=instance.state,
        features=None if capabilities is None else tuple(sorted(capabilities.features)),
        running=instance.running,
        waiting=instance.waiting,
        capacity=instance.capacity,
    )


def _certificate(standing: Standing) -> bodies.CertificateCard:
    certificate = standing.certificate
    if certificate is None:
        return bodies.CertificateCard(state=standing.state, reason=standing.reason)
    return bodies.CertificateCard(
        state=standing.state,
        reason=standing.reason,
        certified_at=certificate.certified_at,
        suite=certificate.key.suite,
        selection=certificate.selection,
        unproven=certificate.unproven,
    )
