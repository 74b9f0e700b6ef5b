"""The devices of this host: what the operating system and the drivers tell, within a container's limits."""

from __future__ import annotations

import importlib
import platform
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import msgspec
import psutil  # type: ignore[import-untyped]  # ships no types

from enginehouse.telemetry import get_logger
from enginehouse_plugin import Device

log = get_logger()

_NO_LIMIT = 1 << 60  # version 1 writes "no limit" as the largest multiple of a page below 2^63


def devices() -> tuple[Device, ...]:
    """All devices of this host: CUDA devices first, then Apple silicon, then the CPU."""
    return (*cuda_devices(_nvml()), *apple_devices(), cpu_device())


def merged(*found: tuple[Device, ...]) -> tuple[Device, ...]:
    """Several findings as one; of two devices with one id the first counts."""
    by_id: dict[str, Device] = {}
    for device in (device for part in found for device in part):
        by_id.setdefault(device.id, device)
    return tuple(by_id.values())


# ---- CPU ----


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
        return _sysctl("machdep.cpu.brand_string") or platform.machine()
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


def container_limit(
    root: Path = Path("/sys/fs/cgroup"), self_cgroup: Path = Path("/proc/self/cgroup")
) -> MemoryLimit | None:
    """The narrowest memory limit on this process among its control groups (version 1 or 2), or None.

    Source: the kernel's cgroup-v2.rst and cgroup-v1/memory.rst.
    """
    try:
        groups = parse_cgroups(self_cgroup.read_text())
    except OSError:
        return None
    found = []
    if "memory" in groups:
        base = root / "memory"
        for folder in _upward(base, groups["memory"]):
            found += _limit(folder, "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
    elif "" in groups:
        for folder in _upward(root, groups[""]):
            found += _limit(folder, "memory.max", "memory.current", "inactive_file")
    return min(found, key=lambda limit: limit.limit_bytes, default=None)


def parse_cgroups(text: str) -> dict[str, str]:
    """Controller to path, from the text of /proc/self/cgroup; version 2 is the controller `""`."""
    groups = {}
    for line in text.splitlines():
        _, controllers, path = line.split(":", 2)
        for controller in controllers.split(","):
            groups[controller] = path
    return groups


def _upward(base: Path, path: str) -> Iterator[Path]:
    """The folder of a group, then those of the groups around it, down to *base*.

    Inside a container the path may be the host's, of which only the end, or nothing, is mounted: what is not
    there is passed over.
    """
    folder = base / path.lstrip("/")
    while folder != base and base in folder.parents:
        yield folder
        folder = folder.parent
    yield base


def _limit(folder: Path, limit_file: str, usage_file: str, cache_key: str) -> list[MemoryLimit]:
    try:
        limit = (folder / limit_file).read_text().strip()
        used = int((folder / usage_file).read_text())
        cache = re.search(rf"^{cache_key} (\d+)$", (folder / "memory.stat").read_text(), re.MULTILINE)
    except (OSError, ValueError):
        return []
    if not limit.isdigit() or int(limit) >= _NO_LIMIT:  # "max"
        return []
    return [MemoryLimit(int(limit), max(0, used - (int(cache[1]) if cache else 0)))]


# ---- Apple silicon ----


def apple_devices() -> tuple[Device, ...]:
    """The GPU of Apple silicon, which shares the machine's memory."""
    if platform.system() != "Darwin" or platform.machine() != "arm64":
        return ()
    memory = psutil.virtual_memory()
    name = _sysctl("machdep.cpu.brand_string") or "Apple silicon"
    return (Device(id="apple", kind="apple", name=name, memory_bytes=memory.total, free_bytes=memory.available),)


def _sysctl(name: str) -> str | None:
    try:
        done = subprocess.run(["/usr/sbin/sysctl", "-n", name], capture_output=True, text=True, timeout=5, check=True)  # noqa: S603  # fixed names
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None


# ---- CUDA ----


class Nvml(Protocol):
    """The part of nvidia-ml-py (module `pynvml`) that is used."""

    NVMLError: type[Exception]

    def nvmlInit(self) -> None: ...  # noqa: D102, N802  # NVML's name
    def nvmlShutdown(self) -> None: ...  # noqa: D102, N802  # NVML's name
    def nvmlSystemGetDriverVersion(self) -> str | bytes: ...  # noqa: D102, N802  # NVML's name
    def nvmlDeviceGetCount(self) -> int: ...  # noqa: D102, N802  # NVML's name
    def nvmlDeviceGetHandleByIndex(self, index: int) -> Any: ...  # noqa: D102, N802  # an opaque pointer
    def nvmlDeviceGetName(self, handle: Any) -> str | bytes: ...  # noqa: D102, N802  # an opaque pointer
    def nvmlDeviceGetMemoryInfo(self, handle: Any) -> Any: ...  # noqa: D102, N802  # a ctypes structure
    def nvmlDeviceGetCudaComputeCapability(self, handle: Any) -> tuple[int, int]: ...  # noqa: D102, N802  # NVML's name


def _nvml() -> Nvml | None:
    try:
        module: Any = importlib.import_module("pynvml")  # optional: only hosts with NVIDIA devices need it
    except ImportError:
        return None
    nvml: Nvml = module
    return nvml


def cuda_devices(nvml: Nvml | None) -> tuple[Device, ...]:
    """The CUDA devices that the driver tells of; none without the package or the driver."""
    if nvml is None:
        return ()
    try:
        nvml.nvmlInit()
    except nvml.NVMLError as error:
        log.debug("no NVIDIA driver", problem=str(error))
        return ()
    try:
        driver = _text(nvml.nvmlSystemGetDriverVersion())
        return tuple(_cuda_device(nvml, index, driver) for index in range(nvml.nvmlDeviceGetCount()))
    except nvml.NVMLError as error:
        log.warning("the NVIDIA driver does not answer", problem=str(error))
        return ()
    finally:
        nvml.nvmlShutdown()


def _cuda_device(nvml: Nvml, index: int, driver: str) -> Device:
    handle = nvml.nvmlDeviceGetHandleByIndex(index)
    memory = nvml.nvmlDeviceGetMemoryInfo(handle)
    major, minor = nvml.nvmlDeviceGetCudaComputeCapability(handle)
    return Device(
        id=f"cuda:{index}",
        kind="cuda",
        name=_text(nvml.nvmlDeviceGetName(handle)),
        memory_bytes=memory.total,
        free_bytes=memory.free,
        compute_capability=(major, minor),
        driver=driver,
    )


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value
