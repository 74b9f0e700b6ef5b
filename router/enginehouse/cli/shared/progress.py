"""Progress on standard error: a bar on a terminal, a line per stage and tenth elsewhere."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from enginehouse.cli.shared.output import size
from enginehouse.weights import Progress

if TYPE_CHECKING:
    from rich.progress import Progress as Bar
    from rich.progress import TaskID


@contextlib.contextmanager
def showing(what: str) -> Iterator[Progress]:
    """Show the progress of fetching *what* while the block runs."""
    if not sys.stderr.isatty():
        yield Lines(what)
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn, TransferSpeedColumn
    from rich.progress import Progress as RichProgress

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with RichProgress(*columns, TimeRemainingColumn(), console=Console(stderr=True)) as bar:
        yield Bars(what, bar)


class Bars(Progress):
    """A bar for each stage."""

    def __init__(self, what: str, bar: Bar) -> None:
        self._what = what
        self._bar = bar
        self._tasks: dict[str, TaskID] = {}

    def note(self, text: str) -> None:
        """Print *text* above the bars."""
        self._bar.console.print(text, markup=False, highlight=False)

    def advance(self, stage: str, done_bytes: int, total_bytes: int | None) -> None:
        """Move the bar of *stage*."""
        if stage not in self._tasks:
            for task in self._tasks.values():
                total = next(known.total for known in self._bar.tasks if known.id == task)
                self._bar.update(task, completed=total or 0)
            self._tasks[stage] = self._bar.add_task(f"{self._what}: {stage}", total=total_bytes)
        self._bar.update(self._tasks[stage], completed=done_bytes, total=total_bytes)


class Lines(Progress):
    """Plain lines, few enough for a log file."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._last: tuple[str, int] | None = None

    def note(self, text: str) -> None:
        """Print *text*."""
        click.echo(text, err=True)

    def advance(self, stage: str, done_bytes: int, total_bytes: int | None) -> None:
        """Print a line for a new stage, and for each tenth of it."""
        tenth = done_bytes * 10 // total_bytes if total_bytes else 0
        if (stage, tenth) == self._last:
            return
        self._last = (stage, tenth)
        of = f" of {size(total_bytes)}" if total_bytes else ""
        click.echo(f"{self._what}: {stage} {size(done_bytes)}{of}", err=True)
