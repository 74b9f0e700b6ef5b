"""`enginehouse doctor`."""

from __future__ import annotations

import asyncio
import os
import platform
import shutil
import socket
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

import click
import msgspec

from enginehouse import __version__
from enginehouse.config import Config, ConfigError
from enginehouse.plugins import Plugins
from enginehouse.weights import cache_folder, locate
from enginehouse_plugin import BackendType, Device, ProbeReport
from enginehouse_plugin.errors import EnginehouseError, LoadError

from .output import print_json, size
from .placements import placements_of
from .setup import Setup, config_option, host_devices, json_option, load_plugins, set_up

_EPILOG = """\b
Examples:
  enginehouse doctor
  enginehouse doctor --config enginehouse.toml --json

\b
Exit code 1 if something that the configuration needs is missing.
"""

Verdict = Literal["ok", "note", "missing"]
_MARKS = {"ok": ("ok", "green"), "note": ("note", "yellow"), "missing": ("MISSING", "red")}
_LITTLE_DISK_BYTES = 1_000_000_000
_PROBE_TIMEOUT_S = 20.0


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that was looked at. `missing` only where the configuration needs it; `fix` is what to do."""

    area: str
    name: str
    verdict: Verdict
    detail: str
    fix: str | None = None


@click.command(epilog=_EPILOG)
@config_option
@json_option
def command(config_file: str | None, as_json: bool) -> int:
    """Say what is here, what is missing, and the exact command that fixes it."""
    checks = list(_checks(config_file))
    if as_json:
        print_json(checks)
    else:
        _print(checks)
    return 1 if any(check.verdict == "missing" for check in checks) else 0


def _checks(config_file: str | None) -> Iterator[Check]:
    setup: Setup | None = None
    problem = ""
    try:
        setup = set_up(config_file)
    except ConfigError as error:
        problem = str(error)
    plugins = setup.plugins if setup else load_plugins()
    yield Check(
        area="host", name="enginehouse", verdict="ok", detail=f"{__version__}, Python {platform.python_version()}"
    )
    yield from _devices(setup.devices if setup else host_devices(plugins))
    yield _cache()
    yield from _plugins(plugins)
    yield from _engines(plugins, _used_backends(setup) if setup else set())
    if setup is None:
        yield Check(area="config", name=config_file or "built in", verdict="missing", detail=problem)
        return
    yield Check(area="config", name=config_file or "built in", verdict="ok", detail=f"{len(setup.decisions)} models")
    yield from _models(setup)
    yield _port(setup.config)


def _devices(devices: Sequence[Device]) -> Iterator[Check]:
    for device in devices:
        free = f", {size(device.free_bytes)} free" if device.free_bytes is not None else ""
        driver = f", driver {device.driver}" if device.driver else ""
        detail = f"{device.name}, {size(device.memory_bytes)} memory{free}{driver}"
        yield Check(area="device", name=device.id, verdict="ok", detail=detail)


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
            fix=f"{_pip()} install 'enginehouse-llamacpp[engine]'",
        )


def _used_backends(setup: Setup) -> set[str]:
    chosen = (decision.chosen for decision in setup.decisions.values())
    return {one.placement.backend for one in chosen if one is not None}


def _engines(plugins: Plugins, used: set[str]) -> Iterator[Check]:
    reports = asyncio.run(_probe_all(plugins.backends))
    for name, report in reports.items():
        version = f" {report.engine_version}" if report.engine_version else ""
        detail = f"{report.engine}{version}" + (f": {report.detail}" if report.detail else "")
        if report.available:
            yield Check(area="engine", name=name, verdict="ok", detail=detail)
        else:
            yield Check(
                area="engine", name=name, verdict="missing" if name in used else "note", detail=detail, fix=report.fix
            )


async def _probe_all(backends: dict[str, BackendType]) -> dict[str, ProbeReport]:
    reports = await asyncio.gather(*(_probe(backend) for backend in backends.values()))
    return dict(zip(backends, reports, strict=True))


async def _probe(backend: BackendType) -> ProbeReport:
    try:
        async with asyncio.timeout(_PROBE_TIMEOUT_S):
            return await backend.create().probe()
    except EnginehouseError as error:
        return ProbeReport(available=False, engine=backend.name, detail=error.message)
    except TimeoutError:
        return ProbeReport(available=False, engine=backend.name, detail=f"no answer within {_PROBE_TIMEOUT_S:g} s")


def _models(setup: Setup) -> Iterator[Check]:
    option = f" --config {setup.config.file}" if setup.config.file else ""
    for name in setup.decisions:
        rows = placements_of(setup, name)
        chosen = next((row for row in rows if row.is_chosen), None)
        if chosen is None:
            reasons = "; ".join(f"{row.index}: {row.reason}" for row in rows)
            yield Check(
                area="model",
                name=name,
                verdict="missing",
                detail=f"no place on this host ({reasons})",
                fix="Add a placement that this host can serve, or run it on a host that has the device.",
            )
            continue
        if not setup.plugins.backends[chosen.backend].needs_weights:
            yield Check(area="model", name=name, verdict="ok", detail=f"{chosen.backend}: {chosen.source}")
            continue
        yield _weights(name, chosen.source, option)


def _weights(name: str, source: str, option: str) -> Check:
    try:
        path = locate(source)
    except LoadError as error:
        return Check(area="model", name=name, verdict="missing", detail=error.message)
    if path is not None:
        return Check(area="model", name=name, verdict="ok", detail=f"weights at {path}")
    if source.startswith(("demo:", "hub:")):
        detail = f"the weights of {source} are not here yet; they are fetched when the model is loaded"
        return Check(
            area="model", name=name, verdict="note", detail=detail, fix=f"enginehouse models pull {name}{option}"
        )
    return Check(
        area="model",
        name=name,
        verdict="missing",
        detail=f"there are no weights at {source}",
        fix="Put them there, or change `source` in the configuration.",
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


def _pip() -> str:
    return f"{Path(sys.executable)} -m pip"


def _print(checks: list[Check]) -> None:
    for check in checks:
        word, colour = _MARKS[check.verdict]
        click.echo(f"{click.style(f'{word:8}', fg=colour)}{check.area:8}{check.name}: {check.detail}")
        if check.fix:
            click.echo(f"{'':16}fix: {check.fix}")
    missing = sum(check.verdict == "missing" for check in checks)
    click.echo(f"\n{missing} needed things are missing." if missing else "\nNothing that is needed is missing.")
