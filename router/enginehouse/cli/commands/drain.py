"""`enginehouse drain`."""

from __future__ import annotations

import click

from enginehouse.cli.shared.admin import server_options
from enginehouse.cli.shared.numbers import Number
from enginehouse.cli.shared.orders import give_order

_EPILOG = """\b
Examples:
  enginehouse drain smollm2-135m --config house.toml
  enginehouse drain 'smollm2-135m#1' --timeout-s 30 --url http://box:8000
"""


@click.command(epilog=_EPILOG)
@click.argument("name")
@click.option("--timeout-s", type=Number(min=0), help="Cut off what still runs after so many seconds.")
@server_options
def command(
    name: str, timeout_s: float | None, config_file: str | None, url: str | None, key: str | None, as_json: bool
) -> None:
    """Take the model or instance called NAME out of a running server: no request loads it until `enginehouse load`.

    What runs on it may finish first; what waits goes elsewhere, or is refused.
    """
    give_order("drain", name, config_file, url, key, as_json=as_json, timeout_s=timeout_s)
