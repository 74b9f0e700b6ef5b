"""`render`: a report in a form for people or for other programs."""

from __future__ import annotations

from pathlib import Path

import click

from enginehouse_conformance.report import FORMS, encode
from enginehouse_conformance.results import compact

from .options import CannotTell, read_report

_COMPACT = "compact"
_PATH = click.Path(path_type=Path)


@click.command()
@click.argument("path", metavar="REPORT", type=_PATH)
@click.option("--format", "form", type=click.Choice([*FORMS, _COMPACT]), required=True, help="What to make of it.")
@click.option("-o", "--output", type=_PATH, help="File to write, instead of standard output.")
def render(path: Path, form: str, output: Path | None) -> None:
    """Make something else of REPORT, a report.json or its folder.

    `md` and `html` are for people, `junit` is for CI systems, `badge` for a README, and `compact` is the JSON itself
    without transcripts and times of single rules, to be kept.
    """
    report = read_report(path)
    data = encode(compact(report)) if form == _COMPACT else FORMS[form][1](report).encode("utf-8", "replace")
    if output is None:
        click.echo(data, nl=False)
        return
    try:
        output.write_bytes(data)
    except OSError as exc:
        raise CannotTell(f"--output: {output}: {exc.strerror}") from exc
