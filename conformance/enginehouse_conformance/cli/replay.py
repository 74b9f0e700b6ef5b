"""`replay`: one rule of a report again, with the same requests."""

from __future__ import annotations

import asyncio
from pathlib import Path

import click

from enginehouse_conformance.report.text import details, printable
from enginehouse_conformance.results import Report, Result
from enginehouse_conformance.rules import PROFILES, RULES
from enginehouse_conformance.runner import Options, run_suite
from enginehouse_conformance.targets import UrlTarget
from enginehouse_conformance.verdicts import Verdict
from enginehouse_conformance.wire.client import Header

from .options import CannotTell, access_options, key_from, read_report, url_argument

_CODES = {Verdict.FAIL: 1, Verdict.ERROR: 2, Verdict.INCONCLUSIVE: 2}


def _optional_url(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    return None if value is None else url_argument(ctx, param, value)


@click.command()
@click.argument("path", metavar="REPORT", type=click.Path(path_type=Path))
@click.argument("rule", metavar="RULE")
@click.option("--url", callback=_optional_url, help="Ask this URL in place of the report's.")
@access_options
@click.option("--timeout", "timeout_s", type=click.FloatRange(min=0.1), default=60.0, show_default=True,
              help="Seconds to wait for an answer, or for its next piece.")  # fmt: skip
@click.pass_context
def replay(
    ctx: click.Context,
    path: Path,
    rule: str,
    url: str | None,
    key_env: str | None,
    headers: tuple[Header, ...],
    timeout_s: float,
) -> None:
    """Check RULE again as REPORT has it: the same target, profile, declaration and seed, so the same requests.

    Keys and headers are in no report: give them again. Exit code 0: it holds now (or does not apply), 1: it does
    not, 2: no verdict.
    """
    report = read_report(path)
    before = _result_of(report, rule.upper(), path)
    if report.target.kind != "url" and url is None:
        raise CannotTell(f"{path} is about a backend without a URL: run its tests again with the seed {report.seed}.")
    if report.profile not in PROFILES or before.rule not in RULES:
        raise CannotTell(f"{path} is of another version of the suite: its profile or rule is not known here.")
    target = UrlTarget(
        url or report.target.address,
        model=report.target.model,
        key=key_from(key_env),
        headers=headers,
        query=report.target.query,
        declared=report.declared,
        timeout_s=timeout_s,
    )
    options = Options(
        profile=report.profile,
        seed=report.seed,
        only=frozenset({before.rule}),
        audit=RULES[before.rule].audit,
        check_timeout_s=2 * timeout_s,
    )
    after = asyncio.run(run_suite(target, options)).results[0]
    click.echo(f"{before.rule} then: {before.verdict.value}  {printable(before.message)}".rstrip())
    click.echo("\n".join(details(after, with_answer=True)))
    ctx.exit(_CODES.get(after.verdict, 0))


def _result_of(report: Report, rule: str, path: Path) -> Result:
    for result in report.results:
        if result.rule == rule:
            return result
    raise CannotTell(f"{path} has no rule {rule}. It has {', '.join(result.rule for result in report.results)}.")
