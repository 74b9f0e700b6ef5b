"""`enginehouse config check`."""

from __future__ import annotations

import click

from enginehouse.cli.shared.groups import Group
from enginehouse.cli.shared.setup import set_up

_EPILOG = """\b
Example:
  enginehouse config check enginehouse.toml
"""


@click.group(cls=Group, epilog=_EPILOG)
def command() -> None:
    """Check a configuration."""


@command.command("check", epilog=_EPILOG)
@click.argument("file")
def check(file: str) -> None:
    """Say whether FILE can be used on this host, without starting anything.

    A model without a place on this host is told, but is no error: one file may serve a mixed fleet.
    """
    setup = set_up(file)
    for name, plan in setup.plans.items():
        if not plan.instances:
            click.echo(f"{name}: no place on this host (see 'enginehouse explain {name} --config {file}')", err=True)
    click.echo(f"{file} is fine: {len(setup.plans)} models, {len(setup.config.keys)} keys.")
