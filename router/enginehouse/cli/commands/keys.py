"""`enginehouse keys new`."""

from __future__ import annotations

import click

from enginehouse.accounts.keys import hash_secret, new_secret
from enginehouse.cli.shared.output import print_json
from enginehouse.cli.shared.setup import json_option
from enginehouse.config import ConfigError, KeyConfig
from enginehouse.config.decode import decode

_EPILOG = """\b
Example:
  enginehouse keys new alice
"""


@click.group(epilog=_EPILOG)
def command() -> None:
    """Make API keys; the configuration keeps only their hashes."""


@command.command("new", epilog=_EPILOG)
@click.argument("name")
@json_option
def new(name: str, as_json: bool) -> None:
    """Make a key for the client NAME. The secret is shown this once and kept nowhere."""
    secret = new_secret()
    digest = hash_secret(secret)
    try:
        decode({"name": name, "sha256": digest}, KeyConfig, file=None, where="")
    except ConfigError as error:
        raise click.UsageError(f"The key cannot be called {name!r}: {error}") from None
    if as_json:
        print_json({"name": name, "secret": secret, "sha256": digest})
        return
    quoted = name.replace("\\", "\\\\").replace('"', '\\"')
    click.echo(f"The secret, for {name} (it is not shown again):\n\n  {secret}\n")
    click.echo(f'For the configuration of the server:\n\n[[keys]]\nname = "{quoted}"\nsha256 = "{digest}"')
