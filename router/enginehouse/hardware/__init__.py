"""The devices of this host: what the operating system and the drivers tell, within a container's limits."""

from __future__ import annotations

import os

from enginehouse_plugin import Device

from .apple import find_apple
from .cpu import cpu_device
from .cuda import find_cuda, load_nvml
from .resident import Resident, held
from .survey import Survey, Trouble

__all__ = ["Resident", "Survey", "Trouble", "devices", "held", "merged", "survey"]


def survey() -> Survey:
    """All devices of this host, CUDA devices first, then Apple silicon, then the CPU; and what hides others."""
    cuda = find_cuda(load_nvml(), visible=os.environ.get("CUDA_VISIBLE_DEVICES"))
    apple = find_apple()
    return Survey(
        devices=(*cuda.devices, *apple.devices, cpu_device()),
        troubles=(*cuda.troubles, *apple.troubles),
    )


def devices() -> tuple[Device, ...]:
    """The devices of `survey`."""
    return survey().devices


def merged(*found: tuple[Device, ...]) -> tuple[Device, ...]:
    """Several findings as one; of two devices with one id the first counts."""
    by_id: dict[str, Device] = {}
    for device in (device for part in found for device in part):
        by_id.setdefault(device.id, device)
    return tuple(by_id.values())
