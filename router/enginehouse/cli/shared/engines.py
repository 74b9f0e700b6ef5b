"""Which engines can run here, what each lacks, and the command that fixes it."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterator, Sequence

from enginehouse.cli.shared.checks import PIP, Check
from enginehouse.config import AbsentBackend, absent_backends
from enginehouse.plugins import Plugins, probed
from enginehouse_plugin import BackendType, Device, ProbeReport
from enginehouse_plugin.errors import EnginehouseError

_PROBE_TIMEOUT_S = 20.0


Used = tuple[str, str | None]
"""A backend that the configuration has chosen for this host, and the interpreter that its placement names."""


def engine_checks(plugins: Plugins, devices: Sequence[Device], used: Collection[Used]) -> Iterator[Check]:
    """A finding for each backend of *plugins* and each interpreter in *used*, then for each absent plugin.

    What those in *used* lack is missing, what others lack is worth a note.
    """
    backends = plugins.backends
    named = sorted((name, python) for name, python in used if python is not None and name in backends)
    elsewhere = {name for name, _ in named}
    asked: list[Used] = [*((name, None) for name in backends), *named]
    reports = asyncio.run(probe_all([(backends[name], python) for name, python in asked]))
    for one, report in zip(asked, reports, strict=True):
        name, _ = one
        # What a backend lacks by its own choice is of no account where all its placements name an interpreter.
        if one in used or report.available or name not in elsewhere:
            yield _engine(backends[name], report, devices, is_used=one in used)
    refused = {plugin.name for plugin in plugins.quarantined}
    for absent in absent_backends({*backends, *refused}).values():
        yield _absent(absent, devices)


def _engine(backend: BackendType, report: ProbeReport, devices: Sequence[Device], *, is_used: bool) -> Check:
    version = f" {report.engine_version}" if report.engine_version else ""
    detail = f"{report.engine}{version}" + (f": {report.detail}" if report.detail else "")
    here = _usable(backend.kinds, devices)
    if backend.kinds and not here:
        # Without the hardware nothing that could be installed would help.
        return Check(
            area="engine", name=backend.name, verdict="note", detail=f"{detail}; {_no_hardware(backend.kinds, devices)}"
        )
    if report.available:
        on = f", runs on {', '.join(here)}" if here else ""
        if report.devices:
            on += f"; this build sees {', '.join(f'{device.id} ({device.name})' for device in report.devices)}"
        return Check(area="engine", name=backend.name, verdict="ok", detail=detail + on)
    return Check(
        area="engine", name=backend.name, verdict="missing" if is_used else "note", detail=detail, fix=report.fix
    )


def _absent(absent: AbsentBackend, devices: Sequence[Device]) -> Check:
    here = _usable(absent.kinds, devices)
    if not here and absent.kinds:
        detail = f"{absent.engine}: {_no_hardware(absent.kinds, devices)}"
        return Check(area="engine", name=absent.name, verdict="note", detail=detail)
    could = f"run on {', '.join(here)}" if here else "be used"
    return Check(
        area="engine",
        name=absent.name,
        verdict="note",
        detail=f"{absent.engine} could {could}; its plugin is not installed",
        fix=f"{PIP} install '{absent.requirement}'",
    )


def _usable(kinds: Sequence[str], devices: Sequence[Device]) -> list[str]:
    """Ids of the devices of *kinds*, the best kind first."""
    return [device.id for kind in kinds for device in devices if device.kind == kind]


def _no_hardware(kinds: Sequence[str], devices: Sequence[Device]) -> str:
    there = ", ".join(dict.fromkeys(device.kind for device in devices)) or "no device"
    return f"it cannot run here: it needs {' or '.join(kinds)}, and this host has {there}"


async def probe_all(asked: Sequence[tuple[BackendType, str | None]]) -> list[ProbeReport]:
    """Ask each backend, for the interpreter beside it, whether its engine is here; whatever fails is a report too."""
    return await asyncio.gather(*(_probe(backend, python) for backend, python in asked))


async def _probe(backend: BackendType, python: str | None) -> ProbeReport:
    try:
        async with asyncio.timeout(_PROBE_TIMEOUT_S):
            return await probed(backend.create(), python)
    except EnginehouseError as error:
        return ProbeReport(available=False, engine=backend.name, detail=error.message)
    except TimeoutError:
        return ProbeReport(available=False, engine=backend.name, detail=f"no answer within {_PROBE_TIMEOUT_S:g} s")
    except Exception as error:  # noqa: BLE001  # a plugin's fault must not end the command that explains it
        broken = f"its plugin broke: {type(error).__name__}: {error}"
        return ProbeReport(available=False, engine=backend.name, detail=broken)
