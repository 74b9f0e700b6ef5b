"""The small routes: models, health, readiness, metrics and documentation."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import cache, partial
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
from enginehouse.config import Defaults
from enginehouse.dialects.endpoint import Endpoint
from enginehouse.dialects.openai import models as bodies
from enginehouse.dialects.openai.openapi import document
from enginehouse.fleet import ModelSnapshot
from enginehouse.live import Live
from enginehouse.service import Service
from enginehouse.telemetry import METRICS_CONTENT_TYPE

from . import docs_page
from .admit import check_key

Connection = ASGIConnection[Any, Any, Any, Any]  # user, auth and state are not used


_read = partial(route, http_method=[HttpMethod.GET, HttpMethod.HEAD])  # HEAD: some load balancers probe with it


def small_routes(live: Live, service: Service, keys: KeyRing, endpoints: Sequence[Endpoint]) -> list[HTTPRouteHandler]:
    """Return the handlers of every route but those of *endpoints*, which are documented here too."""
    live.observe(("server.metrics_public",))
    snapshot = service.snapshot
    created = int(time.time())

    def ask_key(connection: Connection, _: BaseRouteHandler) -> None:
        given = [value for name, value in connection.scope["headers"] if name == b"authorization"]
        check_key(keys, given[0] if given else None)

    def check_metrics_key(connection: Connection, handler: BaseRouteHandler) -> None:
        if not live.config.server.metrics_public:
            ask_key(connection, handler)

    @_read("/v1/models", guards=[ask_key], sync_to_thread=False)
    def list_models() -> Response[bytes]:
        return _json(bodies.model_list([_card(model, created) for model in snapshot().models.values()]))

    @_read("/v1/models/{model_id:path}", guards=[ask_key], sync_to_thread=False)
    def show_model(request: Request[Any, Any, Any]) -> Response[bytes]:
        # Not a parameter of its own: how one is declared differs between Litestar's versions.
        name = str(request.path_params["model_id"]).removeprefix("/")
        return _json(bodies.model_card(_card(service.model(name), created)))

    @_read("/health", sync_to_thread=False)
    def health() -> Response[bytes]:
        return _json(bodies.health(__version__))

    @_read("/ready", sync_to_thread=False)
    def ready() -> Response[bytes]:
        fleet = snapshot()
        readiness = bodies.Readiness(
            status=fleet.state,
            models={name: model.state for name, model in fleet.models.items()},
            loading={
                name: bodies.Loading(stage=progress.stage, fraction=progress.fraction)
                for name, model in fleet.models.items()
                if (progress := model.loading) is not None
            },
        )
        return _json(bodies.readiness(readiness), is_ok=fleet.state == "ready")

    @_read("/metrics", guards=[check_metrics_key], sync_to_thread=False)
    def metrics() -> Response[bytes]:
        # Litestar would add a charset of its own to a media type of text.
        headers = {"content-type": METRICS_CONTENT_TYPE}
        return Response(service.metrics_text().encode(), headers=headers, media_type=MediaType.JSON)

    handlers = [list_models, show_model, health, ready, metrics]
    if live.config.server.docs:
        handlers += _documentation(endpoints)
    return handlers


def _documentation(endpoints: Sequence[Endpoint]) -> list[HTTPRouteHandler]:
    described = cache(partial(document, endpoints))

    @_read("/openapi.json", sync_to_thread=False)
    def openapi() -> Response[bytes]:
        return _json(bodies.encode(described()))

    @_read("/docs", sync_to_thread=False)
    def docs() -> Response[bytes]:
        return Response(docs_page.render(described()), media_type=MediaType.HTML)

    return [openapi, docs]


def _json(body: bytes, *, is_ok: bool = True) -> Response[bytes]:
    return Response(body, media_type=MediaType.JSON, status_code=bodies.OK if is_ok else bodies.NOT_READY)


def _card(model: ModelSnapshot, created: int) -> bodies.ModelCard:
    instance = model.described
    capabilities = instance.capabilities if instance else None
    declared = instance.declared if instance else None
    standing = instance.standing if instance else None
    return bodies.ModelCard(
        id=model.name,
        created=created,
        owned_by=model.config.owned_by,
        description=model.config.description,
        context_length=capabilities.context_tokens if capabilities else model.config.context_tokens,
        features=tuple(sorted(capabilities.features)) if capabilities else (),
        declared_features=tuple(sorted(declared.features)) if declared else (),
        proven_features=tuple(sorted(declared.features & standing.proven)) if declared and standing else (),
        trust=model.trust,
        certificate=_certificate(standing) if standing else None,
        limits=capabilities.limits if capabilities else {},
        defaults=_given(model.config.defaults),
        backends=tuple(placement.backend for placement in model.config.placements),
        state=model.state,
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


def _given(defaults: Defaults) -> dict[str, Any]:
    """Return the defaults that the configuration sets."""
    return {name: value for name, value in msgspec.structs.asdict(defaults).items() if value is not None}
