"""`enginehouse instances`."""

from __future__ import annotations

import click

from enginehouse.cli.shared.admin import admin_client, server_options
from enginehouse.cli.shared.orders import print_instances

_EPILOG = """\b
Examples:
  enginehouse instances --config house.toml
  enginehouse instances --url http://box:8000 --json
"""


@click.command(epilog=_EPILOG)
@server_options
def command(config_file: str | None, url: str | None, key: str | None, as_json: bool) -> None:
    """List the instances of a running server: what each does, where, and why there; and the memory of its devices."""
    with admin_client(config_file, url, key) as client:
        answer = client.ask("GET", "/admin/instances")
    print_instances(answer["instances"], as_json=as_json)
    if not as_json:
        for device in answer["memory"]:
            click.echo(device["words"])
