"""The routes by which hosts of one fleet know of each other, and that by which their owner sees them."""

from __future__ import annotations

import asyncio

from litestar import Response, route
from litestar.enums import HttpMethod
from litestar.handlers.http_handlers import HTTPRouteHandler

from enginehouse.accounts import KeyNotAllowed, KeyRing
from enginehouse.dialects import hosts as bodies
from enginehouse.dialects.refusals import NotFound
from enginehouse.fleet import HOST_HEADER, PROOF_PATH, SNAPSHOT_PATH, Fleet, key_id
from enginehouse.telemetry import get_logger

from .decoding import decoded
from .guard import AdminGuard, AnyRequest, json_response, refuse_pages
from .routes import key_of

log = get_logger()

_LONGEST_NAME = 64
_NOBODY = b"\0" * 32  # what is proven of a key that is not known, and not told: it takes as long as of one that is


def host_routes(fleet: Fleet, keys: KeyRing, guard: AdminGuard) -> list[HTTPRouteHandler]:
    """Return the handlers."""
    known = _Known(keys)

    @route(PROOF_PATH, http_method=[HttpMethod.GET], sync_to_thread=False)
    def proof(request: AnyRequest) -> Response[bytes]:
        refuse_pages(request)
        key, nonce = bodies.asked_proof(list(request.query_params.multi_items()))
        digest = known.digest(key)
        found = fleet.hosts.prove(digest, request.scope["server"], nonce)
        if found is None or digest is _NOBODY:
            raise NotFound(PROOF_PATH)
        return json_response(bodies.encode(found))

    @route(SNAPSHOT_PATH, http_method=[HttpMethod.GET], sync_to_thread=False)
    def snapshot(request: AnyRequest) -> Response[bytes]:
        refuse_pages(request)
        name = key_of(request, keys)
        if keys.scope(name).models is not None:
            raise KeyNotAllowed("This API key is for some models alone, and hosts tell each other of all.")
        if (asking := _asking(request)) is not None:
            fleet.hosts.heard_from(asking)
        return json_response(bodies.encode(fleet.hosts.told()))

    @route("/admin/hosts", http_method=[HttpMethod.GET], guards=[guard], sync_to_thread=False)
    def hosts() -> Response[bytes]:
        return json_response(bodies.encode(bodies.shown_hosts(fleet.hosts.snapshot())))

    @route("/admin/hosts/wake", http_method=[HttpMethod.POST], guards=[guard])
    async def wake(request: AnyRequest) -> Response[bytes]:
        asked, _ = await decoded(request, bodies.decode_order)
        host = fleet.hosts.named(asked.host)
        if asked.dry_run:
            return json_response(bodies.encode(bodies.shown_hosts([host.snapshot()], {host.name: host.foresee_wake()})))
        host.wake()
        log.info("order", order="wake", host=host.name)
        await asyncio.sleep(0)  # what it begins shows
        return json_response(bodies.encode(bodies.shown_hosts([host.snapshot()])))

    return [proof, snapshot, hosts, wake]


class _Known:
    """The keys of the file by their IDs: those of others are nobody's to ask about."""

    def __init__(self, keys: KeyRing) -> None:
        self._keys = keys
        self._generation: object = None
        self._digests: dict[str, bytes] = {}

    def digest(self, key: str) -> bytes:
        """The hash of the key whose ID is *key*."""
        if self._generation is not self._keys.generation:
            self._generation = self._keys.generation
            self._digests = {key_id(digest): digest for digest in self._keys.of_file}
        return self._digests.get(key, _NOBODY)


def _asking(request: AnyRequest) -> str | None:
    """The host that asks, as it calls itself."""
    given = [value for name, value in request.scope["headers"] if name == HOST_HEADER]
    return given[0].decode("latin-1")[:_LONGEST_NAME] if given else None
