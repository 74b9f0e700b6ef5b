"""How often a comparison is wrong: false alarms among equal things, misses of changed ones, and a mixture's probes.

The figures are of probes that were really asked; comparisons of 24 of them are drawn again and again (bootstrap), and
reruns are asked anew. A change that is *claimed* is one that the bands say to be told from the same arithmetic.
"""

from __future__ import annotations

import random
import statistics
from collections.abc import Callable, Sequence

import msgspec

from enginehouse.fleet.drift import Drift, of_distances
from enginehouse_conformance import Fingerprint, distance
from enginehouse_conformance.identity.bands import BAND_OF
from enginehouse_conformance.identity.measure import mean

OF = 24
DRAWS = 1000
MONTH_PROBES = 43_200.0
_SHARE = 0.1
_MOST = 5000


class Errors(msgspec.Struct, frozen=True, kw_only=True):
    """Of `draws` comparisons of 24 probes those that were beyond the band `arithmetic`, or had other prompt tokens."""

    draws: int
    told: int

    @property
    def missed(self) -> int:
        """Those that were within it."""
        return self.draws - self.told


def distances(reference: Fingerprint, found: Fingerprint) -> list[float]:
    """d of each prompt that both have; 1 where the prompt has another number of tokens."""
    others = {probe.prompt: probe for probe in found.probes}
    return [
        1.0 if probe.prompt_tokens != other.prompt_tokens else distance(probe.top, other.top)
        for probe in reference.probes
        if (other := others.get(probe.prompt)) is not None
    ]


def drawn(values: Sequence[float], draws: int = DRAWS, seed: int = 1) -> Errors:
    """The errors of *draws* comparisons of 24 of the probes whose distances are *values*."""
    dice, limit = random.Random(seed), BAND_OF["arithmetic"].limit
    told = sum(mean(dice.choices(values, k=OF)) > limit for _ in range(draws))
    return Errors(draws=draws, told=told)


def probes_until_told(draw: Callable[[], float], limit: float) -> int:
    """How many probes the watch needs to tell what *draw* gives."""
    drift = Drift(of_distances(limit), MONTH_PROBES)
    return next((number for number in range(1, _MOST) if drift.hear(draw())), _MOST)


def of_a_mixture(same: Sequence[float], other: Sequence[float], runs: int = 500) -> tuple[float, float]:
    """Probes until the watch tells that a tenth of the requests goes elsewhere: the median, and 99 % of *runs*."""
    dice, limit = random.Random(2), max(BAND_OF["arithmetic"].limit, *same)
    needed = sorted(
        probes_until_told(lambda: dice.choice(other) if dice.random() < _SHARE else dice.choice(same), limit)
        for _ in range(runs)
    )
    return statistics.median(needed), needed[-1 - runs // 100]


def of_a_change(same: Sequence[float], other: Sequence[float], runs: int = 500) -> tuple[float, float]:
    """The same where all requests go elsewhere."""
    dice, limit = random.Random(3), max(BAND_OF["arithmetic"].limit, *same)
    needed = sorted(probes_until_told(lambda: dice.choice(other), limit) for _ in range(runs))
    return statistics.median(needed), needed[-1 - runs // 100]
