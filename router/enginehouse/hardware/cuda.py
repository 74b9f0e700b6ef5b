"""CUDA devices, as NVIDIA's driver tells of them through NVML (the package nvidia-ml-py).

NVML answers without a CUDA context, so asking takes no memory of the device. What a device or a driver does not
answer is left out; one broken device hides no other.
"""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import psutil  # type: ignore[import-untyped]  # ships no types

from enginehouse_plugin import Device

from .survey import Survey, Trouble

T = TypeVar("T")
Nvml = Any  # the module `pynvml`, which ships no types

_PCI_DEVICES = Path("/sys/bus/pci/devices")
_NVIDIA = "0x10de"
_DISPLAY = "0x03"  # the first byte of a PCI class: VGA and 3D controllers
_INSTALL = (
    "Install NVIDIA's driver for this system; in a container, start it with the host's devices "
    "(for Docker: the NVIDIA Container Toolkit and --gpus all)."
)


def load_nvml() -> Nvml | None:
    """The module, or None where it is not installed (macOS)."""
    try:
        return importlib.import_module("pynvml")
    except ImportError:
        return None


def find_cuda(nvml: Nvml | None, *, visible: str | None = None, pci_devices: Path = _PCI_DEVICES) -> Survey:
    """The CUDA devices that this process may use; a device in MIG mode counts as its parts.

    *visible* is the value of CUDA_VISIBLE_DEVICES: engines started from here obey it, so what it hides is not found.
    """
    if nvml is None:
        return Survey()
    try:
        nvml.nvmlInit()
    except nvml.NVMLError as error:
        return _without_driver(nvml, error, pci_devices)
    try:
        driver = _driver_version(nvml)
        devices: list[Device] = []
        troubles: list[Trouble] = []
        for index in range(nvml.nvmlDeviceGetCount()):
            try:
                devices += _devices_of(nvml, index, driver, troubles)
            except nvml.NVMLError as error:
                troubles.append(_no_answer(f"cuda:{index}", error))
        return Survey(devices=only_visible(devices, visible), troubles=tuple(troubles))
    except nvml.NVMLError as error:
        trouble = Trouble(
            name="cuda", problem=f"the driver does not answer: {error}", fix="See what 'nvidia-smi' says."
        )
        return Survey(troubles=(trouble,))
    finally:
        with contextlib.suppress(nvml.NVMLError):  # what was found counts
            nvml.nvmlShutdown()


def only_visible(devices: list[Device], visible: str | None) -> tuple[Device, ...]:
    """Those of *devices* that a CUDA_VISIBLE_DEVICES of *visible* leaves, in its order.

    It lists indices and beginnings of UUIDs; the first that names no device ends the list. Indices are taken in
    NVML's order, which is CUDA's where CUDA_DEVICE_ORDER=PCI_BUS_ID or all devices are alike.

    Source: CUDA C++ Programming Guide, "CUDA Environment Variables".
    """
    if visible is None:
        return tuple(devices)
    left: list[Device] = []
    for item in (item.strip() for item in visible.split(",")):
        if item.isdigit():
            named = [device for device in devices if device.id.split(":")[1] == item]
        else:
            named = [device for device in devices if item and (device.uuid or "").startswith(item)]
        if not named:
            break
        left += [device for device in named if device not in left]
    return tuple(left)


def _driver_version(nvml: Nvml) -> str | None:
    try:
        return _text(nvml.nvmlSystemGetDriverVersion())
    except nvml.NVMLError:  # nothing depends on it
        return None


def _no_answer(device_id: str, error: Exception) -> Trouble:
    return Trouble(
        name=device_id,
        problem=f"the driver does not answer for it: {error}",
        fix="See what 'nvidia-smi' and the kernel's log say; a reset or a restart may bring it back.",
    )


def _devices_of(nvml: Nvml, index: int, driver: str | None, troubles: list[Trouble]) -> Iterator[Device]:
    handle = nvml.nvmlDeviceGetHandleByIndex(index)
    capability = _ask(nvml, nvml.nvmlDeviceGetCudaComputeCapability, handle)
    mig_mode = _ask(nvml, nvml.nvmlDeviceGetMigMode, handle)
    if mig_mode is None or not mig_mode[0]:
        yield _device(nvml, handle, f"cuda:{index}", capability, driver)
        return
    parts = 0
    for part in range(nvml.nvmlDeviceGetMaxMigDeviceCount(handle)):
        name = f"cuda:{index}:{part}"
        try:
            mig = nvml.nvmlDeviceGetMigDeviceHandleByIndex(handle, part)
            device = _device(nvml, mig, name, capability, driver)
        except nvml.NVMLError_NotFound:  # a place where no part was made
            continue
        except nvml.NVMLError as error:
            parts += 1
            troubles.append(_no_answer(name, error))
            continue
        parts += 1
        yield device
    if not parts:
        troubles.append(
            Trouble(
                name=f"cuda:{index}",
                problem="it is in MIG mode and was not divided into parts, so nothing can run on it",
                fix="Make parts of it with 'nvidia-smi mig -cgi … -C', or end the mode: nvidia-smi -mig 0.",
            )
        )


def _device(
    nvml: Nvml, handle: Any, device_id: str, capability: tuple[int, int] | None, driver: str | None
) -> Device:  # handle: an opaque pointer
    try:
        memory = nvml.nvmlDeviceGetMemoryInfo(handle)
        total, free = int(memory.total), int(memory.free)
    except nvml.NVMLError_NotSupported:
        # Devices that share the machine's memory (Jetson, GB10) have none of their own to tell of.
        shared = psutil.virtual_memory()
        total, free = shared.total, shared.available
    return Device(
        id=device_id,
        kind="cuda",
        name=_text(_ask(nvml, nvml.nvmlDeviceGetName, handle)) or "NVIDIA device",
        memory_bytes=total,
        free_bytes=free,
        compute_capability=capability,
        driver=driver,
        uuid=_text(_ask(nvml, nvml.nvmlDeviceGetUUID, handle)),
    )


def _ask(nvml: Nvml, function: Callable[..., T], *arguments: Any) -> T | None:  # arguments: opaque pointers
    """The answer of *function*, or None where this driver or device does not know it.

    Raises:
        NVMLError: the device is lost, or the like.
    """
    try:
        return function(*arguments)
    except (nvml.NVMLError_NotSupported, nvml.NVMLError_FunctionNotFound, nvml.NVMLError_NoPermission):
        return None


def _without_driver(nvml: Nvml, error: Exception, pci_devices: Path) -> Survey:
    """Nothing, or why an NVIDIA device of this host cannot be used."""
    if isinstance(error, nvml.NVMLError_LibraryNotFound):
        if not has_nvidia_device(pci_devices):
            return Survey()
        problem, fix = "an NVIDIA device is in this machine, and its driver is not installed", _INSTALL
    elif isinstance(error, nvml.NVMLError_DriverNotLoaded):
        if not has_nvidia_device(pci_devices):
            return Survey()
        problem, fix = (
            "NVIDIA's driver is installed and not loaded",
            "Load it (modprobe nvidia) or restart the machine.",
        )
    elif isinstance(error, nvml.NVMLError_LibRmVersionMismatch):
        problem = "NVIDIA's driver was updated while its older version still runs"
        fix = "Restart the machine."
    else:
        problem, fix = f"NVIDIA's driver does not answer: {error}", "See what 'nvidia-smi' says."
    return Survey(troubles=(Trouble(name="cuda", problem=problem, fix=fix),))


def has_nvidia_device(pci_devices: Path) -> bool:
    """Whether the PCI bus (a folder such as /sys/bus/pci/devices) has a graphics or 3D controller of NVIDIA's."""
    for folder in pci_devices.glob("*"):
        try:
            vendor, kind = (folder / "vendor").read_text().strip(), (folder / "class").read_text().strip()
        except OSError:
            continue
        if vendor == _NVIDIA and kind.startswith(_DISPLAY):
            return True
    return False


def _text(value: str | bytes | None) -> str | None:
    return value.decode(errors="replace") if isinstance(value, bytes) else value
