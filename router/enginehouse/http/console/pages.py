"""The files of the console, as a browser takes them once: each under a name that has the hash of what is in it."""

from __future__ import annotations

import gzip
import re
from functools import cache, partial
from importlib.resources import files
from typing import Final

import msgspec
from litestar import Response, route
from litestar.enums import HttpMethod
from litestar.handlers.http_handlers import HTTPRouteHandler

from enginehouse import __version__
from enginehouse.accounts import KeyRing
from enginehouse.config import Config
from enginehouse.dialects import admin_requests
from enginehouse.dialects.refusals import NotFound
from enginehouse.http.guard import AdminClosed, AdminGuard, AnyRequest, json_response
from enginehouse.http.mounted import OWN_PREFIX, Mounted
from enginehouse.live import Live
from enginehouse.service import Service

POLICY: Final = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    )
)
"""No script and no style but the files of this package, nothing from elsewhere, no page around it, and no text that is
made markup: a browser with trusted types refuses even what a mistake of ours would try."""

DOCS_POLICY: Final = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data:",
        "font-src data:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
"""Of the reference alone: Swagger UI writes styles into its elements, and makes markup of descriptions, which are this
server's own words. No script but files, and nothing from elsewhere, as for the console."""

GUARDED: Final = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
}
_FOR_EVER: Final = "public, max-age=31536000, immutable"
_KINDS: Final = {
    "css": "text/css; charset=utf-8",
    "html": "text/html; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "json": "application/json",
    "svg": "image/svg+xml",
    "txt": "text/plain; charset=utf-8",
}
_HASHED: Final = re.compile(r"-[0-9A-Z]{8}\.[a-z]+\Z")
"""What the build has called by the hash of what is in it."""
_LEAST_ZIPPED: Final = 1024

_read = partial(route, http_method=[HttpMethod.GET, HttpMethod.HEAD])


class Session(msgspec.Struct, frozen=True, kw_only=True):
    """What the page may show: whether a key was needed, which rooms there are, and where models are asked.

    `chat_path` is empty where no profile that is served has chat as OpenAI's.
    """

    version: str
    needs_key: bool
    has_keys: bool
    has_accounts: bool
    has_docs: bool
    chat_path: str
    models_path: str


def built(name: str) -> tuple[bytes, bytes | None] | None:
    """The file called *name* of what is built, and the same compressed; None: there is none.

    Blocks: call it in a thread.
    """
    return _read_whole(name) if name in _names() else None


@cache
def _names() -> frozenset[str]:
    return frozenset(each.name for each in files("enginehouse.http.console").joinpath("static").iterdir())


@cache
def _read_whole(name: str) -> tuple[bytes, bytes | None]:
    data = files("enginehouse.http.console").joinpath("static", name).read_bytes()
    return data, gzip.compress(data, 9, mtime=0) if len(data) >= _LEAST_ZIPPED else None


def page_routes(
    live: Live, service: Service, keys: KeyRing, mounted: Mounted, guard: AdminGuard
) -> list[HTTPRouteHandler]:
    """Return the handlers of the page, its files, and what it shows beside the other routes under `/admin`."""

    def follow(config: Config) -> None:
        service.note_recent(is_on=config.server.console)

    live.observe(("server.console",), follow)
    follow(live.config)

    def is_on() -> bool:
        return live.config.server.console

    def shown(request: AnyRequest, name: str) -> Response[bytes]:
        if not is_on():
            raise NotFound(request.scope["path"])
        if keys.is_open and not guard.is_for_page:
            raise AdminClosed("The console of a server beyond loopback needs a key: make one with `admin = true`.")
        return answer(request, name)

    @_read("/console", sync_to_thread=True)
    def page(request: AnyRequest) -> Response[bytes]:
        return shown(request, "index.html")

    @_read("/console/assets/{name:str}", sync_to_thread=True)
    def asset(request: AnyRequest) -> Response[bytes]:
        return shown(request, str(request.path_params["name"]))

    @route("/console/session", http_method=[HttpMethod.GET], guards=[guard], sync_to_thread=False)
    def session(request: AnyRequest) -> Response[bytes]:
        if not is_on():
            raise NotFound(request.scope["path"])
        config = live.config
        chat = mounted.chat
        told = Session(
            version=__version__,
            needs_key=not keys.is_open,
            has_keys=config.accounts.keys,
            has_accounts=bool(config.store_url),
            has_docs=config.server.docs,
            chat_path="" if chat is None else chat[1].path,
            models_path=f"{OWN_PREFIX if chat is None else chat[0].prefix}/models",
        )
        return json_response(msgspec.json.encode(told))

    @route("/admin/requests", http_method=[HttpMethod.GET], guards=[guard], sync_to_thread=False)
    def requests(request: AnyRequest) -> Response[bytes]:
        if not is_on():
            raise NotFound(request.scope["path"])
        since = admin_requests.asked_since(list(request.query_params.multi_items()))
        service.settle()
        found = admin_requests.shown_requests(service.recent, service.metrics.histograms(), since)
        return json_response(admin_requests.encode(found))

    return [page, asset, session, requests]


def answer(request: AnyRequest, name: str, policy: str = POLICY) -> Response[bytes]:
    """The file called *name*; its page may load what *policy* says.

    Raises:
        NotFound: there is none.
    """
    found = built(name)
    if found is None:
        raise NotFound(request.scope["path"])
    data, zipped = found
    kind = name.rpartition(".")[2]
    headers = {**GUARDED, "content-type": _KINDS.get(kind, "application/octet-stream"), "vary": "accept-encoding"}
    headers["cache-control"] = _FOR_EVER if _HASHED.search(name) else "no-cache"
    if kind == "html":
        headers["content-security-policy"] = policy
    accepted = [value for name, value in request.scope["headers"] if name == b"accept-encoding"]
    if zipped is not None and any(b"gzip" in value for value in accepted):
        data, headers["content-encoding"] = zipped, "gzip"
    return Response(data, headers=headers, media_type=headers["content-type"])
