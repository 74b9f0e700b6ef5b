"""The CPU, its memory, and what a container leaves of it."""

from __future__ import annotations

import platform
import re
from pathlib import Path

import msgspec
import psutil  # type: ignore[import-untyped]  # ships no types

from enginehouse.hardware.cgroups import ROOT, SELF, groups_around, read_text
from enginehouse_plugin import Device

from .apple import sysctl

_NO_LIMIT = 1 << 60  # version 1 writes "no limit" as the largest multiple of a page below 2^63


def cpu_device() -> Device:
    """The CPU and the memory that this process may use."""
    memory = psutil.virtual_memory()
    total, free = memory.total, memory.available
    limit = container_limit() if platform.system() == "Linux" else None
    if limit is not None and limit.limit_bytes < total:
        total = limit.limit_bytes
        free = min(free, max(0, limit.limit_bytes - limit.used_bytes))
    return Device(id="cpu", kind="cpu", name=cpu_name(), memory_bytes=total, free_bytes=free)


def cpu_name() -> str:
    """The processor's own name where the system tells it, else the architecture."""
    if platform.system() == "Darwin":
        return sysctl("machdep.cpu.brand_string").get("machdep.cpu.brand_string") or platform.machine()
    try:
        return parse_cpu_name(Path("/proc/cpuinfo").read_text(errors="replace")) or platform.machine()
    except OSError:
        return platform.processor() or platform.machine() or "CPU"


def parse_cpu_name(cpuinfo: str) -> str | None:
    """The model in the text of /proc/cpuinfo (ARM boards name it `Model` or `Hardware`, or not at all)."""
    for key in ("model name", "Model", "Hardware", "cpu model"):
        if match := re.search(rf"^{key}\s*:\s*(\S.*)$", cpuinfo, re.MULTILINE):
            return " ".join(match[1].split())
    return None


class MemoryLimit(msgspec.Struct, frozen=True):
    """What a container may use, and uses: page cache that can be dropped does not count."""

    limit_bytes: int
    used_bytes: int


def container_limit(*, root: Path = ROOT, self_cgroup: Path = SELF) -> MemoryLimit | None:
    """The narrowest memory limit on this process among its control groups (version 1 or 2), or None.

    Source: the kernel's cgroup-v2.rst and cgroup-v1/memory.rst.
    """
    version, folders = groups_around("memory", root=root, self_cgroup=self_cgroup)
    found = []
    for folder in folders:
        if version == 1:
            found += _limit(folder, "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
        else:
            found += _limit(folder, "memory.max", "memory.current", "inactive_file")
    return min(found, key=lambda limit: limit.limit_bytes, default=None)


def _limit(folder: Path, limit_file: str, usage_file: str, cache_key: str) -> list[MemoryLimit]:
    limit = _number(read_text(folder / limit_file))
    if limit is None or limit >= _NO_LIMIT:  # None: no such file, or "max"
        return []
    # Sandboxes may tell the limit alone.
    used = _number(read_text(folder / usage_file)) or 0
    cache = re.search(rf"^{cache_key} (\d+)$", read_text(folder / "memory.stat"), re.MULTILINE)
    return [MemoryLimit(limit, max(0, used - (int(cache[1]) if cache else 0)))]


def _number(text: str) -> int | None:
    text = text.strip()
    return int(text) if text.isdecimal() else None
