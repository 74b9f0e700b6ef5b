"""Which CUDA devices a child may see."""

from __future__ import annotations

from collections.abc import Sequence

from enginehouse_plugin.backend import Device


def visible_devices(devices: Sequence[Device]) -> dict[str, str]:
    """The environment that shows a child the CUDA devices among *devices*, in their order, and no other; empty
    without any.

    Indices are the driver's, so CUDA is told to count as the driver does (on its own it puts the fastest first). A
    part of a device in MIG mode has no index that would do, and goes by its UUID. Whole devices do not: older vLLM
    takes nothing but numbers (vllm-project/vllm#32569).
    """
    names = [_name(device) for device in devices if device.kind == "cuda"]
    return {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_VISIBLE_DEVICES": ",".join(names)} if names else {}


def _name(device: Device) -> str:
    index = device.id.partition(":")[2]
    is_part = ":" in index
    return device.uuid if is_part and device.uuid else index
