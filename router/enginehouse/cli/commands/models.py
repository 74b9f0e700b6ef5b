"""`enginehouse models`, and what is done with weights: `pull`, `list`, `remove`."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

import click
import msgspec

from enginehouse.cli.shared.client import connect, key_option, url_option
from enginehouse.cli.shared.groups import Group
from enginehouse.cli.shared.output import print_json, print_table
from enginehouse.cli.shared.placements import PlacementRow, placements_of
from enginehouse.cli.shared.progress import showing
from enginehouse.cli.shared.setup import Setup, config_option, json_option, read_config, set_up
from enginehouse.cli.shared.standings import standings
from enginehouse.config import binary_size
from enginehouse.fleet import NotFetched, disk_of, find_weights
from enginehouse.weights import Held, all_held, held_bytes, remove, resolve, staying
from enginehouse_plugin.errors import LoadError

_EPILOG = """\b
Examples:
  enginehouse models
  enginehouse models --url http://127.0.0.1:8000
  enginehouse models pull demo:smollm2-135m
  enginehouse models pull hub:org/repo@1f2e3d…/model-Q4_K_M.gguf
  enginehouse models list
  enginehouse models remove hub:org/repo@1f2e3d…/model-Q4_K_M.gguf
"""


class Weights(msgspec.Struct, frozen=True, kw_only=True):
    """Whether the weights of a placement are on this machine.

    `state` is `here`, `absent` (fetched when the model is loaded), `remote` (not the router's affair), `no plugin`
    (its backend is not installed here), or what is wrong with the source.
    """

    state: str
    path: str | None = None


@click.group(cls=Group, invoke_without_command=True, epilog=_EPILOG)
@config_option
@url_option
@key_option
@json_option
@click.pass_context
def command(ctx: click.Context, config_file: str | None, url: str | None, key: str | None, as_json: bool) -> None:
    """List the models of a configuration, or with --url those of a running server."""
    if ctx.invoked_subcommand is not None:
        ctx.obj = config_file
    elif url is not None:
        _list_served(url, key, as_json=as_json)
    else:
        _list_configured(set_up(config_file), as_json=as_json)


@command.command("pull", epilog=_EPILOG)
@click.argument("what", metavar="[SOURCE|MODEL]", required=False)
@click.option("--verify", "is_all_read", is_flag=True, help="Read what is here and compare all of it with its digests.")
@config_option
@json_option
@click.pass_context
def pull(ctx: click.Context, what: str | None, is_all_read: bool, config_file: str | None, as_json: bool) -> None:
    """Fetch weights, so that a later start needs no network; prints where they are.

    A source (demo:…, hub:ORG/REPO@REVISION[/FILE], a path), a model of the configuration, or nothing: then
    all that the configuration needs on this host. A download that was broken off goes on where it was; files that are
    not what they were are fetched again.
    """
    paths: dict[str, str | None] = {}
    disk = disk_of(read_config(config_file or ctx.obj))
    for source in _sources(what, config_file or ctx.obj):
        with showing(source) as progress:
            path = resolve(source, progress=progress, disk=disk, is_all_read=is_all_read)
        paths[source] = None if path is None else str(path)
    if as_json:
        print_json([{"source": source, "path": path} for source, path in paths.items()])
        return
    for source, found in paths.items():
        click.echo(found or f"{source} is a server; there is nothing to fetch")


@command.command("list", epilog=_EPILOG)
@config_option
@json_option
@click.pass_context
def list_weights(ctx: click.Context, config_file: str | None, as_json: bool) -> None:
    """List the fetched weights on this machine: their size, when they were used last, and what keeps them."""
    disk = disk_of(read_config(config_file or ctx.obj))
    stays = staying(disk.stays)
    found = [(held, held.is_in_use, held.source in stays) for held in reversed(all_held())]
    if as_json:
        weights = [
            {
                "source": held.source,
                "size_bytes": held.size_bytes,
                "fetched_at": held.fetched_at if held.is_fetched else None,
                "used_at": held.used_at,
                "in_use": is_used,
                "named": is_named,
                "files": [file.path for file in held.files],
            }
            for held, is_used, is_named in found
        ]
        print_json({"weights": weights, "held_bytes": held_bytes(), "limit_bytes": disk.limit_bytes})
        return
    print_table(
        ("SOURCE", "SIZE", "LAST USED", "KEPT BY"),
        (
            (
                held.source,
                binary_size(held.size_bytes),
                datetime.fromtimestamp(held.used_at).astimezone().isoformat(" ", "minutes"),
                ", ".join(_kept_by(held, is_used=is_used, is_named=is_named)),
            )
            for held, is_used, is_named in found
        ),
    )
    allowed = "" if disk.limit_bytes is None else f" of {binary_size(disk.limit_bytes)}"
    click.echo(f"{binary_size(held_bytes())}{allowed} taken by what was fetched.")


def _kept_by(held: Held, *, is_used: bool, is_named: bool) -> Iterator[str]:
    if is_used:
        yield "a running process"
    if is_named:
        yield "the configuration"
    if not held.is_fetched:
        yield "another program, which fetched it"


@command.command("remove", epilog=_EPILOG)
@click.argument("sources", metavar="SOURCE...", nargs=-1, required=True)
@click.option("--force", is_flag=True, help="Also what the configuration names, and what another program fetched.")
@config_option
@json_option
@click.pass_context
def remove_weights(
    ctx: click.Context, sources: tuple[str, ...], force: bool, config_file: str | None, as_json: bool
) -> None:
    """Remove fetched weights from this machine, by their sources as `models list` has them."""
    stays = staying(disk_of(read_config(config_file or ctx.obj)).stays)
    held = {each.source: each for each in all_held()}
    going = []
    for source in sources:
        (name,) = staying([source])
        if name not in held:
            raise click.ClickException(f"'{source}' is not here; see 'enginehouse models list'.")
        if not force and (name in stays or not held[name].is_fetched):
            keeper = "the configuration names it" if name in stays else "another program fetched it"
            raise click.ClickException(f"'{source}' was not removed: {keeper}. --force removes it.")
        going.append(held[name])
    freed = {each.source: remove(each) for each in going}
    if as_json:
        print_json([{"source": source, "freed_bytes": freed_bytes} for source, freed_bytes in freed.items()])
        return
    for source, freed_bytes in freed.items():
        click.echo(f"{source}: {binary_size(freed_bytes)} are free.")


def _sources(what: str | None, config_file: str | None) -> list[str]:
    if what is not None and what.startswith(("demo:", "hub:")):
        return [what]
    setup = set_up(config_file)
    if what is not None and what not in setup.plans:
        return [what]
    names = list(setup.plans) if what is None else [what]
    sources = []
    for name in names:
        planned = setup.instance(name)
        if planned is None:
            if what is not None:
                raise click.ClickException(f"'{name}' has no place on this host; see 'enginehouse explain {name}'.")
            continue
        if planned.backend.needs_weights:
            sources.append(planned.placement.source)
    return list(dict.fromkeys(sources))


def _list_configured(setup: Setup, *, as_json: bool) -> None:
    found = {name: [(row, _weights(setup, row)) for row in placements_of(setup, name)] for name in setup.config.models}
    certified = standings(setup, found)
    if as_json:
        print_json(
            [
                {
                    "id": name,
                    "description": setup.config.models[name].description,
                    "load": setup.config.models[name].load,
                    "certificate": certified.get(name),
                    "placements": [
                        {**msgspec.structs.asdict(row), "weights": weights.state, "path": weights.path}
                        for row, weights in rows
                    ],
                }
                for name, rows in found.items()
            ]
        )
        return
    print_table(
        ("MODEL", "PLACEMENT", "SOURCE", "WEIGHTS", "ON THIS HOST", "CERTIFICATE"),
        (
            (
                name if row.index == 0 else "",
                f"{row.index}: {row.backend}",
                row.source,
                weights.state,
                ("chosen: " if row.is_chosen else "not used: ") + row.reason,
                certified[name].words if row.is_chosen else "",
            )
            for name, rows in found.items()
            for row, weights in rows
        ),
    )


def _weights(setup: Setup, row: PlacementRow) -> Weights:
    backend = setup.plugins.backends.get(row.backend)
    if backend is None:
        return Weights(state="no plugin")
    try:
        path = find_weights(backend, row.source)
    except NotFetched:
        return Weights(state="absent")
    except LoadError as error:
        return Weights(state=error.message)
    return Weights(state="remote") if path is None else Weights(state="here", path=path)


def _list_served(url: str, key: str | None, *, as_json: bool) -> None:
    with connect(url, key) as client:
        models: list[dict[str, Any]] = client.models()
    if as_json:
        print_json(models)
        return
    print_table(
        ("MODEL", "STATE", "CONTEXT", "OWNED BY", "FEATURES", "PROVEN"),
        (
            (
                str(model.get("id", "?")),
                str(model.get("state", "")),
                str(model.get("context_length") or model.get("context_tokens") or ""),
                str(model.get("owned_by", "")),
                " ".join(_features(model)),
                _proven(model),
            )
            for model in models
        ),
    )


def _features(model: dict[str, Any]) -> list[str]:
    capabilities = model.get("capabilities")
    features = model.get("declared_features") or model.get("features", [])
    if isinstance(capabilities, dict):
        features = capabilities.get("features", [])
    return sorted(map(str, features)) if isinstance(features, list | tuple) else []


def _proven(model: dict[str, Any]) -> str:
    """The features that are proven, or why none is; another server tells nothing of it."""
    certificate = model.get("certificate")
    if not isinstance(certificate, dict):
        return ""
    if certificate.get("state") != "current":
        return str(certificate.get("reason", ""))
    proven = model.get("proven_features")
    return " ".join(sorted(map(str, proven))) if isinstance(proven, list) else ""
