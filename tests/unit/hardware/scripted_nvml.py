"""A driver under the real nvidia-ml-py: it fills the library's own C structures, as libnvidia-ml.so.1 does."""

# ruff: noqa: N802  # the C names
from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ctypes import POINTER, c_void_p, cast
from typing import Any

import msgspec
import pynvml

OK = pynvml.NVML_SUCCESS


class Part(msgspec.Struct, kw_only=True):
    """A device, or a part of one in MIG mode. *refuses*: the error code of each function that fails."""

    name: str
    uuid: str
    total: int
    free: int
    capability: tuple[int, int] = (9, 0)
    parts: dict[int, Part] | None = None
    """In MIG mode: parts by place, of seven."""
    refuses: dict[str, int] = {}


class ScriptedDriver:
    """Answers for *devices*; `refuses` are error codes of functions that ask of no device."""

    def __init__(self, *devices: Part, driver: str = "580.82.07", refuses: dict[str, int] | None = None) -> None:
        self.devices = devices
        self.driver = driver
        self.refuses = refuses or {}
        self.open = 0
        self._handles: dict[int, Part] = {}

    def __getattr__(self, name: str) -> Callable[..., int]:
        answer = getattr(type(self), f"_{name}", None)
        if answer is None:
            raise AttributeError(name)  # as a C library without the symbol

        def call(*arguments: Any) -> int:
            code = self.refuses.get(name, OK)
            return code if code != OK else answer(self, *arguments)

        return call

    # ---- of no device ----

    def _nvmlInitWithFlags(self, flags: int) -> int:
        self.open += 1
        return OK

    def _nvmlShutdown(self) -> int:
        self.open -= 1
        return OK

    def _nvmlSystemGetDriverVersion(self, buffer: Any, size: Any) -> int:
        buffer.value = self.driver.encode()
        return OK

    def _nvmlDeviceGetCount_v2(self, count: Any) -> int:
        count._obj.value = len(self.devices)
        return OK

    def _nvmlDeviceGetHandleByIndex_v2(self, index: Any, handle: Any) -> int:
        device = self.devices[index.value]
        code = device.refuses.get("nvmlDeviceGetHandleByIndex_v2", OK)
        return code if code != OK else self._hand_out(device, handle)

    # ---- of a device ----

    def _nvmlDeviceGetMigDeviceHandleByIndex(self, handle: Any, index: Any, mig: Any) -> int:
        part = (self._of(handle).parts or {}).get(index.value)
        if part is None:
            return pynvml.NVML_ERROR_NOT_FOUND
        code = part.refuses.get("nvmlDeviceGetMigDeviceHandleByIndex", OK)
        return code if code != OK else self._hand_out(part, mig)

    def _nvmlDeviceGetMigMode(self, handle: Any, current: Any, pending: Any) -> int:
        device = self._of(handle)
        current._obj.value = pending._obj.value = int(device.parts is not None)
        return device.refuses.get("nvmlDeviceGetMigMode", OK)

    def _nvmlDeviceGetMaxMigDeviceCount(self, handle: Any, count: Any) -> int:
        count._obj.value = 7
        return OK

    def _nvmlDeviceGetName(self, handle: Any, buffer: Any, size: Any) -> int:
        buffer.value = self._of(handle).name.encode()
        return self._of(handle).refuses.get("nvmlDeviceGetName", OK)

    def _nvmlDeviceGetUUID(self, handle: Any, buffer: Any, size: Any) -> int:
        buffer.value = self._of(handle).uuid.encode()
        return self._of(handle).refuses.get("nvmlDeviceGetUUID", OK)

    def _nvmlDeviceGetMemoryInfo(self, handle: Any, memory: Any) -> int:
        device = self._of(handle)
        memory._obj.total, memory._obj.free = device.total, device.free
        memory._obj.used = device.total - device.free
        return device.refuses.get("nvmlDeviceGetMemoryInfo", OK)

    def _nvmlDeviceGetCudaComputeCapability(self, handle: Any, major: Any, minor: Any) -> int:
        device = self._of(handle)
        major._obj.value, minor._obj.value = device.capability
        return device.refuses.get("nvmlDeviceGetCudaComputeCapability", OK)

    def _hand_out(self, device: Part, handle: Any) -> int:
        self._handles[id(device)] = device
        cast(handle, POINTER(c_void_p))[0] = id(device)
        return OK

    def _of(self, handle: Any) -> Part:
        return self._handles[cast(handle, c_void_p).value or 0]


@contextmanager
def installed(driver: ScriptedDriver) -> Iterator[None]:
    """Let nvidia-ml-py talk to *driver* inside the block."""
    before = pynvml.nvmlLib, dict(pynvml._nvmlGetFunctionPointer_cache)
    pynvml.nvmlLib = driver
    pynvml._nvmlGetFunctionPointer_cache.clear()
    try:
        yield
    finally:
        pynvml.nvmlLib = before[0]
        pynvml._nvmlGetFunctionPointer_cache.clear()
        pynvml._nvmlGetFunctionPointer_cache.update(before[1])
