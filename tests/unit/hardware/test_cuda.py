"""CUDA devices: the real nvidia-ml-py above a scripted driver."""

from __future__ import annotations

import pynvml
import pytest

from enginehouse.hardware import Survey
from enginehouse.hardware.cuda import find_cuda, has_nvidia_device, load_nvml, only_visible
from enginehouse_plugin import Device

from .scripted_nvml import Part, ScriptedDriver, installed

H200 = Part(
    name="NVIDIA H200",
    uuid="GPU-4f9c1b0e-5d0f-6a3b-9a53-0c1d2e3f4a5b",
    total=150_754_820_096,
    free=150_111_715_328,
)
RTX = Part(
    name="NVIDIA GeForce RTX 4090",
    uuid="GPU-11111111-2222-3333-4444-555555555555",
    total=25_757_220_864,
    free=20_000_000_000,
    capability=(8, 9),
    refuses={"nvmlDeviceGetMigMode": pynvml.NVML_ERROR_NOT_SUPPORTED},
)


def look(driver: ScriptedDriver, **options) -> Survey:
    with installed(driver):
        found = find_cuda(load_nvml(), **options)
    assert driver.open == 0, "NVML was left open"
    return found


def refusing(device: Part, **codes: int) -> Part:
    return Part(
        **{name: getattr(device, name) for name in device.__struct_fields__ if name != "refuses"}, refuses=codes
    )


def test_devices_as_the_driver_tells_of_them():
    found = look(ScriptedDriver(H200, RTX))
    assert found.troubles == ()
    assert found.devices == (
        Device(
            id="cuda:0", kind="cuda", name="NVIDIA H200", memory_bytes=150_754_820_096, free_bytes=150_111_715_328,
            compute_capability=(9, 0), driver="580.82.07", uuid=H200.uuid,
        ),
        Device(
            id="cuda:1", kind="cuda", name="NVIDIA GeForce RTX 4090", memory_bytes=25_757_220_864,
            free_bytes=20_000_000_000, compute_capability=(8, 9), driver="580.82.07", uuid=RTX.uuid,
        ),
    )  # fmt: skip


# ---- MIG ----

DIVIDED = Part(
    name="NVIDIA A100-SXM4-40GB",
    uuid="GPU-aaaaaaaa-0000-0000-0000-000000000000",
    total=42_505_273_344,
    free=42_000_000_000,
    capability=(8, 0),
    parts={
        0: Part(name="NVIDIA A100-SXM4-40GB MIG 3g.20gb", uuid="MIG-a1", total=20_937_965_568, free=20_900_000_000),
        2: Part(name="NVIDIA A100-SXM4-40GB MIG 1g.5gb", uuid="MIG-a2", total=5_100_273_664, free=5_000_000_000),
    },
)


def test_a_device_in_mig_mode_counts_as_its_parts():
    found = look(ScriptedDriver(RTX, DIVIDED))
    assert [device.id for device in found.devices] == ["cuda:0", "cuda:1:0", "cuda:1:2"]
    large = found.devices[1]
    assert (large.name, large.uuid) == ("NVIDIA A100-SXM4-40GB MIG 3g.20gb", "MIG-a1")
    assert (large.memory_bytes, large.compute_capability) == (20_937_965_568, (8, 0))


def test_mig_mode_without_parts_is_a_trouble_with_the_command():
    empty = Part(name="NVIDIA A100", uuid="GPU-a", total=1, free=1, parts={})
    found = look(ScriptedDriver(empty, RTX))
    assert [device.id for device in found.devices] == ["cuda:1"]
    assert found.troubles[0].name == "cuda:0"
    assert "nvidia-smi -mig 0" in found.troubles[0].fix


# ---- partial answers ----


def test_a_lost_device_hides_no_other():
    found = look(ScriptedDriver(refusing(H200, nvmlDeviceGetHandleByIndex_v2=pynvml.NVML_ERROR_GPU_IS_LOST), RTX))
    assert [device.id for device in found.devices] == ["cuda:1"]
    assert found.troubles[0].name == "cuda:0"
    assert "GPU is lost" in found.troubles[0].problem


def test_what_a_device_does_not_tell_is_left_out():
    mute = refusing(
        H200,
        nvmlDeviceGetName=pynvml.NVML_ERROR_NOT_SUPPORTED,
        nvmlDeviceGetCudaComputeCapability=pynvml.NVML_ERROR_FUNCTION_NOT_FOUND,
    )
    found = look(ScriptedDriver(mute, refuses={"nvmlSystemGetDriverVersion": pynvml.NVML_ERROR_NO_PERMISSION}))
    (device,) = found.devices
    assert (device.name, device.compute_capability, device.driver) == ("NVIDIA device", None, None)
    assert device.memory_bytes == H200.total


def test_a_part_that_is_lost_hides_neither_other_parts_nor_devices():
    lost = refusing(DIVIDED.parts[0], nvmlDeviceGetMigDeviceHandleByIndex=pynvml.NVML_ERROR_UNKNOWN)
    divided = Part(
        name=DIVIDED.name, uuid=DIVIDED.uuid, total=DIVIDED.total, free=DIVIDED.free, parts={**DIVIDED.parts, 0: lost}
    )
    found = look(ScriptedDriver(divided, RTX))
    assert [device.id for device in found.devices] == ["cuda:0:2", "cuda:1"]
    assert [trouble.name for trouble in found.troubles] == ["cuda:0:0"]


@pytest.mark.parametrize("function", ["nvmlSystemGetDriverVersion", "nvmlShutdown"])
def test_what_nothing_depends_on_may_fail_in_any_way(function):
    """Neither the version nor the end of the talk costs a device."""
    driver = ScriptedDriver(H200, RTX, refuses={function: pynvml.NVML_ERROR_UNKNOWN})
    with installed(driver):
        found = find_cuda(load_nvml())
    assert [device.id for device in found.devices] == ["cuda:0", "cuda:1"]
    assert found.troubles == ()


@pytest.mark.parametrize(
    "function", ["nvmlDeviceGetMemoryInfo", "nvmlDeviceGetName", "nvmlDeviceGetUUID", "nvmlDeviceGetMigMode",
                 "nvmlDeviceGetCudaComputeCapability"],
)  # fmt: skip
def test_a_device_that_fails_at_any_question_is_a_trouble_and_hides_no_other(function):
    found = look(ScriptedDriver(refusing(H200, **{function: pynvml.NVML_ERROR_UNKNOWN}), RTX))
    assert [device.id for device in found.devices] == ["cuda:1"]
    assert [trouble.name for trouble in found.troubles] == ["cuda:0"]


def test_a_device_without_memory_of_its_own_shares_the_machines(monkeypatch):
    found = look(ScriptedDriver(refusing(H200, nvmlDeviceGetMemoryInfo=pynvml.NVML_ERROR_NOT_SUPPORTED)))
    (device,) = found.devices
    assert 0 < device.free_bytes <= device.memory_bytes
    assert device.memory_bytes != H200.total


def test_a_driver_that_cannot_count_its_devices_is_a_trouble():
    found = look(ScriptedDriver(H200, refuses={"nvmlDeviceGetCount_v2": pynvml.NVML_ERROR_UNKNOWN}))
    assert found.devices == ()
    assert found.troubles[0].name == "cuda"


# ---- no driver ----


@pytest.fixture
def pci(tmp_path):
    """`pci(vendor, class)`: a PCI bus with a device."""

    def make(*devices: tuple[str, str]):
        for at, (vendor, kind) in enumerate(devices):
            folder = tmp_path / f"0000:{at:02x}:00.0"
            folder.mkdir()
            (folder / "vendor").write_text(f"{vendor}\n")
            (folder / "class").write_text(f"{kind}\n")
        (tmp_path / "0000:ff:00.0").mkdir()  # without the files: passed over
        return tmp_path

    return make


GPU = ("0x10de", "0x030200")
NVIDIA_AUDIO = ("0x10de", "0x040300")
AMD_GPU = ("0x1002", "0x030000")


def test_without_the_package_there_are_no_cuda_devices():
    assert find_cuda(None) == Survey()


def test_a_machine_without_nvidias_hardware_and_driver_is_no_trouble(pci):
    """The real library, on a machine that has no driver, or with one that finds no device."""
    bus = pci(NVIDIA_AUDIO, AMD_GPU)
    assert not has_nvidia_device(bus)
    assert look(_failing(pynvml.NVML_ERROR_LIBRARY_NOT_FOUND), pci_devices=bus) == Survey()
    assert look(_failing(pynvml.NVML_ERROR_DRIVER_NOT_LOADED), pci_devices=bus) == Survey()


@pytest.mark.parametrize(
    ("code", "problem", "fix"),
    [
        (pynvml.NVML_ERROR_LIBRARY_NOT_FOUND, "its driver is not installed", "--gpus all"),
        (pynvml.NVML_ERROR_DRIVER_NOT_LOADED, "not loaded", "modprobe nvidia"),
        (pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH, "was updated", "Restart"),
        (pynvml.NVML_ERROR_NO_PERMISSION, "Insufficient Permissions", "nvidia-smi"),
    ],
)
def test_a_device_whose_driver_cannot_be_used_is_told_with_the_fix(pci, code, problem, fix):
    found = look(_failing(code), pci_devices=pci(AMD_GPU, GPU))
    assert found.devices == ()
    assert problem in found.troubles[0].problem
    assert fix in found.troubles[0].fix


def _failing(code: int) -> ScriptedDriver:
    return ScriptedDriver(refuses={"nvmlInitWithFlags": code})


# ---- CUDA_VISIBLE_DEVICES ----


@pytest.mark.parametrize(
    ("visible", "ids"),
    [
        (None, ["cuda:0", "cuda:1", "cuda:2:0", "cuda:2:2"]),
        ("", []),
        ("-1", []),
        ("1", ["cuda:1"]),
        ("1,0", ["cuda:1", "cuda:0"]),
        (" 0 , 1 ", ["cuda:0", "cuda:1"]),
        ("0,7,1", ["cuda:0"]),
        ("GPU-1111", ["cuda:1"]),
        ("GPU-9", []),
        ("MIG-a2", ["cuda:2:2"]),
        ("0,0", ["cuda:0"]),
    ],
)
def test_what_cuda_visible_devices_hides_is_not_found(visible, ids):
    devices = list(look(ScriptedDriver(H200, RTX, DIVIDED)).devices)
    assert [device.id for device in only_visible(devices, visible)] == ids
    assert [device.id for device in look(ScriptedDriver(H200, RTX, DIVIDED), visible=visible).devices] == ids
