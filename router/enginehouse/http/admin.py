"""The routes under `/admin`, for keys that are said to be for them; each works in a thread, beside the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

from litestar import Response, route
from litestar.enums import HttpMethod
from litestar.handlers.http_handlers import HTTPRouteHandler

from enginehouse.accounts import AccountsUnavailable, Desk, Key, KeyRing, StoreError
from enginehouse.config import ConfigError
from enginehouse.dialects import admin as bodies
from enginehouse.dialects.scopes import Served
from enginehouse.telemetry import get_logger

from .decoding import decoded
from .guard import AdminGuard, AnyRequest, json_response

T = TypeVar("T")

log = get_logger()


def admin_routes(desk: Desk, keys: KeyRing, served: Callable[[], Served]) -> list[HTTPRouteHandler]:
    """Return the handlers of the routes for keys: what is changed holds here at once, elsewhere within a second.

    *served* says what a new key may be for.
    """

    guards = [AdminGuard(keys)]

    def changed(event: str, key: Key, secret: str | None = None) -> Response[bytes]:
        log.info(event, key=key.name)
        keys.learn([key])
        return json_response(bodies.encode(bodies.shown(key, secret)))

    @route(["/admin/keys", "/admin/limits"], http_method=[HttpMethod.GET], guards=guards)  # a key has its limits
    async def list_keys() -> Response[bytes]:
        found = await apart(desk.all_keys)
        return json_response(bodies.encode(bodies.ShownKeys([bodies.shown(key) for key in found])))

    @route("/admin/keys", http_method=[HttpMethod.POST], guards=guards)
    async def create_key(request: AnyRequest) -> Response[bytes]:
        wanted, _ = await decoded(request, bodies.decode_new_key)
        if not wanted.allow_unknown:
            served().check(wanted.scope)
        key, secret = await apart(
            lambda: desk.create(wanted.name, wanted.scope, limits=wanted.limits, expires_in_s=wanted.expires_in_s)
        )
        return changed("key created", key, secret)

    @route("/admin/keys/rotate", http_method=[HttpMethod.POST], guards=guards)
    async def rotate_key(request: AnyRequest) -> Response[bytes]:
        wanted, _ = await decoded(request, bodies.decode_rotation)
        key, secret = await apart(lambda: desk.rotate(wanted.name, overlap_s=wanted.overlap_s))
        return changed("key rotated", key, secret)

    @route("/admin/limits", http_method=[HttpMethod.POST], guards=guards)
    async def limit_key(request: AnyRequest) -> Response[bytes]:
        wanted, _ = await decoded(request, bodies.decode_limits)
        key = await apart(lambda: desk.limit(wanted.name, wanted.limits))
        return changed("key limited", key)

    @route("/admin/keys/expire", http_method=[HttpMethod.POST], guards=guards)
    async def expire_key(request: AnyRequest) -> Response[bytes]:
        wanted, _ = await decoded(request, bodies.decode_expiry)
        key = await apart(lambda: desk.expire(wanted.name, in_s=wanted.expires_in_s))
        return changed("key's expiry set", key)

    @route("/admin/keys/revoke", http_method=[HttpMethod.POST], guards=guards)
    async def revoke_key(request: AnyRequest) -> Response[bytes]:
        wanted, _ = await decoded(request, bodies.decode_revocation)
        key = await apart(lambda: desk.revoke(wanted.name))
        return changed("key revoked", key)

    return [list_keys, create_key, rotate_key, expire_key, revoke_key, limit_key]


async def apart(work: Callable[[], T]) -> T:
    """Do *work* with the database in a thread.

    Raises:
        AccountsUnavailable: the database cannot be used now.
    """
    try:
        return await asyncio.to_thread(work)
    except (StoreError, ConfigError) as error:
        raise AccountsUnavailable(f"The database of accounts cannot be used now: {error}.") from error
