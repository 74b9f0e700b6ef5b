"""The small routes of Ollama's dialect: version, models, one of them, and those that are loaded."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from functools import partial
from typing import Any

from litestar import MediaType, Request, Response, route
from litestar.enums import HttpMethod
from litestar.handlers.http_handlers import HTTPRouteHandler

from enginehouse.accounts import KeyRing
from enginehouse.dialects.mounts import Mount
from enginehouse.dialects.ollama import models as bodies
from enginehouse.dialects.ollama.endpoint import OllamaEndpoint
from enginehouse.dialects.refusals import NotFound
from enginehouse.fleet import ModelNotFound
from enginehouse.service import Service
from enginehouse_plugin.errors import EnginehouseError

from .decoding import decoded
from .mounted import Mounted
from .routes import key_of, mount_of

AnyRequest = Request[Any, Any, Any]  # user, auth and state are not used

_read = partial(route, http_method=[HttpMethod.GET, HttpMethod.HEAD], sync_to_thread=False)


def ollama_routes(
    service: Service, keys: KeyRing, mounted: Mounted, prefixes: Collection[str]
) -> list[HTTPRouteHandler]:
    """Return the handlers under *prefixes*, each for as long as a profile of this dialect is mounted there."""
    if not prefixes:
        return []
    since_s = time.time()

    def answered(request: AnyRequest, end: str, body: Callable[[Mount, OllamaEndpoint], bytes]) -> Response[bytes]:
        mount = mount_of(request, request.scope["path"].rstrip("/").removesuffix(end), mounted, keys)
        endpoint = next((one for one in mount.endpoints if isinstance(one, OllamaEndpoint)), None)
        if endpoint is None:
            raise NotFound(request.scope["path"])
        try:
            return Response(body(mount, endpoint), media_type=MediaType.JSON, status_code=200)
        except EnginehouseError as error:
            reply = endpoint.errors.describe(error)
            return Response(reply.body, status_code=reply.status, media_type=MediaType.JSON)

    def seen(request: AnyRequest, mount: Mount) -> dict[str, bodies.Seen]:
        models, scope = service.snapshot().models, keys.scope(key_of(request, keys))
        return {
            name: bodies.Seen(models[named.model], mount.label, since_s)
            for name, named in mount.names.items()
            if scope.allows_model(named.model, named.agent_name)
        }

    @_read([f"{prefix}/version" for prefix in prefixes])
    def version(request: AnyRequest) -> Response[bytes]:
        return answered(request, "/version", lambda _, __: bodies.version())

    @_read([f"{prefix}/tags" for prefix in prefixes])
    def tags(request: AnyRequest) -> Response[bytes]:
        return answered(request, "/tags", lambda mount, _: bodies.tags(seen(request, mount)))

    @_read([f"{prefix}/ps" for prefix in prefixes])
    def running(request: AnyRequest) -> Response[bytes]:
        return answered(request, "/ps", lambda mount, _: bodies.running(seen(request, mount)))

    @route([f"{prefix}/show" for prefix in prefixes], http_method=[HttpMethod.POST])
    async def show(request: AnyRequest) -> Response[bytes]:
        name, wrong = "", None
        try:
            name = await decoded(request, bodies.asked_for)
        except EnginehouseError as error:  # told as its endpoint tells it
            wrong = error

        def body(mount: Mount, endpoint: OllamaEndpoint) -> bytes:
            if wrong is not None:
                raise wrong
            there = seen(request, mount)
            meant = endpoint.meant_by(name)
            found = next((one for one in there.values() if one.model.name == meant.model), None)
            if found is None:
                raise ModelNotFound(name, known=there)
            return bodies.shown(found)

        return answered(request, "/show", body)

    return [version, tags, running, show]
