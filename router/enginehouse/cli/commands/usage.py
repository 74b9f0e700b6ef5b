"""`enginehouse usage`."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from enginehouse.cli.shared.numbers import Number
from enginehouse.cli.shared.output import print_json, print_table
from enginehouse.cli.shared.setup import config_option, json_option, read_config

if TYPE_CHECKING:
    from enginehouse.accounts import By

_EPILOG = """\b
Examples:
  enginehouse usage --config enginehouse.toml
  enginehouse usage --config enginehouse.toml --days 30 --json
  enginehouse usage --config enginehouse.toml --by day --by key
"""
_BY: tuple[By, ...] = ("key", "model")


@click.command(epilog=_EPILOG)
@config_option
@click.option("--days", type=Number(min=0, min_open=True), help="Count the last days only.")
@click.option(
    "--by",
    multiple=True,
    type=click.Choice(["key", "model", "host", "day"]),
    help="What it is told apart by, once or several times; without it, key and model. Days are those of UTC.",
)
@json_option
def command(config_file: str | None, days: float | None, by: tuple[By, ...], as_json: bool) -> None:
    """Add up the tokens that each key and model took, from the database that [accounts] names, and what they cost.

    It may be read while servers run, and is not changed: what ran when a server was killed is added by the next one
    that starts, or by another that shares the database.
    """
    from enginehouse.accounts import totals

    config = read_config(config_file)
    apart = tuple(dict.fromkeys(by)) or _BY
    rows = totals(config, since=time.time() - days * 86_400 if days is not None else 0.0, by=apart)
    if as_json:
        print_json(rows)
        return
    has_cost = any(row.cost != "0" for row in rows)
    print_table(
        (
            *(name.upper() for name in apart),
            "REQUESTS", "PROMPT", "CACHED", "COMPLETION", "REASONING", *(["COST"] if has_cost else ()),
        ),
        (
            (
                *(getattr(row, name) or "-" for name in apart),
                str(row.requests),
                str(row.prompt_tokens),
                str(row.cached_tokens),
                str(row.completion_tokens),
                str(row.reasoning_tokens),
                *([row.cost] if has_cost else ()),
            )
            for row in rows
        ),
    )  # fmt: skip
