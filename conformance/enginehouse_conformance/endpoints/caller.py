"""Asks one endpoint on behalf of a check."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import msgspec

from enginehouse_conformance.answer import Answer, Json, Refusal
from enginehouse_conformance.context import Context
from enginehouse_conformance.targets import Body, Busy, Reply
from enginehouse_conformance.targets.replies import read_refusal
from enginehouse_conformance.wire.client import Header, Request
from enginehouse_conformance.wire.faults import BrokenAnswer

from . import ENDPOINTS
from .base import Event
from .presence import address_of, request_to

_TOKENS = 16
_Raw = TypeVar("_Raw")


class Caller:
    """The hands of a check on the endpoint that its rule is about, or on the one called *name*."""

    def __init__(self, ctx: Context, name: str | None = None) -> None:
        self.ctx = ctx
        self.endpoint = ENDPOINTS[name or ctx.rule.endpoint]

    def body(self, prompt: str | None = None, /, **fields: Json) -> Body:
        """A greedy request of 16 tokens for *prompt*, else a topic, and *fields* over that."""
        return {**self.endpoint.body(self.ctx.topic() if prompt is None else prompt, _TOKENS), **fields}

    async def ask(self, body: Body) -> Answer:
        """The whole answer; a refusal ends the check."""
        return readable(self.endpoint.answer, await self.raw(body))

    async def raw(self, body: Body) -> dict[str, Json]:
        """The whole answer as JSON; a refusal ends the check."""
        request = request_to(self.ctx.url, self.endpoint, self.endpoint.asked(body, stream=False))
        return (await self.ctx.url.served(request, self.ctx.recording)).json()

    async def events(self, body: Body) -> list[Event]:
        """The events of the streamed answer; a refusal ends the check."""
        request = request_to(self.ctx.url, self.endpoint, self.endpoint.asked(body, stream=True))
        reply = await self.ctx.url.served(request, self.ctx.recording)
        kind = reply.head.get("content-type") or ""
        if kind.partition(";")[0].strip() != self.endpoint.content_type:
            raise BrokenAnswer(f"a stream has content-type {self.endpoint.content_type}, this one {kind!r}")
        events = self.endpoint.events(reply)
        busy = next((told for told in map(_error_in, events) if told is not None and told.is_busy), None)
        if busy is not None and "fault" not in self.ctx.rule.hooks:
            raise Busy(f"{busy}")
        return events

    async def stream(self, body: Body) -> Answer:
        """The streamed answer, put together."""
        return readable(self.endpoint.streamed, await self.events(body))

    async def post(self, body: Body) -> Reply:
        """What comes back, whatever it is: no retry, no judgement."""
        return await self.ctx.url.exchange(request_to(self.ctx.url, self.endpoint, body), self.ctx.recording)

    async def at(self, method: str, path: str, body: Body | None = None) -> Reply:
        """What comes back from *path*, below what the endpoint's own is below, whatever it is."""
        url = self.ctx.url
        data = b"" if body is None else msgspec.json.encode(body)
        request = Request(method=method, url=address_of(url, self.endpoint, path), headers=url.headers(), body=data)
        return await url.exchange(request, self.ctx.recording)

    async def send(
        self, method: str, path: str, data: bytes = b"", *, headers: tuple[Header, ...] | None = None
    ) -> Reply:
        """What comes back from *path* below the endpoint's own, whatever it is; *headers* in place of the target's."""
        url = self.ctx.url
        address = address_of(url, self.endpoint, self.endpoint.path + path)
        request = Request(
            method=method,
            url=address,
            headers=(*(url.headers() if headers is None else headers), *self.endpoint.headers),
            body=data,
        )
        return await url.exchange(request, self.ctx.recording)

    async def refused(self, body: Body | bytes, *names: str, status: tuple[int, ...] = (400,)) -> None:
        """Require that *body*, or one that is encoded already, is refused with one of *status*.

        The refusal names one of *names*; none: any message will do.
        """
        url = self.ctx.url
        request = request_to(url, self.endpoint, body)
        reply = await url.exchange(request, self.ctx.recording, is_refusal=True)
        what = " or ".join(str(code) for code in status) + (f" naming {' or '.join(names)}" if names else "")
        self.ctx.require(reply.status in status, what, f"status {reply.status}: {reply.body[:300]!r}")
        refusal = read_refusal(reply.status, reply.json(), "")
        self.ctx.require(not names or refusal.names(*names), what, str(refusal))


def _error_in(event: Event) -> Refusal | None:
    """The error that *event* tells of: as its `error`, as what it is, or as that of the response it carries."""
    data = event.data
    for told in (data, data.get("response")):
        if isinstance(told, dict) and (told.get("error") is not None or told.get("type") == "error"):
            return read_refusal(None, told, "")
    return None


def readable(read: Callable[[_Raw], Answer], raw: _Raw) -> Answer:
    """What *read* makes of *raw*; raises BrokenAnswer where that has not the types that are read."""
    try:
        return read(raw)
    except (LookupError, TypeError, AttributeError) as exc:
        raise BrokenAnswer(f"it cannot be read ({type(exc).__name__}: {exc}): {str(raw)[:200]}") from exc
