"""How far lists of log probabilities are apart: figures from figures, no requests.

A list (`Top`) holds the likeliest next tokens and their log probabilities. Where two lists come from the same raw
logits, tokens in both have the same values; where one of them was scaled or cut before the softmax, all of its values
lie on a line over the other's.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence

import msgspec

Top = Mapping[str, float]

FARTHEST = 1.0
"""Differences count no more than this, and lists without a common token are as far apart."""
_RESAMPLES = 2000
_EQUAL = 3e-3
_FAR = 0.02
_GAP = 10.0
_LEAST_NEAR = 3


def distance(one: Top, other: Top) -> float:
    """d: the mean absolute difference over the tokens in both lists, clipped at 1; none in common is 1."""
    common = one.keys() & other.keys()
    if not common:
        return FARTHEST
    return min(FARTHEST, sum(abs(one[token] - other[token]) for token in common) / len(common))


def mean(values: Sequence[float]) -> float:
    """The mean, to which each value counts: a median would not see that a tenth of the requests goes elsewhere."""
    return sum(values) / len(values)


def interval(values: Sequence[float], *, seed: int, level: float) -> tuple[float, float]:
    """The interval of the mean by the bootstrap (percentiles of 2,000 resamples), the same for the same *seed*."""
    dice = random.Random(seed)  # noqa: S311  # statistics
    means = sorted(mean(dice.choices(values, k=len(values))) for _ in range(_RESAMPLES))
    cut = round((1 - level) / 2 * _RESAMPLES)
    return means[cut], means[-1 - cut]


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """One side's values as a line over the other's, with an offset for each prompt.

    `offset` is the mean over prompts of the second side less the first where the slope is 1. The rests are what is left
    of the mean absolute difference: after the offsets alone, and after offsets and slope.
    """

    slope: float
    offset: float
    rest_after_offset: float
    rest: float


def line(pairs: Sequence[tuple[Top, Top]]) -> Line | None:
    """The line of least squares through the tokens in both lists of each pair; None where too few have any."""
    groups = [[(one[token], other[token]) for token in one.keys() & other.keys()] for one, other in pairs]
    groups = [group for group in groups if len(group) > 2]
    centred: list[tuple[float, float]] = []
    offsets = []
    for group in groups:
        middle = mean([x for x, _ in group]), mean([y for _, y in group])
        offsets.append(middle[1] - middle[0])
        centred += [(x - middle[0], y - middle[1]) for x, y in group]
    spread = sum(x * x for x, _ in centred)
    if not spread:
        return None
    slope = sum(x * y for x, y in centred) / spread
    return Line(
        slope=slope,
        offset=mean(offsets),
        rest_after_offset=mean([abs(y - x) for x, y in centred]),
        rest=mean([abs(y - slope * x) for x, y in centred]),
    )


def far_ones(distances: Sequence[float]) -> list[int]:
    """Which of *distances* part from the others, if those are equal: what a mixture of two models looks like.

    The others are at most 3e-3 (the same weights), at least three, and ten times nearer than the nearest of the far.
    """
    order = sorted(range(len(distances)), key=distances.__getitem__)
    for cut in range(_LEAST_NEAR, len(order)):
        near, far = distances[order[cut - 1]], distances[order[cut]]
        if near > _EQUAL:
            break
        if far >= max(_FAR, _GAP * near):
            return sorted(order[cut:])
    return []
