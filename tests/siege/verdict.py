"""What came of a scenario."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field


@dataclass
class Verdict:
    """Counts of what was tried and seen, and a line for each thing that must not be."""

    name: str
    counts: dict[str, float | int | str] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)

    def expect(self, holds: bool, otherwise: str) -> bool:
        """Note *otherwise* as a failure unless it *holds*; returns whether it does."""
        if not holds:
            self.failures.append(otherwise)
        return holds

    def count(self, name: str, by: int = 1) -> None:
        """Add *by* to a count."""
        self.counts[name] = int(self.counts.get(name, 0)) + by

    def text(self) -> str:
        """The verdict for people: a line of its own for each count and for the first failures."""
        lines = [f"{'FELL' if self.failures else 'held'}  {self.name}"]
        lines += [f"      {name}: {value}" for name, value in self.counts.items()]
        lines += [f"    ! {line}" for line in self.failures[:_SHOWN]]
        lines += [f"    ! … {len(self.failures)} in all"] if len(self.failures) > _SHOWN else []
        return "\n".join(lines)


_SHOWN = 20

Scenario = Callable[[Verdict], Awaitable[None]]
"""Brings up what it needs, tries it, takes it down again, and writes down what came of it."""


@dataclass
class Size:
    """How much a scenario with a size does; set by the command line before any begins."""

    is_full: bool = False
    minutes: float = 1.0
    requests: int | None = None
    ends_at: float = math.inf
    """When a soak ends with what it has, by the monotonic clock."""

    def of(self, ordinary: int, full: int) -> int:
        """The one of both that is asked for, unless a number of requests is named."""
        return self.requests or (full if self.is_full else ordinary)


SIZE = Size()
