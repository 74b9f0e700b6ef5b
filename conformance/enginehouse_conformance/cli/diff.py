"""`diff`: two reports."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import click
import msgspec

from enginehouse_conformance.compare import Change, changes, conditions
from enginehouse_conformance.report.text import printable
from enginehouse_conformance.results import Report

from .options import columns, read_report

_PATH = click.Path(path_type=Path)
_SHOWN_CHARS = 110


@click.command()
@click.argument("before", metavar="A.json", type=_PATH)
@click.argument("after", metavar="B.json", type=_PATH)
@click.option("--json", "as_json", is_flag=True, help="As JSON, messages uncut.")
@click.pass_context
def diff(ctx: click.Context, before: Path, after: Path, as_json: bool) -> None:
    """Compare two reports, of two targets or of two dates: the rules that came out differently.

    Exit code 0: the same verdicts; 1: others.
    """
    old, new = read_report(before), read_report(after)
    found = changes(old, new)
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(found), indent=2))
    else:
        click.echo("\n".join(_lines(old, new, found)))
    ctx.exit(1 if found else 0)


def _lines(old: Report, new: Report, found: list[Change]) -> Iterator[str]:
    yield f"A: {_title(old)}"
    yield f"B: {_title(new)}"
    unlike = conditions(old, new)
    if unlike:
        yield f"The runs are not alike: {printable('; '.join(unlike))}."
    shared = [change for change in found if change.before and change.after]
    for trend, title in (("worse", "Better in A"), ("better", "Better in B"), ("other", "Otherwise different")):
        group = [change for change in shared if change.trend == trend]
        if group:
            yield f"\n{title}: {_levels(group)}"
            yield columns(map(_row, group))
    for letter, alone in (
        ("A", [change for change in found if change.after is None]),
        ("B", [change for change in found if change.before is None]),
    ):
        if alone:
            yield f"\nOnly in {letter}: {', '.join(f'{each.rule} {each.before or each.after}' for each in alone)}"
    trends = [change.trend for change in found]
    alike = len({result.rule for result in old.results} & {result.rule for result in new.results}) - len(shared)
    yield f"\n{alike} alike, {len(found)} differ: {trends.count('better')} better, {trends.count('worse')} worse in B"


def _title(report: Report) -> str:
    target, summary = report.target, report.summary
    server = f" ({target.server})" if target.server else ""
    counts = [(level, getattr(summary, level)) for level in ("must", "should", "may")]
    figures = ", ".join(f"{level} {count.passed}/{count.total}" for level, count in counts)
    return printable(f"{target.model} at {target.address}{server}, {report.started_at[:10]}: {figures}")


def _levels(group: list[Change]) -> str:
    counts = Counter(change.level for change in group)
    return ", ".join(f"{counts[level]} {level}" for level in ("MUST", "SHOULD", "MAY") if counts[level])


def _row(change: Change) -> tuple[str, ...]:
    message = printable(" ".join(change.message.split()))
    shown = message if len(message) <= _SHOWN_CHARS else f"{message[:_SHOWN_CHARS]}…"
    return f"  {change.rule}", change.level, f"{change.before} -> {change.after}", shown
