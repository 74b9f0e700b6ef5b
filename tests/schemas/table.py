"""Verdicts by keyword and judge, as a table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

ALL = "~ all"
"""The row of all schemas, the last one."""


class Table:
    """Counts verdicts; `lines` prints them: enforced, and behind `!` unsound, of how many schemas."""

    def __init__(self, judges: Iterable[str]) -> None:
        self._judges = tuple(judges)
        self._counts: dict[str, dict[str, Counter[str]]] = {}

    def add(self, rows: Iterable[str], judge: str, outcome: str) -> None:
        """Count *outcome* of *judge* in each of *rows*."""
        for row in rows:
            self._counts.setdefault(row, {}).setdefault(judge, Counter())[outcome] += 1

    def counts(self, row: str, judge: str) -> Counter[str]:
        """What *judge* came to in *row*."""
        return self._counts.get(row, {}).get(judge, Counter())

    def lines(self, title: str) -> list[str]:
        """The table."""
        head = f"{title:44} {'schemas':>7} " + " ".join(f"{judge:>12}" for judge in self._judges)
        out = [head, "-" * len(head)]
        for row in sorted(self._counts):
            of_row = [self.counts(row, judge) for judge in self._judges]
            cells = [f"{found['enforced']}" + (f" !{found['unsound']}" if found["unsound"] else "") for found in of_row]
            total = max(found.total() for found in of_row)
            out.append(f"{row:44} {total:7} " + " ".join(f"{cell:>12}" for cell in cells))
        return out
