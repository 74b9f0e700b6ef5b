"""What each of the likeliest tokens, and all the rest as one, is drawn with under settings: figures from figures.

Only the likeliest tokens are known one by one, so a drawn token falls into one of the buckets {each of them, the rest}.
Of the rest only the sum is known. What must be true of a right target is therefore an upper limit for each bucket; what
is only compared with it may be an estimate.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec

from enginehouse_conformance.answer import TokenEntry

_LEAST_REST = 1e-6
_SHARE_SLACK = 0.01
_LOG_SLACK = 0.02
"""How far what is told may be from what is drawn by, where a token is at the edge of what is kept."""
_LEAST_SHARE = 1e-3
"""A bucket that a setting forbids may still come with so much of its raw probability: one token proves nothing."""
_TAIL = 0.6
"""A token behind the last one that is known has about so much of its probability."""


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """How tokens are drawn; what is not said changes nothing."""

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0


class Position(msgspec.Struct, frozen=True):
    """One drawn token: the raw probabilities of the likeliest, descending, that of the rest, and which was drawn.

    `drawn` is the place among the likeliest, or their number for the rest.
    """

    likeliest: tuple[float, ...]
    rest: float
    drawn: int


def position_of(entry: TokenEntry, known: int) -> Position | None:
    """*entry* as buckets, *known* of the likeliest and the rest; None where it has no alternatives.

    Tokens that are written alike are one bucket. A server may tell the drawn token beside the likeliest or in place of
    the last of them, so how many are known must not depend on which was drawn.
    """
    found: dict[bytes | str, float] = {}
    for other in entry.top:
        name = other.token if other.token_bytes is None else other.token_bytes
        found[name] = found.get(name, 0.0) + math.exp(other.logprob)
    if not found:
        return None
    names = sorted(found, key=found.__getitem__, reverse=True)[:known]
    drawn = entry.token if entry.token_bytes is None else entry.token_bytes
    return Position(
        tuple(found[name] for name in names),
        max(_LEAST_REST, 1 - sum(found[name] for name in names)),
        names.index(drawn) if drawn in names else len(names),
    )


def limits(position: Position, settings: Settings) -> list[float]:
    """The most that each bucket can have under *settings*, with temperatures of at most 1, where the target is right.

    Below a temperature of 1 the rest is no more than if each token of it were as likely as the last that is known.
    """
    heat, raw = settings.temperature, position.likeliest
    if heat > 1:
        raise ValueError("above a temperature of 1 nothing limits the rest")
    if heat == 0:
        return _with_least([float(at == 0 or _is_near(raw[at], raw[0])) for at in range(len(raw))] + [0.0], position)
    weights = [value ** (1 / heat) for value in raw]
    rest = position.rest if heat == 1 else position.rest * raw[-1] ** (1 / heat - 1)
    surely, perhaps = _kept(position, settings)
    least_rest, most_rest = _rest_kept(position, settings)
    least_rest = least_rest if heat == 1 else 0.0
    found = []
    for at, weight in enumerate(weights):
        least = sum(weights[other] for other in surely | {at})
        found.append(weight / (least + least_rest) if at in perhaps else 0.0)
    most = min(rest, most_rest)
    found.append(most / (sum(weights[at] for at in surely) + most))
    return _with_least(found, position)


def _is_near(one: float, other: float) -> bool:
    return abs(math.log(one / other)) <= _LOG_SLACK


def _with_least(chances: Sequence[float], position: Position) -> list[float]:
    raw = (*position.likeliest, position.rest)
    return [max(chance, _LEAST_SHARE * value) for chance, value in zip(chances, raw, strict=True)]


def _kept(position: Position, settings: Settings) -> tuple[set[int], set[int]]:
    """Which of the likeliest are surely kept by top_k, top_p and min_p, and which may be: those at an edge."""
    raw = position.likeliest
    surely, perhaps = set(range(len(raw))), set(range(len(raw)))
    if 0 < settings.top_k < len(raw):
        last, first_left_out = raw[settings.top_k - 1], raw[settings.top_k]
        perhaps = {at for at, value in enumerate(raw) if value >= last or _is_near(value, last)}
        surely = {at for at in range(settings.top_k) if not _is_near(raw[at], first_left_out)}
    if settings.min_p:
        least = math.log(settings.min_p * raw[0])
        surely &= {at for at, value in enumerate(raw) if math.log(value) >= least + _LOG_SLACK}
        perhaps &= {at for at, value in enumerate(raw) if math.log(value) >= least - _LOG_SLACK}
    if settings.top_p < 1:
        before = 0.0
        for at, value in enumerate(raw):
            surely -= {at} if before >= settings.top_p - _SHARE_SLACK else set()
            perhaps -= {at} if before >= settings.top_p + _SHARE_SLACK else set()
            before += value
    return surely | {0}, perhaps | {0}


def _rest_kept(position: Position, settings: Settings) -> tuple[float, float]:
    """The least and the most of the rest's raw probability that top_k, top_p and min_p keep."""
    raw, rest = position.likeliest, position.rest
    if 0 < settings.top_k <= len(raw):
        return 0.0, 0.0
    if settings.min_p and raw[-1] < settings.min_p * raw[0] * math.exp(-_LOG_SLACK):
        return 0.0, 0.0
    if settings.top_p < 1:
        missing = settings.top_p - sum(raw)
        most = min(rest, missing + _SHARE_SLACK + raw[-1]) if missing > -_SHARE_SLACK else 0.0
        return max(0.0, missing - _SHARE_SLACK), most
    return 0.0 if settings.top_k or settings.min_p else rest, rest


def estimate(position: Position, settings: Settings) -> list[float]:
    """About what each bucket has under *settings*, whatever they are; sums to 1."""
    raw, heat = position.likeliest, settings.temperature
    if heat == 0:
        return [1.0, *[0.0] * len(raw)]
    behind = max(1.0, position.rest / (_TAIL * raw[-1]))  # tokens of the rest, as if all were alike
    weights = [value ** (1 / heat) for value in raw]
    rest = behind * (position.rest / behind) ** (1 / heat)
    if settings.top_k:
        weights = [weight if at < settings.top_k else 0.0 for at, weight in enumerate(weights)]
        rest *= min(1.0, max(0, settings.top_k - len(raw)) / behind)
    if settings.min_p:
        least = settings.min_p * raw[0]
        weights = [weight if value >= least else 0.0 for weight, value in zip(weights, raw, strict=True)]
        rest *= 1.0 if position.rest / behind >= least else 0.0
    if settings.top_p < 1:
        left = settings.top_p
        for at, value in enumerate(raw):
            weights[at] = weights[at] if left > 0 else 0.0
            left -= value
        rest *= min(1.0, max(0.0, left) / position.rest)
    total = sum(weights) + rest
    return [weight / total for weight in (*weights, rest)]
