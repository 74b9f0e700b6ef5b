"""`enginehouse reload`."""

from __future__ import annotations

import click

from enginehouse.cli.shared.admin import admin_client, server_options
from enginehouse.cli.shared.output import print_json

_EPILOG = """\b
Examples:
  enginehouse reload --config house.toml
  enginehouse reload --config house.toml --dry-run
  enginehouse reload --url http://box:8000 --json
"""


@click.command(epilog=_EPILOG)
@click.option("--dry-run", is_flag=True, help="Only say what would change.")
@server_options
def command(dry_run: bool, config_file: str | None, url: str | None, key: str | None, as_json: bool) -> None:
    """Have a running server read its configuration again, and say what that changes; requests that run go on.

    The server is the one at URL, or the one that serves FILE, by the socket that [server] admin_socket names. A file
    that cannot be used changes nothing.
    """
    with admin_client(config_file, url, key) as client:
        answer = client.ask("POST", "/admin/reload", {"dry_run": dry_run})
    if as_json:
        print_json(answer)
        return
    for change in answer["changed"]:
        click.echo(f"{change['change']}: {change['key']}")
    for change in answer["needs_restart"]:
        click.echo(f"{change['change']}, and needs a restart: {change['key']}")
    if not answer["changed"] and not answer["needs_restart"]:
        click.echo("Nothing has changed.")
