"""Whether an endpoint's answers have changed, by one probe after another: a sequential test. Pure.

Each probe either counts or does not: it is farther from the baseline than the baseline's own reruns were (`hear`), or
its text is another one. Bets are made on that, each between a share of probes that count once something has changed and
the most that may count where nothing has. The evidence of a bet grows by the logarithm of how much likelier a probe is
by the first than by the second, and never falls below none (CUSUM), so that a change is found whenever it comes. Where
nothing has changed, evidence e comes up once in exp(e) probes at most, on average.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import msgspec


class Bet(msgspec.Struct, frozen=True):
    """Probes farther than `above` count: a share of `changed` where something has changed, else `unchanged` at most."""

    above: float
    changed: float
    unchanged: float

    def gain(self, counts: bool) -> float:  # whether it does is what the probe says
        """What a probe adds to the evidence."""
        if counts:
            return math.log(self.changed / self.unchanged)
        return math.log((1 - self.changed) / (1 - self.unchanged))


WHOLE: Final = (0.9, 0.05)
"""Something answers otherwise always: nine in ten probes are beyond the 95 % quantile of the baseline."""
PART: Final = (0.1, 0.005)
"""A tenth of the requests goes elsewhere, and is then ten times farther than any rerun of the baseline was."""
TEXTS: Final = ((0.9, 0.05), (0.3, 0.02))
"""For texts alone: nearly all differ, or three in ten."""
_FAR: Final = 10.0
_LEAST_FAR: Final = 0.02


def of_distances(limit: float) -> tuple[Bet, ...]:
    """Bets on distances, of which *limit* is the 95 % quantile while nothing changes."""
    return Bet(limit, *WHOLE), Bet(max(_LEAST_FAR, _FAR * limit), *PART)


def of_texts() -> tuple[Bet, ...]:
    """Bets on texts: a probe is 1 where the text is another one, else 0."""
    return tuple(Bet(0.5, *bet) for bet in TEXTS)


class Drift:
    """The evidence that answers have changed, by *bets*, with one false alarm in *probes* probes at most, on average.

    `heard` counts the probes since the evidence was none, and `counted` those of them that count.
    """

    def __init__(self, bets: Sequence[Bet], probes: float) -> None:
        self.level = math.log(len(bets) * probes)  # each bet may be wrong
        self.heard = self.counted = 0
        self._bets = tuple(bets)
        self._evidence = [0.0] * len(bets)

    def hear(self, distance: float) -> bool:
        """Take a probe at *distance* into account; returns whether there is enough evidence for an alarm."""
        for at, bet in enumerate(self._bets):
            self._evidence[at] = max(0.0, self._evidence[at] + bet.gain(distance > bet.above))
        if not any(self._evidence):
            self.heard = self.counted = 0
        else:
            self.heard += 1
            self.counted += distance > self._bets[0].above
        return max(self._evidence) >= self.level

    @property
    def is_suspicious(self) -> bool:
        """Whether there is any evidence."""
        return any(self._evidence)
