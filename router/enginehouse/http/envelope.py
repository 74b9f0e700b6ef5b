"""The outermost layer: every request has an id, and every response carries it."""

from __future__ import annotations

import re

from litestar.enums import ScopeType
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from enginehouse.dialects.ids import unique_hex

_ACCEPTED = re.compile(rb"[\x21-\x7e]{1,128}")


class Envelope:
    """Gives each request an id: the client's own where it sent a usable one, else a new one."""

    def __init__(self, app: ASGIApp, request_id_header: str) -> None:
        self._app = app
        self._name = request_id_header.lower().encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on with its id under `enginehouse.request_id`."""
        if scope["type"] != ScopeType.HTTP:
            await self._app(scope, receive, send)
            return
        request_id = None
        for name, value in scope["headers"]:
            if name == self._name:
                request_id = value if _ACCEPTED.fullmatch(value) else None
                break
        if request_id is None:
            request_id = b"req-" + unique_hex().encode()
        scope["enginehouse.request_id"] = request_id.decode()  # type: ignore[typeddict-unknown-key]  # ours
        header = (self._name, request_id)
        scope["enginehouse.request_id_header"] = header  # type: ignore[typeddict-unknown-key]  # for `client`

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], header]
            await send(message)

        await self._app(scope, receive, send_with_id)
