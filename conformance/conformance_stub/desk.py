"""Serves the stub's endpoints other than chat: check, translate, generate, encode."""

from __future__ import annotations

import asyncio

import msgspec

from enginehouse_conformance.targets.translate import to_request

from . import http
from .behaviour import Behaviour
from .dialects import DIALECTS, Dialect, Said
from .engine import StubInstance
from .fields import Body
from .kept import KeptResponses
from .wire_parts import Rejected


class Desk:
    """Answers for all dialects; `kept` are the responses that clients may come back to."""

    def __init__(self, parts: Behaviour, instance: StubInstance) -> None:
        self._parts = parts
        self._instance = instance
        self.kept = KeptResponses(parts)

    @staticmethod
    def dialect_at(path: str, root: str | None) -> Dialect | None:
        """The dialect whose path leads *path*, under *root* or the host's."""
        for dialect in DIALECTS.values():
            whole = dialect.path if dialect.is_at_host else f"{root}{dialect.path}"
            if path == whole or path.startswith(f"{whole}/"):
                return dialect
        return None

    async def answer(self, dialect: Dialect, request: http.HttpRequest, below: str) -> bytes:
        """The whole HTTP answer to *request*; *below* is its path behind the dialect's.

        Raises:
            Rejected, EnginehouseError
        """
        if below and dialect.name == "responses":
            return _json(self.kept.answer(request.method, below, request.query))
        if below or request.method != "POST":
            raise Rejected("There is nothing here.", code="not_found", status=404)
        parts = self._parts
        body = parts.decode(request.body)
        parts.check_body(dialect.name, body)
        body = {name: value for name, value in body.items() if value is not None}
        given = self.kept.items(body) if dialect.name == "responses" else []
        events = await self._events(dialect, {**body, "input": given} if given else body)
        answer = dialect.whole(events)
        if dialect.name == "responses":
            self.kept.put(answer, given, body)
            if body.get("background"):
                return _json(self._in_background(answer))
        if dialect.is_streamed(body):
            made = parts.dialect_events(dialect.name, events, body)
            data = parts.dialect_stream(dialect.name, b"".join(map(dialect.piece, made)))
            return http.whole(200, data, [("content-type", dialect.content_type)])
        return _json(parts.dialect_answer(dialect.name, answer, body))

    async def _events(self, dialect: Dialect, body: Body) -> list[tuple[str, Body]]:
        parts = self._parts
        chat = parts.as_chat(dialect.name, dialect.chat(body), body)
        events = self._instance.generate(to_request(chat, request_id="stub", stream=False))
        try:
            said = Said([event async for event in events])
        finally:
            await events.aclose()
        await asyncio.sleep(0)
        return list(dialect.events(body, said, parts.model, parts.created()))

    def _in_background(self, answer: Body) -> Body:
        """The response as it is before it ends; the stub is done at once."""
        begun = {**answer, "status": "queued", "output": [], "usage": None, "incomplete_details": None}
        if not self._parts.finishes_in_background():
            self.kept.put(begun, [], {})
        return begun


def _json(answer: Body) -> bytes:
    return http.whole(200, msgspec.json.encode(answer))
