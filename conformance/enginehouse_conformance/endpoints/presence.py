"""Where a target has an endpoint, and whether it has it at all."""

from __future__ import annotations

from collections.abc import Iterable

from enginehouse_conformance.targets import Body, Recording, Reply, Target, UrlTarget
from enginehouse_conformance.targets.replies import read_refusal
from enginehouse_conformance.wire.client import Request
from enginehouse_conformance.wire.faults import BrokenAnswer, TransportFault

from . import ENDPOINTS
from .base import Endpoint

SERVED = "served"
"""What a report says of an endpoint that is there."""
_NOT_THERE = (404, 405, 501)


def request_to(target: UrlTarget, endpoint: Endpoint, body: Body | bytes) -> Request:
    """The POST that sends *body*, or bytes as they are, to *endpoint*."""
    headers = (*target.headers(), *endpoint.headers)
    data = body if isinstance(body, bytes) else target.encode(body)
    return Request(method="POST", url=address_of(target, endpoint, endpoint.path), headers=headers, body=data)


def address_of(target: UrlTarget, endpoint: Endpoint, path: str) -> str:
    """Where *path* of *endpoint* is."""
    return target.url(path, base=target.host_url if endpoint.is_at_host else target.base_url)


async def absent_among(names: Iterable[str], target: Target) -> dict[str, str]:
    """Of the endpoints *names* those that *target* does not serve, with what says so; chat is looked at elsewhere.

    One is there that answers a request for one token, if only wrongly: then its rules say how.
    """
    if not isinstance(target, UrlTarget):
        return {}
    return {name: why for name in names if name in ENDPOINTS and (why := await _absence(target, ENDPOINTS[name]))}


async def _absence(target: UrlTarget, endpoint: Endpoint) -> str | None:
    request = request_to(target, endpoint, endpoint.body("Hi", 1))
    try:
        reply = await target.exchange(request, Recording())
    except (BrokenAnswer, TransportFault):
        return None
    is_there = reply.status not in _NOT_THERE and not (endpoint.has_task and _is_for_something_else(reply))
    return None if is_there else f"{request.method} {request.url} answered {reply.status}"


def _is_for_something_else(reply: Reply) -> bool:
    """Whether a right request was refused because of the model."""
    if reply.status != 400:
        return False
    try:
        return read_refusal(reply.status, reply.json(), "").names("model")
    except BrokenAnswer:
        return False
