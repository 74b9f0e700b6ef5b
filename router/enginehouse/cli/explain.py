"""`enginehouse explain`."""

from __future__ import annotations

import click

from .output import print_json
from .placements import placements_of
from .setup import config_option, json_option, set_up
from .standings import StandingRow, standings

_EPILOG = """\b
Example:
  enginehouse explain smollm2-135m
"""


@click.command(epilog=_EPILOG)
@click.argument("model")
@config_option
@json_option
def command(model: str, config_file: str | None, as_json: bool) -> None:
    """Say where MODEL is placed on this host, why its other placements are not used, and what is proven of it."""
    setup = set_up(config_file)
    rows = placements_of(setup, model)
    standing = standings(setup, [model]).get(model)
    if as_json:
        print_json({"model": model, "devices": setup.devices, "placements": rows, "certificate": standing})
    else:
        devices = ", ".join(f"{device.id} ({device.name})" for device in setup.devices) or "none"
        click.echo(f"Devices of this host: {devices}")
        for row in rows:
            verdict = "chosen" if row.is_chosen else "not used"
            click.echo(f"{row.index}. {row.backend} with {row.source}: {verdict}: {row.reason}")
        if standing is not None:
            _show(standing, model)
    if not any(row.is_chosen for row in rows):
        raise click.ClickException(f"'{model}' has no place on this host.")


def _show(standing: StandingRow, model: str) -> None:
    trusted = (
        "all declared features may be used" if standing.trust == "declared" else "only proven features may be used"
    )
    click.echo(f'Trust: "{standing.trust}": {trusted}')
    if standing.certified_at is None:
        click.echo(f"Certificate: {standing.reason}; 'enginehouse certify {model}' makes one")
        return
    rules = "all rules" if standing.selection == "all" else "the quick core"
    click.echo(f"Certificate: {standing.state}, of {standing.certified_at}, {rules} of suite {standing.suite}")
    if standing.reason:
        click.echo(f"  {standing.reason}")
    for feature, words in sorted(standing.features.items()):
        click.echo(f"  {feature}: {words}")
