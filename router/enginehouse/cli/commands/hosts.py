"""`enginehouse hosts`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click
import httpx2

from enginehouse.cli.shared.admin import admin_client, server_options
from enginehouse.cli.shared.client import ServerError
from enginehouse.cli.shared.groups import Group
from enginehouse.cli.shared.output import print_json, print_table
from enginehouse.cli.shared.setup import json_option
from enginehouse.config import HostConfig, read_house
from enginehouse.fleet import SNAPSHOT_PATH, HostTold, Incompatible, read_told

_EPILOG = """\b
Examples:
  enginehouse hosts list --config house.toml
  enginehouse hosts add mac http://mac.local:8000 --key-env FLEET_KEY
"""
_TIMEOUT_S = 10.0


@click.group(cls=Group, epilog=_EPILOG)
def command() -> None:
    """List the other hosts of a running server, and try one that is to be added."""


@command.command("list", epilog=_EPILOG)
@server_options
def list_hosts(config_file: str | None, url: str | None, key: str | None, as_json: bool) -> None:
    """List the hosts that a running server knows: whether each is there, and what it serves."""
    with admin_client(config_file, url, key) as client:
        hosts: list[dict[str, Any]] = client.ask("GET", "/admin/hosts")["hosts"]
    if as_json:
        print_json(hosts)
        return
    print_table(
        ("HOST", "STATE", "VERSION", "DEVICES", "MODELS", "URL", "WHY"),
        (
            (
                host["name"],
                host["state"],
                host["version"] or "-",
                ", ".join(host["devices"]) or "-",
                ", ".join(f"{name} ({model['state']})" for name, model in host["models"].items()) or "-",
                host["url"],
                host["reason"],
            )
            for host in hosts
        ),
    )


@command.command("add", epilog=_EPILOG)
@click.argument("name")
@click.argument("url")
@click.option("--key-env", metavar="NAME", help="Environment variable that holds its key, here and on all hosts.")
@click.option("--wake", metavar="MAC", help="Address of its network card, as aa:bb:cc:dd:ee:ff, to wake it by.")
@json_option
def add(name: str, url: str, key_env: str | None, wake: str | None, as_json: bool) -> None:
    """Ask the host at URL how it is, and print the lines for the file, where it is called NAME. Nothing is changed."""
    table = {key: value for key, value in (("url", url), ("key_env", key_env), ("wake", wake)) if value is not None}
    host = read_house({"hosts": {name: table}}, file=None, folder=Path.cwd()).hosts[name]
    told = _ask(host)
    lines = "\n".join([f"[hosts.{name}]", *(f'{key} = "{value}"' for key, value in table.items())])
    if as_json:
        print_json({"name": name, "lines": lines, "told": told})
        return
    models = ", ".join(f"{model} ({it.state})" for model, it in told.models.items()) or "none"
    devices = ", ".join(f"{device.id} ({device.name})" for device in told.devices) or "none"
    click.echo(f"It answers: Enginehouse {told.enginehouse}; devices: {devices}; models: {models}.", err=True)
    click.echo(lines)


def _ask(host: HostConfig) -> HostTold:
    key = os.environ.get(host.key_env, "") if host.key_env else ""
    if host.key_env and not key:
        raise click.ClickException(f"The environment variable {host.key_env} is not set.")
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    try:
        with httpx2.Client(base_url=host.url, timeout=_TIMEOUT_S, headers=headers, trust_env=False) as http:
            answer = http.get(SNAPSHOT_PATH)
    except (httpx2.HTTPError, OSError) as error:
        raise ServerError(f"No host answers at {host.url} ({error or type(error).__name__}).") from error
    if answer.status_code in (401, 403):
        raise ServerError(f"{host.url} wants a key for all models: name the variable that holds it with --key-env.")
    try:
        return read_told(answer.content)
    except Incompatible as error:
        raise ServerError(f"{host.url}: {error}.") from error
