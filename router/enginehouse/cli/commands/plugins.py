"""`enginehouse plugins`."""

from __future__ import annotations

import click

from enginehouse.cli.shared.output import print_json, print_table
from enginehouse.cli.shared.setup import json_option, load_plugins


@click.command()
@json_option
def command(as_json: bool) -> None:
    """List the plugins of this environment, and why one was refused."""
    plugins = load_plugins()
    if as_json:
        print_json({"loaded": plugins.loaded, "quarantined": plugins.quarantined})
        return
    print_table(
        ("PLUGIN", "DISTRIBUTION", "API", "BACKENDS", "HOOKS"),
        (
            (
                plugin.name,
                plugin.distribution,
                plugin.api,
                " ".join(plugin.backends),
                " ".join(hook.removeprefix("enginehouse_") for hook in plugin.hooks),
            )
            for plugin in plugins.loaded
        ),
    )
    for refused in plugins.quarantined:
        click.echo(f"\nrefused: {refused.name} ({refused.distribution}): {refused.reason}")
        click.echo(f"  wanted:  {refused.wanted}\n  offered: {refused.offered}")
