"""`enginehouse explain`."""

from __future__ import annotations

import click

from .output import print_json
from .placements import placements_of
from .setup import config_option, json_option, set_up

_EPILOG = """\b
Example:
  enginehouse explain smollm2-135m
"""


@click.command(epilog=_EPILOG)
@click.argument("model")
@config_option
@json_option
def command(model: str, config_file: str | None, as_json: bool) -> None:
    """Say where MODEL is placed on this host, and why its other placements are not used."""
    setup = set_up(config_file)
    rows = placements_of(setup, model)
    if as_json:
        print_json({"model": model, "devices": setup.devices, "placements": rows})
    else:
        devices = ", ".join(f"{device.id} ({device.name})" for device in setup.devices) or "none"
        click.echo(f"Devices of this host: {devices}")
        for row in rows:
            verdict = "chosen" if row.is_chosen else "not used"
            click.echo(f"{row.index}. {row.backend} with {row.source}: {verdict}: {row.reason}")
    if not any(row.is_chosen for row in rows):
        raise click.ClickException(f"'{model}' has no place on this host.")
