"""`enginehouse cluster`."""

from __future__ import annotations

import os
import platform
import re
import socket
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar

import click

from enginehouse.cli.shared.groups import Group
from enginehouse.cli.shared.output import print_json, print_table
from enginehouse.cli.shared.setup import host_devices, json_option, load_plugins
from enginehouse.cluster import (
    DEFAULT_PORT,
    ClusterAsked,
    ClusterError,
    RunningNode,
    ask,
    own_address,
    ray_version,
    running,
    start,
    stop,
    token_file,
    write_token,
)
from enginehouse.cluster.node import named

F = TypeVar("F", bound=Callable[..., Any])  # click's decorators take any function

_EPILOG = """\b
Examples:
  enginehouse cluster up
  enginehouse cluster join 192.0.2.10
  enginehouse cluster status
  enginehouse cluster leave
"""
_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9_-]{0,61}[A-Za-z0-9])?")


@click.group(cls=Group, epilog=_EPILOG)
def command() -> None:
    """Make machines a cluster, which Ray holds together: one begins, others join. It needs `enginehouse[ray]`."""


def _told(function: F) -> F:
    """*function*, whose `ClusterError` is told as other errors of the command line are."""

    @wraps(function)
    def telling(*arguments: Any, **named: Any) -> Any:  # as the function has them
        try:
            return function(*arguments, **named)
        except ClusterError as error:
            raise click.ClickException(str(error)) from error

    return telling  # type: ignore[return-value]  # the same parameters


def _node_options(function: F) -> F:
    for option in (
        json_option,
        click.option(
            "--temp-dir", type=click.Path(path_type=Path), help="Folder for Ray's sessions; it has to be short."
        ),
        click.option(
            "--token-file",
            type=click.Path(path_type=Path),
            help="File with the cluster's token; as Ray has it: ~/.ray/auth_token.",
        ),
        click.option(
            "--no-devices", is_flag=True, help="Run no engines here: a machine for the router, or the head alone."
        ),
        click.option("--address", metavar="IP", help="Address of this machine, where others reach it."),
        click.option("--name", help="Name of this machine in the cluster; without one, its host name."),
    ):
        function = option(function)
    return function


@command.command("up", epilog=_EPILOG)
@click.option(
    "--port", type=click.IntRange(1, 65535), default=DEFAULT_PORT, show_default=True, help="Port of the head."
)
@_node_options
@_told
def up(
    port: int, name: str | None, address: str | None, no_devices: bool, token_file: Path | None, temp_dir: Path | None,
    as_json: bool,
) -> None:  # fmt: skip
    """Begin a cluster on this machine, which becomes its head. What the head knows outlives its end, and its kill."""
    ray_version()
    token = (token_file or _default_token()).absolute()
    is_new = write_token(token)
    node = start(
        _name(name), address or own_address(), head=None, port=port, labels=_labels(no_devices), token=token,
        folder=temp_dir,
    )  # fmt: skip
    _show(node, as_json, is_new_token=is_new)
    if not as_json:
        click.echo(f"Copy {token} to each machine that is to join, and there: enginehouse cluster join {node.head}")


@command.command("join", epilog=_EPILOG)
@click.argument("head", metavar="HEAD")
@_node_options
@_told
def join(
    head: str, name: str | None, address: str | None, no_devices: bool, token_file: Path | None, temp_dir: Path | None,
    as_json: bool,
) -> None:  # fmt: skip
    """Make this machine a node of the cluster whose head is at HEAD, an address with or without a port."""
    ray_version()
    token = (token_file or _default_token()).absolute()
    if not token.is_file():
        raise ClusterError(f"There is no token in {token}: copy that file from the head's machine, and keep it secret.")
    head = head if ":" in head else f"{head}:{DEFAULT_PORT}"
    own = _name(name)
    cluster = ask(head, token)
    _check_versions(cluster)
    if any(one.name == own and one.is_alive for one in cluster.nodes):
        raise ClusterError(f"The cluster has a node '{own}' already: give another --name.")
    node = start(
        own, address or own_address(head.rpartition(":")[0]), head=head, port=0, labels=_labels(no_devices),
        token=token, folder=temp_dir,
    )  # fmt: skip
    _show(node, as_json, is_new_token=False)


@command.command("status", epilog=_EPILOG)
@click.argument("head", metavar="[HEAD]", required=False)
@click.option("--token-file", type=click.Path(path_type=Path), help="File with the cluster's token.")
@json_option
@_told
def status(head: str | None, token_file: Path | None, as_json: bool) -> None:
    """List the nodes of the cluster that this machine is in, or of the one whose head is at HEAD."""
    ray_version()
    here = running()
    if head is None and here is None:
        raise ClusterError("This machine is in no cluster: name the HEAD of one, or `enginehouse cluster join` it.")
    at = head or (here.head if here is not None else "")
    token = token_file or (Path(here.token_file) if here is not None else _default_token())
    cluster = ask(at if ":" in at else f"{at}:{DEFAULT_PORT}", token.absolute())
    if as_json:
        print_json({"head": at, "here": here.name if here is not None else None, "cluster": cluster})
        return
    click.echo(f"The head is at {at}: Ray {cluster.ray}, Python {cluster.python}.")
    print_table(
        ("NODE", "STATE", "ADDRESS", "DEVICES", "WHY"),
        (
            (
                (one.name or "-") + (" (head)" if one.is_head else ""),
                "there" if one.is_alive else "gone",
                one.address,
                ", ".join(f"{count} {kind}" for kind, count in one.devices.items()) or "none",
                one.reason or ("" if one.name else "not started by `enginehouse cluster`: no engines are placed there"),
            )
            for one in cluster.nodes
        ),
    )


@command.command("leave", epilog=_EPILOG)
@json_option
@_told
def leave(as_json: bool) -> None:
    """End the node that was started on this machine, and nothing else of Ray. A head can come `up` again."""
    node = running()
    if node is None:
        raise ClusterError("No node runs here that `enginehouse cluster` has started.")
    stop(node)
    if as_json:
        print_json({"name": node.name, "left": True})
    else:
        click.echo(f"'{node.name}' has left.")


@command.command("engine", hidden=True)
def engine() -> None:
    """Run one engine as standard input says, and end with that: nodes do this."""
    from enginehouse.cli.shared.cluster_engine import serve_engine

    serve_engine()


def _default_token() -> Path:
    return token_file()


def _labels(no_devices: bool) -> dict[str, str]:
    return {} if no_devices else named([device.kind for device in host_devices(load_plugins())])


def _name(said: str | None) -> str:
    name = said or re.sub(r"[^A-Za-z0-9-]", "-", socket.gethostname().partition(".")[0]).strip("-") or "node"
    if not _NAME.fullmatch(name):
        raise click.UsageError(
            f"--name '{name}': at most 63 letters, digits, '-' and '_', the first and last of them a letter or digit."
        )
    return name


def _check_versions(cluster: ClusterAsked) -> None:
    """Refuse to join *cluster* with other versions: Ray's have to be the same, and Python's to the minor.

    Raises:
        ClusterError: they are others.
    """
    own, python = ray_version(), platform.python_version()
    if cluster.ray != own:
        raise ClusterError(f"The cluster has Ray {cluster.ray}, and here is {own}: pip install 'ray=={cluster.ray}'.")
    if cluster.python.split(".")[:2] != python.split(".")[:2]:
        raise ClusterError(
            f"The cluster has Python {cluster.python}, and here is {python}: the first two numbers have to be the same."
        )


def _show(node: RunningNode, as_json: bool, *, is_new_token: bool) -> None:
    if as_json:
        print_json(
            {"node": node, "is_new_token": is_new_token, "ray": ray_version(), "python": platform.python_version()}
        )
        return
    click.echo(f"'{node.name}' runs at {node.address} (process {node.pid}); the head is at {node.head}.")
    if is_new_token:
        click.echo(f"The cluster's token was made in {os.fspath(node.token_file)}.")
