"""What is seen while a run goes on: a live table on a terminal, plain lines elsewhere. Both on standard error."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Protocol

import click
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from enginehouse_conformance.report.words import UNSETTLED
from enginehouse_conformance.results import NOT_ASKED, Result
from enginehouse_conformance.rules import SECTIONS, Rule
from enginehouse_conformance.verdicts import Verdict

from .estimate import Estimate

_STYLES = {
    Verdict.PASS: "green",
    Verdict.FAIL: "bold red",
    Verdict.ERROR: "magenta",
    Verdict.INCONCLUSIVE: "yellow",
    Verdict.UNSUPPORTED: "blue",
}
_SHOWN_PROBLEMS = 8
_TOLD_EVERY_S = 15.0


class Progress(AbstractContextManager["Progress"], Protocol):
    """Told what happens during a run."""

    def start(self, rule: Rule) -> None:
        """The check of *rule* begins."""

    def result(self, result: Result) -> None:
        """A check has ended."""


def progress_for(rules: Sequence[Rule]) -> Progress:
    """A table where standard error is a terminal and no CI is at work, else lines."""
    console = Console(stderr=True)
    if console.is_terminal and not console.is_dumb_terminal and not os.environ.get("CI"):
        return LiveTable(rules, console)
    return Lines(rules)


class Lines(Progress):
    """A line for each result, and now and then one that says how long it will go on."""

    def __init__(self, rules: Sequence[Rule], estimate: Estimate | None = None) -> None:
        self._total = len(rules)
        self._done = 0
        self._estimate = estimate or Estimate(rules)
        self._told_s = 0.0
        self._unasked = 0

    def __exit__(self, *exc_info: object) -> None:
        """Say how many rules were not asked, of which one was shown."""
        if self._unasked > 1:
            click.echo(f"-- {self._unasked - 1} more rules not asked either", err=True)

    def start(self, rule: Rule) -> None:
        """Nothing is said before there is a result."""

    def result(self, result: Result) -> None:
        """Say it."""
        self._done += 1
        position = f"[{self._done:{len(str(self._total))}}/{self._total}]"
        line = f"{position} {result.verdict.value:<14} {result.rule:<7} {result.level:<6} {result.duration_s:7.2f} s"
        said = result.message or "; ".join(result.notes)
        if result.provisional and result.verdict in UNSETTLED:
            said = f"provisional, counts in no outcome; {said}"
        self._estimate.done(result.rule)
        if is_unasked(result):  # the reason is the same for all of them, and said once
            self._unasked += 1
            if self._unasked > 1:
                return
        click.echo(f"{line}  {_one_line(said)}".rstrip(), err=True)
        if self._done < self._total and self._estimate.elapsed_s - self._told_s >= _TOLD_EVERY_S:
            self._told_s = self._estimate.elapsed_s
            click.echo(f"-- {self._estimate.words()}", err=True)


class LiveTable(Progress):
    """Sections with their counts, how far it is, the checks that run now, and the last problems."""

    def __init__(self, rules: Sequence[Rule], console: Console) -> None:
        self._totals = Counter(rule.section for rule in rules)
        self._counts: dict[str, Counter[Verdict]] = {section: Counter() for section in self._totals}
        self._estimate = Estimate(rules)
        self._running: list[str] = []
        self._problems: list[Result] = []
        self._has_unasked = False
        self._live = Live(console=console, get_renderable=self._render, refresh_per_second=8, transient=True)

    def __enter__(self) -> LiveTable:
        self._live.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._live.stop()

    def start(self, rule: Rule) -> None:
        """Show it among those that run."""
        self._running.append(rule.id)

    def result(self, result: Result) -> None:
        """Count it."""
        self._running.remove(result.rule)
        self._estimate.done(result.rule)
        self._counts[result.section][result.verdict] += 1
        if result.verdict in UNSETTLED and not (is_unasked(result) and self._has_unasked):
            self._problems.append(result)
            self._has_unasked |= is_unasked(result)

    def _render(self) -> Group:
        table = Table(box=None, pad_edge=False)
        for name in ("section", "done", "pass", "fail", "unclear", "unsupported", "other"):
            table.add_column(name, justify="left" if name == "section" else "right")
        for section, total in self._totals.items():
            table.add_row(*_cells(section, total, self._counts[section]))
        running = Text(f"running: {', '.join(self._running) or '-'}", overflow="ellipsis", no_wrap=True)
        return Group(table, Text(self._estimate.words()), running, *map(_problem, self._problems[-_SHOWN_PROBLEMS:]))


def _cells(section: str, total: int, counts: Counter[Verdict]) -> list[Text]:
    unclear = counts[Verdict.INCONCLUSIVE] + counts[Verdict.ERROR]
    other = counts[Verdict.NOT_APPLICABLE] + counts[Verdict.DISABLED] + counts[Verdict.INFO]
    cells = [
        Text(SECTIONS[section].title),
        Text(f"{counts.total()}/{total}", style="" if counts.total() == total else "dim"),
    ]
    for count, verdict in (
        (counts[Verdict.PASS], Verdict.PASS),
        (counts[Verdict.FAIL], Verdict.FAIL),
        (unclear, Verdict.INCONCLUSIVE),
        (counts[Verdict.UNSUPPORTED], Verdict.UNSUPPORTED),
    ):
        cells.append(Text(str(count or "·"), style=_STYLES[verdict] if count else "dim"))
    return [*cells, Text(str(other or "·"), style="dim")]


def is_unasked(result: Result) -> bool:
    """Whether the check of *result* was not even begun, because the target cannot be asked."""
    return result.verdict is Verdict.ERROR and not result.requests and result.message.startswith(NOT_ASKED)


def _problem(result: Result) -> Text:
    provisional = " (provisional)" if result.provisional else ""
    text = Text(
        f"{result.verdict.value} {result.rule}{provisional}",
        style=_STYLES[result.verdict],
        overflow="ellipsis",
        no_wrap=True,
    )
    return text.append(f"  {_one_line(result.message)}", style="default")


def _one_line(text: str) -> str:
    """*text* on one line, control characters escaped: a target's words must not drive the terminal."""
    line = "".join(char if char.isprintable() else ascii(char)[1:-1] for char in " ".join(text.split()))
    return line if len(line) <= 300 else f"{line[:300]}…"
