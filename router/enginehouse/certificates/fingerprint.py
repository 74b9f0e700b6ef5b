"""A short name of what answers: another engine, other weights, another template or other options have another."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import msgspec

from enginehouse_plugin import BackendType, Device, Placement

from .digests import files_in
from .key import environment_of


def fingerprint_of(
    kind: BackendType, placement: Placement, devices: tuple[Device, ...], engine: tuple[str, str | None]
) -> str:
    """The fingerprint of what *kind* loads for *placement* on *devices* with *engine*, its name and version.

    Weights, and files that options name, count by size and time of the last change: nothing is read. Blocks shortly.
    """
    options = msgspec.to_builtins(placement.options, enc_hook=str) if placement.options is not None else {}
    known = [
        kind.name,
        kind.version,
        *engine,
        placement.source,
        placement.context_tokens,
        environment_of(placement.python) if placement.python is not None else None,
        options,
        [(device.kind, device.name) for device in devices],
        _files(placement.path),
        {name: _files(value) for name, value in options.items() if isinstance(value, str)},
    ]
    return f"fp_{hashlib.sha256(msgspec.json.encode(known, order='deterministic')).hexdigest()[:12]}"


def _files(path: str | None) -> list[tuple[str, int, int]]:
    """Name, size and time of the file at *path*, or of those in that folder; none where there is nothing."""
    if path is None:
        return []
    try:
        names = [str(Path(path, name)) for name in sorted(files_in(Path(path)))] if os.path.isdir(path) else [path]
        found = [(name, os.stat(name)) for name in names]
    except (OSError, ValueError):  # no path at all, as most options
        return []
    return [(os.path.basename(name), stat.st_size, stat.st_mtime_ns) for name, stat in found]
