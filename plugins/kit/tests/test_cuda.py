from __future__ import annotations

import pytest

from enginehouse_kit.process.cuda import visible_devices
from enginehouse_plugin import Device


def a_device(device_id: str, kind: str = "cuda", uuid: str | None = None) -> Device:
    return Device(id=device_id, kind=kind, name="x", memory_bytes=1, uuid=uuid)


@pytest.mark.parametrize(
    ("devices", "names"),
    [
        ((a_device("cuda:1"),), "1"),
        ((a_device("cuda:3", uuid="GPU-3"), a_device("cuda:0", uuid="GPU-0")), "3,0"),
        ((a_device("cuda:1:2", uuid="MIG-12"),), "MIG-12"),
        ((a_device("cuda:1"), a_device("cpu", "cpu")), "1"),
    ],
)
def test_a_child_sees_the_devices_of_its_placement_as_the_driver_counts_them(devices, names):
    assert visible_devices(devices) == {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_VISIBLE_DEVICES": names}


def test_without_cuda_devices_nothing_is_set():
    assert visible_devices((a_device("cpu", "cpu"), a_device("apple", "apple"))) == {}
