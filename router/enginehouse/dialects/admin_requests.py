"""The route of the last requests under `/admin`: what its body and query hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from enginehouse.accounts import Noted, Recent, Sum
from enginehouse.config.prices import text_of
from enginehouse.telemetry import Histogram
from enginehouse_plugin.errors import InvalidRequest


class ShownRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A request that has ended: its facts, no word of it. `at` is Unix time, `cost` what its key paid in credits."""

    number: int
    at: float
    id: str
    endpoint: str
    model: str
    instance: str | None
    key: str | None
    status: int
    stream: bool
    cancelled: bool
    queue_s: float
    ttft_s: float | None
    duration_s: float
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    reasoning_tokens: int
    finish: tuple[str, ...]
    error: str | None
    ignored: tuple[str, ...]
    cost: str | None


class ShownSum(msgspec.Struct, frozen=True, kw_only=True):
    """What the requests of a key to a model took since this router began; `cost` in credits, null: none was paid."""

    key: str
    model: str
    requests: int
    failed: int
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    reasoning_tokens: int
    cost: str | None


class ShownError(msgspec.Struct, frozen=True):
    """How many requests ended with this status and code of an error."""

    status: int
    code: str
    requests: int


class ShownHistogram(msgspec.Struct, frozen=True):
    """Requests by time: `counts` of each of the `bounds` in seconds those that took at most it, and the rest."""

    bounds: tuple[float, ...]
    counts: tuple[int, ...]


class ShownTimes(msgspec.Struct, frozen=True):
    """How long the requests to a model took."""

    model: str
    duration: ShownHistogram
    ttft: ShownHistogram


class ShownRequests(msgspec.Struct, frozen=True, kw_only=True):
    """The last requests, the newest first, of `number` in all; and what all took since this router began."""

    number: int
    requests: Sequence[ShownRequest]
    use: Sequence[ShownSum]
    errors: Sequence[ShownError]
    times: Sequence[ShownTimes]


encode = msgspec.json.Encoder().encode


def asked_since(query: Sequence[tuple[str, str]]) -> int:
    """The number of the last request that is known already, 0 without one.

    Raises:
        InvalidRequest: it is no such number.
    """
    given = dict(query).get("since", "0")
    if not (given.isascii() and given.isdigit() and len(given) < 16):
        raise InvalidRequest("'since' is the number of a request.", param="since")
    return int(given)


def shown_requests(recent: Recent, times: Mapping[str, tuple[Histogram, Histogram]], since: int) -> ShownRequests:
    """What is told of those after *since*, and of all."""
    return ShownRequests(
        number=recent.number,
        requests=[_request(noted) for noted in recent.since(since)],
        use=[_sum(key, model, of) for (key, model), of in recent.by_use.items()],
        errors=[ShownError(status, code, number) for (status, code), number in recent.errors.items()],
        times=[ShownTimes(model, _histogram(took), _histogram(ttft)) for model, (took, ttft) in times.items()],
    )


def _request(noted: Noted) -> ShownRequest:
    facts = noted.facts
    return ShownRequest(
        number=noted.number,
        at=noted.at,
        id=facts.request_id,
        endpoint=facts.endpoint,
        model=facts.model,
        instance=facts.instance_id,
        key=facts.key,
        status=facts.status,
        stream=facts.is_stream,
        cancelled=facts.is_cancelled,
        queue_s=facts.queue_s,
        ttft_s=facts.ttft_s,
        duration_s=facts.duration_s,
        prompt_tokens=facts.prompt_tokens,
        cached_tokens=facts.cached_tokens,
        completion_tokens=facts.completion_tokens,
        reasoning_tokens=facts.reasoning_tokens,
        finish=facts.finish_reasons,
        error=facts.error_code,
        ignored=facts.ignored,
        cost=None if noted.charged is None else text_of(noted.charged),
    )


def _sum(key: str, model: str, of: Sum) -> ShownSum:
    return ShownSum(
        key=key,
        model=model,
        requests=of.requests,
        failed=of.failed,
        prompt_tokens=of.prompt_tokens,
        cached_tokens=of.cached_tokens,
        completion_tokens=of.completion_tokens,
        reasoning_tokens=of.reasoning_tokens,
        cost=text_of(of.charged) if of.charged else None,
    )


def _histogram(of: Histogram) -> ShownHistogram:
    return ShownHistogram(of.bounds, tuple(of.counts))
