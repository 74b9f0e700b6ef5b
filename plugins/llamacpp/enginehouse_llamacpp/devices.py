"""Which devices a build of llama.cpp can use: each is built for CUDA, ROCm, Metal, Vulkan, or processors alone."""

from __future__ import annotations

import importlib.util
import mmap
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import msgspec

from enginehouse_plugin import Device
from enginehouse_plugin.threadsafe import threadsafe

# `  Vulkan0: NVIDIA GeForce RTX 2060 (6144 MiB, 5136 MiB free)`, as `llama-server --list-devices` prints it.
_LINE = re.compile(
    r"^\s+(?P<name>[A-Za-z]+\d*): (?P<description>.*) \((?P<total>\d+) MiB, (?P<free>\d+) MiB free\)\s*$"
)
_NAME = re.compile(r"(?P<backend>CUDA|ROCm|Vulkan|MTL|Metal)(?P<index>\d*)")
_KINDS = {"CUDA": "cuda", "ROCm": "rocm", "Vulkan": "vulkan", "MTL": "apple", "Metal": "apple"}
_MIB = 1024 * 1024
_VARIABLES = {"rocm": "HIP_VISIBLE_DEVICES", "vulkan": "GGML_VK_VISIBLE_DEVICES"}
_MARKS = (b"ggml_vulkan: ", b"libamdhip64")  # in a library that was built for one of them
_TIMEOUT_S = 20.0
_LIST = """
import json, sys, xllamacpp
names = "name", "description", "memory_total", "memory_free"
json.dump([{name: device[name] for name in names} for device in xllamacpp.get_device_info()], sys.stdout)
"""


@threadsafe
class _Listed(msgspec.Struct, frozen=True):
    """A device as ggml names it; memory in bytes."""

    name: str
    description: str
    memory_total: int
    memory_free: int


def read_list(output: str) -> tuple[Device, ...]:
    """The devices in what `llama-server --list-devices` prints; those of other kinds than the known are left out."""
    found = [match for line in output.splitlines() if (match := _LINE.match(line))]
    return _devices(
        _Listed(match["name"], match["description"], int(match["total"]) * _MIB, int(match["free"]) * _MIB)
        for match in found
    )


def read_info(output: bytes) -> tuple[Device, ...]:
    """The devices in what xllamacpp tells, as JSON."""
    return _devices(msgspec.json.decode(output, type=list[_Listed]))


def usable(python: str | None = None) -> tuple[Device, ...]:
    """Ask the engine of *python*, or the one that is here, in a process of its own; nothing where it does not tell."""
    binary = shutil.which("llama-server") if python is None and importlib.util.find_spec("xllamacpp") is None else None
    command = [binary, "--list-devices"] if binary else [python or sys.executable, "-c", _LIST]
    try:
        # ggml's own words go to standard error.
        done = subprocess.run(command, capture_output=True, timeout=_TIMEOUT_S, check=True)  # noqa: S603  # as configured
        return read_list(done.stdout.decode(errors="replace")) if binary else read_info(done.stdout)
    except (OSError, subprocess.SubprocessError, msgspec.MsgspecError):
        return ()


def brought() -> tuple[Device, ...]:
    """The devices of this host that a build for ROCm or Vulkan sees; the router finds those of other kinds itself.

    An xllamacpp that was not built for them is not asked: that would import it.
    """
    spec = importlib.util.find_spec("xllamacpp")
    if spec is None or spec.origin is None:
        is_built_for_them = shutil.which("llama-server") is not None
    else:
        is_built_for_them = any(map(_names_them, Path(spec.origin).parent.glob("*.so")))
    return tuple(device for device in usable() if device.kind in _VARIABLES) if is_built_for_them else ()


def visible(devices: tuple[Device, ...]) -> dict[str, str]:
    """The environment that shows llama.cpp the ROCm and Vulkan devices among *devices*, and no others of their kind."""
    found = {kind: [one.id.partition(":")[2] for one in devices if one.kind == kind] for kind in _VARIABLES}
    return {_VARIABLES[kind]: ",".join(indices) for kind, indices in found.items() if indices}


def _names_them(library: Path) -> bool:
    with library.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return any(content.find(mark) >= 0 for mark in _MARKS)


def _devices(listed: Iterable[_Listed]) -> tuple[Device, ...]:
    devices = []
    for one in listed:
        name = _NAME.fullmatch(one.name)
        if name is None:
            continue
        kind = _KINDS[name["backend"]]
        devices.append(
            Device(
                id=kind if kind == "apple" else f"{kind}:{name['index'] or 0}",
                kind=kind,
                name=one.description,
                memory_bytes=one.memory_total,
                free_bytes=one.memory_free,
            )
        )
    return tuple(devices)
