"""`enginehouse pin`."""

from __future__ import annotations

import click

from enginehouse.cli.shared.admin import server_options
from enginehouse.cli.shared.orders import give_order

_EPILOG = """\b
Examples:
  enginehouse pin smollm2-135m --config house.toml
  enginehouse pin smollm2-135m --off --url http://box:8000
"""


@click.command(epilog=_EPILOG)
@click.argument("name")
@click.option("--off", is_flag=True, help="Do so no more.")
@server_options
def command(name: str, off: bool, config_file: str | None, url: str | None, key: str | None, as_json: bool) -> None:
    """Keep the model or instance called NAME loaded on a running server, whatever else needs its memory.

    It holds until the server ends; `pinned = true` in the configuration holds longer.
    """
    give_order("pin", name, config_file, url, key, as_json=as_json, pinned=not off)
