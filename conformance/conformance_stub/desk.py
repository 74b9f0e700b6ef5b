"""Serves the stub's endpoints other than chat: check, translate, generate, encode."""

from __future__ import annotations

import asyncio

import msgspec

from enginehouse_conformance.targets.translate import to_request
from enginehouse_plugin import GenerationRequest, Text, Tokens

from . import http
from .behaviour import Behaviour
from .dialects import DIALECTS, Dialect, Messages, Plain, Said
from .engine import StubInstance
from .fields import Body
from .kept import KeptResponses
from .wire_parts import Rejected

_ANY_LIMIT = 4096  # tokens; counting generates none


class Desk:
    """Answers for all dialects; `kept` are the responses that clients may come back to."""

    def __init__(self, parts: Behaviour, instance: StubInstance) -> None:
        self._parts = parts
        self._instance = instance
        self.kept = KeptResponses(parts)

    @staticmethod
    def dialect_at(path: str, root: str | None) -> Dialect | Plain | None:
        """The dialect whose path leads *path*, under *root* or the host's."""
        for dialect in DIALECTS.values():
            whole = dialect.path if dialect.is_at_host else f"{root}{dialect.path}"
            if path == whole or path.startswith(f"{whole}/"):
                return dialect
        return None

    async def answer(self, dialect: Dialect | Plain, request: http.HttpRequest, below: str) -> bytes:
        """The whole HTTP answer to *request*; *below* is its path behind the dialect's.

        Raises:
            Rejected, EnginehouseError
        """
        if below and dialect.name == "responses":
            return _json(self.kept.answer(request.method, below, request.query))
        if below == "count_tokens" and isinstance(dialect, Messages):
            return _json(await self._count(dialect, request.body))
        if below or request.method != "POST":
            raise Rejected("There is nothing here.", code="not_found", status=404)
        parts = self._parts
        body = parts.decode(request.body)
        parts.check_body(dialect.name, body)
        body = {name: value for name, value in body.items() if value is not None}
        if isinstance(dialect, Plain):
            return _json(parts.dialect_answer(dialect.name, self._made(dialect, body), body))
        given = self.kept.items(body) if dialect.name == "responses" else []
        events = await self._events(dialect, {**body, "input": given} if given else body)
        answer = dialect.whole(events)
        if dialect.name == "responses":
            self.kept.put(answer, given, body)
            if body.get("background"):
                return _json(self._in_background(answer))
        if dialect.is_streamed(body):
            made = parts.dialect_events(dialect.name, dialect.streamed(events, body), body)
            data = parts.dialect_stream(dialect.name, b"".join(map(dialect.piece, made)) + dialect.ending())
            return http.whole(200, data, [("content-type", dialect.content_type)])
        return _json(parts.dialect_answer(dialect.name, answer, body))

    def _made(self, dialect: Plain, body: Body) -> Body:
        if dialect.name == "tokenize" and body.get("messages") is not None:
            body = {**body, "rendered": self._parts.prompt_tokens(_request({"messages": body["messages"]}))}
        return dialect.made(body, self._parts.model, self._instance.capabilities.context_tokens)

    async def _events(self, dialect: Dialect, body: Body) -> list[tuple[str, Body]]:
        parts = self._parts
        chat = parts.as_chat(dialect.name, dialect.chat(body), body)
        events = self._instance.generate(_request(chat))
        try:
            said = Said([event async for event in events])
        finally:
            await events.aclose()
        await asyncio.sleep(0)
        return list(dialect.events(body, said, parts.model, parts.created()))

    async def _count(self, dialect: Dialect, data: bytes) -> Body:
        parts = self._parts
        body = parts.counted_body({"max_tokens": _ANY_LIMIT, **parts.decode(data)})
        parts.check_body(dialect.name, body)
        tokens = await self._instance.count_tokens(_request(dialect.chat(body)))
        return {"input_tokens": parts.counted(tokens)}

    def about_models(self, request: http.HttpRequest) -> bytes | None:
        """The answer of a route of Ollama that does not generate; None: it is none of them."""
        parts = self._parts
        details = {"format": "toy", "family": "stub", "parameter_size": "0", "quantization_level": "none"}
        match request.method, request.path:
            case "GET", "/api/version":
                return _json(parts.ollama_version())
            case "GET", "/api/tags":
                return _json(
                    parts.ollama_tags({"name": parts.model, "model": parts.model, "size": 0, "details": details})
                )
            case "POST", "/api/show":
                name = str(parts.decode(request.body).get("model"))
                if not parts.ollama_knows(name):
                    raise Rejected(f"no model {name!r} here", code="model_not_found", status=404)
                return _json({"details": details, "capabilities": ["completion"]})
        return None

    def _in_background(self, answer: Body) -> Body:
        """The response as it is before it ends; the stub is done at once."""
        begun = {**answer, "status": "queued", "output": [], "usage": None, "incomplete_details": None}
        if not self._parts.finishes_in_background():
            self.kept.put(begun, [], {})
        return begun


def _request(chat: Body) -> GenerationRequest:
    """The request that *chat* is; what is raw goes to the model without the template."""
    raw = chat.get("raw")
    request = to_request({name: value for name, value in chat.items() if name != "raw"}, request_id="0", stream=False)
    if raw is None:
        return request
    prompt = Text(raw) if isinstance(raw, str) else Tokens(tuple(raw))
    return msgspec.structs.replace(request, prompt=prompt)


def _json(answer: Body) -> bytes:
    return http.whole(200, msgspec.json.encode(answer))
