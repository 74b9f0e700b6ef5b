"""`enginehouse usage`."""

from __future__ import annotations

import time

import click

from enginehouse.cli.shared.output import print_json, print_table
from enginehouse.cli.shared.setup import config_option, json_option, read_config

_EPILOG = """\b
Examples:
  enginehouse usage --config enginehouse.toml
  enginehouse usage --config enginehouse.toml --days 30 --json
"""


@click.command(epilog=_EPILOG)
@config_option
@click.option("--days", type=click.FloatRange(min=0, min_open=True), help="Count the last days only.")
@json_option
def command(config_file: str | None, days: float | None, as_json: bool) -> None:
    """Add up the tokens that each key and model took, from the file that [usage] names.

    It may be read while the server runs, and is not changed: what ran when a server was killed is added when one next
    starts.
    """
    from enginehouse.accounts import totals
    from enginehouse.config import ConfigError

    config = read_config(config_file)
    if config.usage.path is None:
        raise ConfigError(
            "no usage is kept.",
            file=config.file,
            where="usage.path",
            fix='Name a file in the configuration: [usage] path = "usage.db".',
        )
    rows = totals(config.usage.path, since=time.time() - days * 86_400 if days is not None else 0.0)
    if as_json:
        print_json(rows)
        return
    print_table(
        ("KEY", "MODEL", "REQUESTS", "PROMPT", "CACHED", "COMPLETION", "REASONING"),
        (
            (
                row.key or "-",
                row.model,
                str(row.requests),
                str(row.prompt_tokens),
                str(row.cached_tokens),
                str(row.completion_tokens),
                str(row.reasoning_tokens),
            )
            for row in rows
        ),
    )
