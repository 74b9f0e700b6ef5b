"""`enginehouse load`."""

from __future__ import annotations

import click

from enginehouse.cli.shared.admin import server_options
from enginehouse.cli.shared.orders import give_order

_EPILOG = """\b
Examples:
  enginehouse load smollm2-135m --config house.toml
  enginehouse load 'smollm2-135m#1' --url http://box:8000
"""


@click.command(epilog=_EPILOG)
@click.argument("name")
@server_options
def command(name: str, config_file: str | None, url: str | None, key: str | None, as_json: bool) -> None:
    """Have a running server load the model or instance called NAME now, also one that has failed or was taken out."""
    give_order("load", name, config_file, url, key, as_json=as_json)
