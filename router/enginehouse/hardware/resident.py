"""What processes hold of memory: of the machine's by the system's word, of CUDA devices by the driver's."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable

import msgspec
import psutil  # type: ignore[import-untyped]  # ships no types

from .cuda import Nvml, load_nvml


class Resident(msgspec.Struct, frozen=True):
    """Bytes of the machine's memory: all, and without pages of files, which the system may take back."""

    n_bytes: int = 0
    private_bytes: int = 0


def tree(pids: Iterable[int]) -> set[int]:
    """*pids* and the processes below them that live."""
    found: set[int] = set()
    for pid in pids:
        with contextlib.suppress(psutil.Error):
            process = psutil.Process(pid)
            found |= {pid, *(child.pid for child in process.children(recursive=True))}
    return found


def resident(pids: Iterable[int]) -> Resident:
    """What the processes with *pids* hold together; one that has ended holds nothing."""
    total = private = 0
    for pid in pids:
        with contextlib.suppress(psutil.Error):
            memory = psutil.Process(pid).memory_info()
            total += memory.rss
            private += max(0, memory.rss - getattr(memory, "shared", 0))
    return Resident(total, private)


def on_cuda(nvml: Nvml | None, pids: set[int]) -> dict[str, int]:
    """What the processes with *pids* hold of each CUDA device, by its id; a driver that does not tell is left out.

    In a container the driver may name processes by numbers of the host, and then tells of none of these.
    """
    found: dict[str, int] = {}
    if nvml is None:
        return found
    try:
        nvml.nvmlInit()
    except nvml.NVMLError:
        return found
    try:
        for index in range(nvml.nvmlDeviceGetCount()):
            handle = nvml.nvmlDeviceGetHandleByIndex(index)
            used = [one.usedGpuMemory for one in nvml.nvmlDeviceGetComputeRunningProcesses(handle) if one.pid in pids]
            if used and None not in used:
                found[f"cuda:{index}"] = sum(used)
    except nvml.NVMLError:
        return found
    finally:
        with contextlib.suppress(nvml.NVMLError):
            nvml.nvmlShutdown()
    return found


def held(pids: Iterable[int]) -> tuple[Resident, dict[str, int]]:
    """What *pids* and the processes below them hold: of the machine's memory, and of CUDA devices by their ids."""
    processes = tree(pids)
    return resident(processes), on_cuda(load_nvml(), processes)
