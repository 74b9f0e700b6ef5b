"""`enginehouse keys`."""

from __future__ import annotations

import time

import click

from enginehouse.accounts.keys import Key, Scope, hash_secret, new_secret
from enginehouse.cli.shared.desk import open_desk
from enginehouse.cli.shared.groups import Group
from enginehouse.cli.shared.numbers import Number
from enginehouse.cli.shared.output import print_json, print_table
from enginehouse.cli.shared.setup import config_option, json_option, load_plugins, read_config
from enginehouse.config import ConfigError, KeyConfig, suggest
from enginehouse.config.decode import decode
from enginehouse.dialects.admin import shown
from enginehouse.dialects.mounts import mounts
from enginehouse.dialects.scopes import Served

_EPILOG = """\b
Example:
  enginehouse keys new alice
  enginehouse keys create bob --model tiny --expires-days 90 --config enginehouse.toml
  enginehouse keys rotate bob --overlap-hours 24 --config enginehouse.toml
  enginehouse keys expire bob --days 30 --config enginehouse.toml
"""


@click.group(cls=Group, epilog=_EPILOG)
def command() -> None:
    """Make API keys: `new` for the configuration, the others in the database of accounts. Only hashes are kept."""


@command.command("new", epilog=_EPILOG)
@click.argument("name")
@json_option
def new(name: str, as_json: bool) -> None:
    """Make a key for the client NAME. The secret is shown this once and kept nowhere."""
    secret = new_secret()
    digest = hash_secret(secret)
    _check_name(name)
    if as_json:
        print_json({"name": name, "secret": secret, "sha256": digest})
        return
    quoted = name.replace("\\", "\\\\").replace('"', '\\"')
    click.echo(f"The secret, for {name} (it is not shown again):\n\n  {secret}\n")
    click.echo(f'For the configuration of the server:\n\n[[keys]]\nname = "{quoted}"\nsha256 = "{digest}"')


@command.command("create", epilog=_EPILOG)
@click.argument("name")
@config_option
@click.option("--model", "models", multiple=True, help="A model that it is for; without one, all.")
@click.option("--endpoint", "endpoints", multiple=True, help="An endpoint that it is for, such as chat; without, all.")
@click.option("--profile", "profiles", multiple=True, help="A profile that it is for; without one, all.")
@click.option("--allow-unknown", is_flag=True, help="These may name what the configuration does not serve yet.")
@click.option("--admin", is_flag=True, help="It is for the routes under /admin, too.")
@click.option("--expires-days", type=Number(min=0, min_open=True), help="How long it is good; without, for ever.")
@json_option
def create(
    name: str,
    config_file: str | None,
    models: tuple[str, ...],
    endpoints: tuple[str, ...],
    profiles: tuple[str, ...],
    allow_unknown: bool,
    admin: bool,
    expires_days: float | None,
    as_json: bool,
) -> None:
    """Make a key for the client NAME in the database. The secret is shown this once and kept nowhere."""
    _check_name(name)
    scope = Scope(models=models or None, endpoints=endpoints or None, profiles=profiles or None, admin=admin)
    if scope.is_bounded and not allow_unknown:
        _check_scope(scope, config_file)
    expires_in_s = None if expires_days is None else expires_days * 86_400
    with open_desk(config_file) as desk:
        key, secret = desk.create(name, scope, expires_in_s=expires_in_s)
    _show(key, secret, as_json)


@command.command("list", epilog=_EPILOG)
@config_option
@json_option
def list_keys(config_file: str | None, as_json: bool) -> None:
    """List the keys of the database, those that are revoked or have expired too."""
    with open_desk(config_file) as desk:
        keys = desk.all_keys()
    if as_json:
        print_json([shown(key) for key in keys])
        return
    print_table(
        ("NAME", "STATE", "CREATED", "EXPIRES", "FOR"),
        ((key.name, _state(key), _day(key.created_at), _day(key.expires_at), _said(key.scope)) for key in keys),
    )


@command.command("rotate", epilog=_EPILOG)
@click.argument("name")
@config_option
@click.option("--overlap-hours", type=Number(min=0), default=0.0, help="How long the old secret is good still.")
@json_option
def rotate(name: str, config_file: str | None, overlap_hours: float, as_json: bool) -> None:
    """Give the key called NAME a new secret, which is shown this once."""
    with open_desk(config_file) as desk:
        key, secret = desk.rotate(name, overlap_s=overlap_hours * 3600)
    _show(key, secret, as_json)


@command.command("expire", epilog=_EPILOG)
@click.argument("name")
@config_option
@click.option("--days", type=Number(min=0, min_open=True), help="It is good for so long from now.")
@click.option("--never", is_flag=True, help="It is good for ever.")
@json_option
def expire(name: str, config_file: str | None, days: float | None, never: bool, as_json: bool) -> None:
    """Change when the key called NAME expires; running routers know within about a second."""
    if never == (days is not None):
        raise click.UsageError("Say either --days or --never. What should end now is revoked: enginehouse keys revoke.")
    with open_desk(config_file) as desk:
        key = desk.expire(name, in_s=None if days is None else days * 86_400)
    if as_json:
        print_json(shown(key))
    else:
        until = "for ever" if key.expires_at is None else f"until {_day(key.expires_at)}"
        click.echo(f"The key '{name}' is good {until}.")


@command.command("revoke", epilog=_EPILOG)
@click.argument("name")
@config_option
def revoke(name: str, config_file: str | None) -> None:
    """Let nobody in with the key called NAME any more; running routers know within about a second."""
    with open_desk(config_file) as desk:
        desk.revoke(name)
    click.echo(f"The key '{name}' is revoked.")


def _check_name(name: str) -> None:
    try:
        decode({"name": name, "sha256": "0" * 64}, KeyConfig, file=None, where="")
    except ConfigError as error:
        raise click.UsageError(f"The key cannot be called {name!r}: {error}") from None


def _check_scope(scope: Scope, config_file: str | None) -> None:
    plugins = load_plugins()
    config = read_config(config_file)
    found = Served.of(config, mounts(config, plugins.profiles)).unserved(scope)
    if found is not None:
        field, name, known = found
        raise click.UsageError(
            f"--{field[:-1]}: no {field[:-1]} '{name}' is served here. {suggest(name, known)} "
            "With --allow-unknown a key may be for what is not served yet."
        )


def _show(key: Key, secret: str, as_json: bool) -> None:
    if as_json:
        print_json(shown(key, secret))
    else:
        click.echo(f"The secret, for {key.name} (it is not shown again):\n\n  {secret}")


def _state(key: Key) -> str:
    if key.revoked_at is not None:
        return "revoked"
    return "good" if key.digests(time.time()) else "expired"


def _day(at: float | None) -> str:
    return "-" if at is None else time.strftime("%Y-%m-%d", time.gmtime(at))


def _said(scope: Scope) -> str:
    kinds = (("models", scope.models), ("endpoints", scope.endpoints), ("profiles", scope.profiles))
    bounds = [f"{kind} {', '.join(names)}" for kind, names in kinds if names is not None]
    return "; ".join([*bounds, "admin"] if scope.admin else bounds) or "all"
