"""Sequential tests: what was asked for against what may be done in its place.

For each alternative the evidence is the product, over the tokens drawn, of what the alternative gives the token over
the most that what was asked for gives it. If the target is right, no such product grows on average, whatever came
before; so the mean of them ever reaches a million with a chance of at most one in a million, however often one looks
(Ville's inequality). The other way round, an alternative is ruled out where what was asked for is far likelier than it.

Source: Ramdas, Grünwald, Vovk, Shafer, Game-theoretic statistics and safe anytime-valid inference, 2023.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from .chances import Position, Settings, estimate, limits

FALSE_ALARM = 1e-6
"""The chance that a right target is said not to do what was asked for."""
FALSE_PASS = 1e-3
"""About the chance that an alternative is ruled out although it is what the target does."""
_RAW_SHARE = 0.01
"""Of each alternative so much is the raw probability, so that a token at an edge does not rule it out."""


class Trial:
    """The evidence of one setting: *asked* is what was asked for, *others* by name what may be done in its place."""

    def __init__(self, asked: Settings, others: Mapping[str, Settings]) -> None:
        self.asked = asked
        self.others = dict(others)
        self.tokens = 0
        self._against = dict.fromkeys(self.others, 0.0)
        self._for = dict.fromkeys(self.others, 0.0)

    def add(self, position: Position) -> None:
        """Take a drawn token into account."""
        self.tokens += 1
        at = position.drawn
        raw = (*position.likeliest, position.rest)
        most = limits(position, self.asked)[at]
        usual = (1 - _RAW_SHARE) * estimate(position, self.asked)[at] + _RAW_SHARE * raw[at]
        for name, settings in self.others.items():
            given = (1 - _RAW_SHARE) * estimate(position, settings)[at] + _RAW_SHARE * raw[at]
            self._against[name] += math.log(given / most)
            self._for[name] += math.log(usual / given)

    def end_early(self) -> None:
        """An answer ended by itself: the end was drawn and not told.

        An end that is not among the likeliest makes each of them likelier among what is told than it is said to be. It
        counts as a token of the rest would at least, so that the product still does not grow on average.
        """
        for name in self.others:
            self._against[name] += math.log(_RAW_SHARE)

    @property
    def evidence(self) -> float:
        """The logarithm of the mean of the products against what was asked for."""
        most = max(self._against.values())
        return most + math.log(sum(math.exp(value - most) for value in self._against.values()) / len(self._against))

    @property
    def is_refuted(self) -> bool:
        """Whether it is not what was asked for, at `FALSE_ALARM`."""
        return self.evidence >= -math.log(FALSE_ALARM)

    @property
    def likeliest(self) -> str:
        """The alternative that fits best."""
        return max(self._against, key=self._against.__getitem__)

    @property
    def ruled_out(self) -> Sequence[str]:
        """The alternatives that it is not, at `FALSE_PASS`."""
        return [name for name, value in self._for.items() if value >= -math.log(FALSE_PASS)]

    @property
    def is_settled(self) -> bool:
        """Whether there is nothing more to find out."""
        return self.is_refuted or len(self.ruled_out) == len(self.others)
