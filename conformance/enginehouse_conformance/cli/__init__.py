"""The command line `enginehouse-conformance`.

Exit codes of `run` and `replay`: 0 conforms, 1 does not, 2 the harness could not tell. Of `diff`: 0 the same
verdicts, 1 others. Of `compare`: 0 within the band asked for, 1 farther apart, 2 could not be compared. Wrong usage is
2, an interruption 130; a `run` that SIGTERM ended is 143.
"""

from __future__ import annotations

import sys
from importlib.metadata import version

import click

from .diff import diff
from .explain import explain
from .identity import compare, fingerprint
from .listing import list_features, list_rules
from .render import render
from .replay import replay
from .run import run

_INTERRUPTED = 130


@click.group(
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit codes: 0 conforms, 1 does not, 2 no verdict or wrong usage, 130 or 143 interrupted.",
)
@click.version_option(version("enginehouse-conformance"), prog_name="enginehouse-conformance")
def cli() -> None:
    """Which parts of an API does an endpoint really honour: chat, Responses, Messages, completions, Ollama?"""


for command in (run, list_rules, list_features, explain, diff, render, replay, compare, fingerprint):
    cli.add_command(command)


def main() -> None:
    """Run the command line; every end is an exit code and a sentence, never a traceback."""
    sys.exit(_code())


def _code() -> int:
    try:
        return int(cli.main(standalone_mode=False) or 0)
    except click.ClickException as exc:
        exc.show()
        return 2
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        return _INTERRUPTED
    except Exception as exc:  # noqa: BLE001  # the outermost handler
        click.echo(
            f"The suite itself broke, which says nothing about the target: {type(exc).__name__}: {exc}", err=True
        )
        return 2
