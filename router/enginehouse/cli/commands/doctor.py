"""`enginehouse doctor`."""

from __future__ import annotations

import os
import platform
import shutil
import socket
import tempfile
from collections.abc import Iterator, Sequence

import click

from enginehouse import __version__
from enginehouse.cli.shared.checks import PIP, Check
from enginehouse.cli.shared.engines import Used, engine_checks
from enginehouse.cli.shared.output import print_json, size
from enginehouse.cli.shared.placements import placements_of
from enginehouse.cli.shared.setup import Setup, config_option, host_devices, json_option, load_plugins, set_up
from enginehouse.config import Config, ConfigError
from enginehouse.fleet import NotFetched, find_weights
from enginehouse.hardware import Trouble, survey
from enginehouse.plugins import Plugins
from enginehouse.weights import cache_folder
from enginehouse_plugin import BackendType, Device
from enginehouse_plugin.errors import LoadError

_EPILOG = """\b
Examples:
  enginehouse doctor
  enginehouse doctor --config enginehouse.toml --json

\b
Exit code 1 if something that the configuration needs is missing.
"""

_MARKS = {"ok": ("ok", "green"), "note": ("note", "yellow"), "missing": ("MISSING", "red")}
_LITTLE_DISK_BYTES = 1_000_000_000


@click.command(epilog=_EPILOG)
@config_option
@json_option
def command(config_file: str | None, as_json: bool) -> int:
    """Say what is here, what is missing, and the exact command that fixes it.

    With --json the devices of this host come with it, in the form that 'enginehouse explain --devices' takes.
    """
    setup, problem = _try_to_set_up(config_file)
    plugins = setup.plugins if setup else load_plugins()
    devices = setup.devices if setup else host_devices(plugins)
    checks = list(_checks(config_file, setup, problem, plugins, devices))
    if as_json:
        print_json({"devices": devices, "checks": checks})
    else:
        _print(checks)
    return 1 if any(check.verdict == "missing" for check in checks) else 0


def _try_to_set_up(config_file: str | None) -> tuple[Setup | None, str]:
    try:
        return set_up(config_file), ""
    except ConfigError as error:
        return None, str(error)


def _checks(
    config_file: str | None, setup: Setup | None, problem: str, plugins: Plugins, devices: Sequence[Device]
) -> Iterator[Check]:
    yield Check(
        area="host", name="enginehouse", verdict="ok", detail=f"{__version__}, Python {platform.python_version()}"
    )
    yield from _devices(devices)
    yield from _troubles(survey().troubles)
    yield _cache()
    yield from _plugins(plugins)
    yield from engine_checks(plugins, devices, _used_engines(setup) if setup else set())
    if setup is None:
        yield Check(area="config", name=config_file or "built in", verdict="missing", detail=problem)
        return
    yield Check(area="config", name=config_file or "built in", verdict="ok", detail=f"{len(setup.plans)} models")
    yield from _models(setup)
    yield _port(setup.config)


def _devices(devices: Sequence[Device]) -> Iterator[Check]:
    for device in devices:
        facts = [device.name, f"{size(device.memory_bytes)} memory"]
        if device.free_bytes is not None:
            facts.append(f"{size(device.free_bytes)} free")
        if device.compute_capability is not None:
            facts.append("compute capability {}.{}".format(*device.compute_capability))
        if device.driver:
            facts.append(f"driver {device.driver}")
        yield Check(area="device", name=device.id, verdict="ok", detail=", ".join(facts))


def _troubles(troubles: Sequence[Trouble]) -> Iterator[Check]:
    for trouble in troubles:
        yield Check(area="device", name=trouble.name, verdict="note", detail=trouble.problem, fix=trouble.fix)


def _cache() -> Check:
    folder = cache_folder()
    there = next(parent for parent in (folder, *folder.parents) if parent.exists())
    fix = "Name a folder that can be written in the environment variable ENGINEHOUSE_CACHE."
    if not there.is_dir():
        return Check(area="host", name="cache", verdict="missing", detail=f"{there} is not a folder", fix=fix)
    try:
        with tempfile.TemporaryFile(dir=there):
            free_bytes = shutil.disk_usage(there).free
    except OSError as error:
        return Check(
            area="host", name="cache", verdict="missing", detail=f"{folder}: {error.strerror or error}", fix=fix
        )
    is_little = free_bytes < _LITTLE_DISK_BYTES
    return Check(
        area="host",
        name="cache",
        verdict="note" if is_little else "ok",
        detail=f"{folder}, {size(free_bytes)} free on its disk",
        fix="Make room there, or name another folder in ENGINEHOUSE_CACHE." if is_little else None,
    )


def _plugins(plugins: Plugins) -> Iterator[Check]:
    for plugin in plugins.loaded:
        offers = ", ".join(plugin.backends) or "no backends"
        yield Check(area="plugin", name=plugin.name, verdict="ok", detail=f"{plugin.distribution}: {offers}")
    for refused in plugins.quarantined:
        yield Check(
            area="plugin",
            name=refused.name,
            verdict="note",
            detail=f"refused: {refused.reason} (wanted: {refused.wanted}; offered: {refused.offered})",
            fix=f"Install a version of {refused.distribution} that fits, or remove it.",
        )
    if not plugins.backends:
        yield Check(
            area="plugin",
            name="none",
            verdict="missing",
            detail="no plugin offers an engine",
            fix=f"{PIP} install 'enginehouse-llamacpp[engine]'",
        )


def _used_engines(setup: Setup) -> set[Used]:
    planned = (setup.instance(name) for name in setup.plans)
    return {(one.placement.backend, one.placement.python) for one in planned if one is not None}


def _models(setup: Setup) -> Iterator[Check]:
    has_place = any(plan.instances for plan in setup.plans.values())
    option = f" --config {setup.config.file}" if setup.config.file else ""
    for name in setup.plans:
        rows = placements_of(setup, name)
        chosen = next((row for row in rows if row.is_chosen), None)
        if chosen is None:
            reasons = "; ".join(f"{row.index}: {row.reason}" for row in rows)
            yield Check(
                area="model",
                name=name,
                # In one file for many hosts some models are for others; a host with nothing to serve lacks something.
                verdict="note" if has_place else "missing",
                detail=f"no place on this host ({reasons})",
                fix="If this host is to serve it, add a placement that it can serve.",
            )
            continue
        yield _weights(name, setup.plugins.backends[chosen.backend], chosen.source, option)


def _weights(name: str, backend: BackendType, source: str, option: str) -> Check:
    try:
        path = find_weights(backend, source)
    except NotFetched:
        detail = f"the weights of {source} are not here yet; they are fetched when the model is loaded"
        return Check(
            area="model", name=name, verdict="note", detail=detail, fix=f"enginehouse models pull {name}{option}"
        )
    except LoadError as error:
        return Check(area="model", name=name, verdict="missing", detail=error.message)
    return Check(
        area="model", name=name, verdict="ok", detail=f"weights at {path}" if path else f"{backend.name}: {source}"
    )


def _port(config: Config) -> Check:
    host, port = config.server.host, config.server.port
    place = f"{host}:{port}"
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            if os.name == "posix":
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the server does
            probe.bind(address)
    except OSError as error:
        return Check(
            area="host",
            name="port",
            verdict="note",
            detail=f"{place} cannot be listened on now: {error.strerror or error}",
            fix="End the program that has it, or choose another: enginehouse serve --port 8001",
        )
    return Check(area="host", name="port", verdict="ok", detail=f"{place} is free")


def _print(checks: list[Check]) -> None:
    for check in checks:
        word, colour = _MARKS[check.verdict]
        click.echo(f"{click.style(f'{word:8}', fg=colour)}{check.area:8}{check.name}: {check.detail}")
        if check.fix:
            click.echo(f"{'':16}fix: {check.fix}")
    missing = sum(check.verdict == "missing" for check in checks)
    click.echo(f"\n{missing} needed things are missing." if missing else "\nNothing that is needed is missing.")
