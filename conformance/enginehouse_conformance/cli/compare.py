"""`diff`: two reports."""

from __future__ import annotations

from pathlib import Path

import click
import msgspec

from enginehouse_conformance.compare import Change, changes
from enginehouse_conformance.report.text import printable
from enginehouse_conformance.report.words import headline

from .options import columns, read_report

_PATH = click.Path(path_type=Path)
_SIGNS = {"better": "+", "worse": "-", "other": " "}


@click.command()
@click.argument("before", metavar="A.json", type=_PATH)
@click.argument("after", metavar="B.json", type=_PATH)
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
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
        click.echo(f"A: {printable(headline(old))}\nB: {printable(headline(new))}")
        if found:
            click.echo(columns(map(_row, found)))
        click.echo(_counts(found))
    ctx.exit(1 if found else 0)


def _row(change: Change) -> tuple[str, ...]:
    verdicts = f"{change.before or 'absent'} -> {change.after or 'absent'}"
    return _SIGNS[change.trend], change.rule, change.level, verdicts, printable(change.message)


def _counts(found: list[Change]) -> str:
    trends = [change.trend for change in found]
    return f"{len(found)} differ: {trends.count('better')} better, {trends.count('worse')} worse in B"
