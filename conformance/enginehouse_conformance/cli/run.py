"""`run`: the suite against a URL."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import shlex
import signal
import textwrap
from pathlib import Path
from typing import Any

import click

from enginehouse_conformance import report as reports
from enginehouse_conformance.declared import EXAMPLE, DeclarationError, Declared, read_declared
from enginehouse_conformance.report.text import summary_text
from enginehouse_conformance.results import Report, exit_code
from enginehouse_conformance.rules import AUDITS, RULES
from enginehouse_conformance.runner import Options, Run, selected_rules
from enginehouse_conformance.selection import SelectionError, read_skips
from enginehouse_conformance.targets import UrlTarget
from enginehouse_conformance.wire.client import Header
from enginehouse_conformance.wire.transcript import Redactor

from .options import (
    CannotTell,
    access_options,
    endpoints_option,
    key_from,
    profile_option,
    query_option,
    rules_option,
    url_argument,
)
from .progress import progress_for

_PATH = click.Path(path_type=Path)


_ENDING = (signal.SIGINT, signal.SIGTERM)
_ENDED = 128
"""Added to the number of a signal, the exit code of what it ended."""
_EPILOG = f"""\b
A declaration, of which every line may be left out:
{textwrap.indent(EXAMPLE, "  ").rstrip()}"""


@click.command(epilog=_EPILOG.replace("\n\n", "\n\n\b\n"))
@click.argument("url", callback=url_argument)
@click.option("--model", required=True, help="Model id to ask for, of those that URL/models lists.")
@profile_option
@click.option("--features", "declaration", type=_PATH,
              help="TOML file with what the target has, see below; else it is asked at /models.")  # fmt: skip
@click.option("--report", "folder", type=_PATH, help="Folder for the reports: JSON, JUnit, Markdown, HTML, badge.")
@click.option("--quick", is_flag=True, help="Only the quick core of the rules; the result is partial.")
@rules_option("Only these rules: ids, sections or patterns, with commas (STOP*,RF1). The result is partial.")
@click.option("--audit", type=click.Choice(AUDITS), help="The rules of this audit; with --rules, those named.")
@endpoints_option
@click.option("--skip", "skip_file", type=_PATH, help='TOML file of rules to leave out: RULE = "reason".')
@click.option("--strict", is_flag=True, help="SHOULD counts like MUST.")
@access_options
@click.option("--query", multiple=True, callback=query_option, metavar="NAME=VALUE", help="Query of every request.")
@click.option("--seed", type=click.IntRange(min=0), help="Seed of nonces and prompts; a fresh one unless given.")
@click.option("--timeout", "timeout_s", type=click.FloatRange(min=0.1), default=60.0, show_default=True,
              help="Seconds to wait for an answer, or for its next piece. A check may take twice as long.")  # fmt: skip
@click.option("--time-scale", type=click.FloatRange(0, 1e6, min_open=True, max_open=True), default=1.0,
              show_default=True, help="Multiply the time of each check, and the times that rules allow.")  # fmt: skip
@click.option("--concurrency", type=click.IntRange(1, 64), default=4, show_default=True, help="Checks at a time.")
@click.option("--hardware", help="What the target runs on, for the report.")
@click.option("--json", "as_json", is_flag=True, help="The canonical report on standard output.")
@click.pass_context
def run(
    ctx: click.Context,
    url: str,
    model: str,
    profile: str,
    declaration: Path | None,
    folder: Path | None,
    skip_file: Path | None,
    key_env: str | None,
    headers: tuple[Header, ...],
    query: dict[str, str],
    seed: int | None,
    timeout_s: float,
    time_scale: float,
    hardware: str | None,
    rules: frozenset[str] | None,
    audit: str | None,
    endpoints: frozenset[str] | None,
    quick: bool,
    strict: bool,
    concurrency: int,
    as_json: bool,
) -> None:
    """Run the suite against the API at URL, the part before /chat/completions.

    A declaration (--features) says what the target has; what it declares absent must be refused, not ignored.
    Without one it is what the target declares of the model at /models, as Enginehouse does, and where it does not,
    everything that the profile describes is claimed.

    Exit code 0: it conforms; 1: it does not; 2: no verdict, or wrong usage. Ended by Ctrl-C (130) or SIGTERM (143) it
    still says and writes what is known so far.
    """
    seed = secrets.randbelow(2**31) if seed is None else seed
    target = UrlTarget(
        url,
        model=model,
        key=key_from(key_env),
        headers=headers,
        query=query,
        declared=_declared(declaration),
        timeout_s=timeout_s,
        hardware=hardware,
    )
    options = Options(
        profile=profile,
        seed=seed,
        only=rules,
        endpoints=endpoints,
        audit=audit,
        quick=quick,
        strict=strict,
        skip=_skips(skip_file),
        concurrency=concurrency,
        check_timeout_s=2 * timeout_s,
        time_scale=time_scale,
        reproduce=_command(ctx.params, target, seed),
    )
    if not selected_rules(options):
        needed = sorted({f"--audit {RULES[name].audit}" for name in rules or () if RULES[name].audit})
        more = "" if audit is not None or not needed else f" Without {' and '.join(needed)} they are not run."
        raise CannotTell(f"None of the rules asked for is part of the profile {profile}.{more}")
    _prepare(folder)
    report, ended_by = _watched(target, options)
    _say(report, folder, as_json=as_json)
    ctx.exit(exit_code(report) if ended_by is None else _ENDED + ended_by)


def _watched(target: UrlTarget, options: Options) -> tuple[Report, signal.Signals | None]:
    """The report of a run that is shown while it goes on, and the signal that ended it early."""
    with progress_for(selected_rules(options)) as progress:
        return asyncio.run(_until_told(Run(target, options, on_start=progress.start, on_result=progress.result)))


async def _until_told(run: Run) -> tuple[Report, signal.Signals | None]:
    loop = asyncio.get_running_loop()
    caught: list[signal.Signals] = []

    def end(sign: signal.Signals) -> None:
        caught.append(sign)
        for each in _ENDING:
            loop.remove_signal_handler(each)  # a second one ends all at once
        run.interrupt(f"interrupted by {sign.name}")

    with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):  # on Windows, or in another thread
        for sign in _ENDING:
            loop.add_signal_handler(sign, end, sign)
    report = await run.whole()
    return report, caught[0] if caught else None


def _declared(path: Path | None) -> Declared | None:
    try:
        return None if path is None else read_declared(path)
    except DeclarationError as exc:
        raise CannotTell(f"--features: {exc}") from exc


def _skips(path: Path | None) -> dict[str, str]:
    try:
        return {} if path is None else read_skips(path)
    except SelectionError as exc:
        raise CannotTell(f"--skip: {exc}") from exc


def _prepare(folder: Path | None) -> None:
    """Make the folder of the reports before the run, not to find out after it that it cannot be made."""
    try:
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise CannotTell(f"--report: {folder}: {exc.strerror}") from exc


def _say(report: Report, folder: Path | None, *, as_json: bool) -> None:
    if as_json:
        click.echo(reports.encode(report), nl=False)
    else:
        click.echo(summary_text(report))
    if folder is None:
        return
    try:
        files = reports.write_report(report, folder)
    except reports.ReportError as exc:
        raise CannotTell(f"--report: {exc}") from exc
    click.echo(f"Reports: {', '.join(str(path) for path in files)}", err=as_json)


def _command(given: dict[str, Any], target: UrlTarget, seed: int) -> str:
    """The command that repeats this run, without secrets."""
    words = ["enginehouse-conformance", "run", given["url"], "--model", target.model, "--profile", given["profile"]]
    for option, name in (("--features", "declaration"), ("--skip", "skip_file"), ("--key-env", "key_env")):
        words += [option, str(given[name])] if given[name] is not None else []
    for name, value in Redactor((target.key or "",)).headers(given["headers"]):
        words += ["--header", f"{name}: {value}"]
    for name, value in given["query"].items():
        words += ["--query", f"{name}={value}"]
    if given["rules"] is not None:
        words += ["--rules", ",".join(sorted(given["rules"]))]
    words += ["--audit", given["audit"]] if given["audit"] is not None else []
    for name in sorted(given["endpoints"] or ()):
        words += ["--endpoint", name]
    words += ["--quick"] if given["quick"] else []
    words += ["--strict"] if given["strict"] else []
    words += ["--timeout", f"{given['timeout_s']:g}", "--concurrency", str(given["concurrency"])]
    words += ["--time-scale", f"{given['time_scale']:g}"] if given["time_scale"] != 1 else []
    return shlex.join([*words, "--seed", str(seed)])
