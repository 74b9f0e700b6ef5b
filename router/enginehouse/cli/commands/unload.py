"""`enginehouse unload`."""

from __future__ import annotations

import click

from enginehouse.cli.shared.admin import server_options
from enginehouse.cli.shared.numbers import Number
from enginehouse.cli.shared.orders import give_order

_EPILOG = """\b
Examples:
  enginehouse unload smollm2-135m --config house.toml
  enginehouse unload smollm2-135m --timeout-s 30 --url http://box:8000
"""


@click.command(epilog=_EPILOG)
@click.argument("name")
@click.option("--timeout-s", type=Number(min=0), help="Cut off what still runs after so many seconds.")
@server_options
def command(
    name: str, timeout_s: float | None, config_file: str | None, url: str | None, key: str | None, as_json: bool
) -> None:
    """Have a running server give the memory of the model or instance called NAME back; a request loads it again.

    What runs on it may finish first.
    """
    give_order("unload", name, config_file, url, key, as_json=as_json, timeout_s=timeout_s)
