"""`enginehouse limits`."""

from __future__ import annotations

import click
import msgspec

from enginehouse.cli.shared.desk import open_desk
from enginehouse.cli.shared.groups import Group
from enginehouse.cli.shared.output import print_json, print_table
from enginehouse.cli.shared.setup import config_option, json_option
from enginehouse.config import Limits
from enginehouse.dialects.admin import shown

_EPILOG = """\b
Examples:
  enginehouse limits list --config enginehouse.toml
  enginehouse limits set bob --requests-per-minute 60 --concurrent-requests 4 --config enginehouse.toml
"""
_SHOWN = Limits.__struct_fields__


@click.group(cls=Group, epilog=_EPILOG)
def command() -> None:
    """List and set how much each key of the database may have; running routers know within about a second."""


@command.command("list", epilog=_EPILOG)
@config_option
@json_option
def list_limits(config_file: str | None, as_json: bool) -> None:
    """List the limits of the keys that are not revoked."""
    with open_desk(config_file) as desk:
        keys = [key for key in desk.all_keys() if key.revoked_at is None]
    if as_json:
        print_json([shown(key) for key in keys])
        return
    print_table(
        ("NAME", *(name.replace("_", " ").upper() for name in _SHOWN)),
        ((key.name, *(str(getattr(key.limits, name) or "-") for name in _SHOWN)) for key in keys),
    )


@command.command("set", epilog=_EPILOG)
@click.argument("name")
@config_option
@click.option("--requests-per-minute", type=click.IntRange(min=1))
@click.option("--tokens-per-minute", type=click.IntRange(min=1))
@click.option("--tokens-per-day", type=click.IntRange(min=1))
@click.option("--concurrent-requests", type=click.IntRange(min=1), help="How many requests may run at a time.")
@json_option
def set_limits(name: str, config_file: str | None, as_json: bool, **limits: int | None) -> None:
    """Keep the key called NAME to these limits, in place of those it had; what is not named has none."""
    with open_desk(config_file) as desk:
        key = desk.limit(name, msgspec.convert(limits, Limits))
    if as_json:
        print_json(shown(key))
    else:
        said = ", ".join(f"{limit} {kind.replace('_', ' ')}" for kind, limit in limits.items() if limit)
        click.echo(f"The key '{name}' has {said or 'no limits'}.")
