"""How far a run is, and about how long it will go on."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from enginehouse_conformance.registry import all_checks
from enginehouse_conformance.rules import Rule

_ALONE = 4
"""A check that runs alone counts like so many others: it takes the place of those that run at a time."""
_KNOWN = 0.05
"""Nothing is told before that part is done: the first results are of rules that ask little."""


class Estimate:
    """Counts the *rules* of a run as they are done; *clock* gives seconds."""

    def __init__(self, rules: Sequence[Rule], clock: Callable[[], float] = time.monotonic) -> None:
        checks = all_checks()
        self._weights = {rule.id: _ALONE if rule.id in checks and checks[rule.id].exclusive else 1 for rule in rules}
        self._total = sum(self._weights.values())
        self._left = dict(self._weights)
        self._clock = clock
        self._began = clock()

    @property
    def elapsed_s(self) -> float:
        """Seconds since the run began."""
        return self._clock() - self._began

    def done(self, rule: str) -> None:
        """*rule* has its result."""
        self._left.pop(rule, None)

    def words(self) -> str:
        """As "120 of 326 rules after 0:35, about 1:10 left"."""
        done = (
            f"{len(self._weights) - len(self._left)} of {len(self._weights)} rules after {_clock_time(self.elapsed_s)}"
        )
        part = 1 - sum(self._left.values()) / self._total if self._total else 1.0
        if part < _KNOWN or not self._left:
            return done
        return f"{done}, about {_clock_time(self.elapsed_s * (1 - part) / part)} left"


def _clock_time(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
