"""Devices of builds that are not here, from what such builds print."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import pytest

from enginehouse_llamacpp import devices
from enginehouse_plugin import Device

MIB = 1024 * 1024
VULKAN = """\
ggml_vulkan: Found 2 Vulkan devices:
ggml_vulkan: 0 = NVIDIA GeForce RTX 2060 (NVIDIA) | uma: 0 | fp16: 1 | bf16: 1 | warp size: 32
Available devices:
  Vulkan0: NVIDIA GeForce RTX 2060 (6144 MiB, 5136 MiB free)
  Vulkan1: AMD Radeon 780M Graphics (RADV PHOENIX) (15876 MiB, 15000 MiB free)
"""
ROCM = """\
Available devices:
  ROCm0: AMD Radeon RX 7900 XTX (24560 MiB, 24524 MiB free)
"""


def test_a_vulkan_build_is_told_by_its_devices() -> None:
    first, second = devices.read_list(VULKAN)
    assert first == Device(
        id="vulkan:0", kind="vulkan", name="NVIDIA GeForce RTX 2060", memory_bytes=6144 * MIB, free_bytes=5136 * MIB
    )
    assert (second.id, second.name) == ("vulkan:1", "AMD Radeon 780M Graphics (RADV PHOENIX)")


def test_a_rocm_build_is_told_by_its_devices() -> None:
    (device,) = devices.read_list(ROCM)
    assert (device.id, device.kind, device.name) == ("rocm:0", "rocm", "AMD Radeon RX 7900 XTX")


@pytest.mark.parametrize(
    ("name", "device_id"),
    [("CUDA1", "cuda:1"), ("ROCm0", "rocm:0"), ("Vulkan3", "vulkan:3"), ("MTL0", "apple"), ("Metal", "apple")],
)
def test_what_xllamacpp_tells_is_read(name: str, device_id: str) -> None:
    told = [
        {"name": name, "description": "x", "memory_total": 9, "memory_free": 5},
        {"name": "CPU", "description": "a processor", "memory_total": 9, "memory_free": 5},
        {"name": "SYCL0", "description": "of no kind that is known", "memory_total": 9, "memory_free": 5},
    ]
    (device,) = devices.read_info(json.dumps(told).encode())
    assert (device.id, device.memory_bytes, device.free_bytes) == (device_id, 9, 5)


@pytest.mark.parametrize("output", ["", "Available devices:\n", "error: unknown argument: --list-devices\n"])
def test_a_build_for_processors_has_none(output: str) -> None:
    assert devices.read_list(output) == ()


def test_a_program_on_the_path_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "llama-server"
    program.write_text(
        f"#!{sys.executable}\nimport sys\nassert sys.argv[1:] == ['--list-devices']\nprint({VULKAN!r})\n"
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(devices.importlib.util, "find_spec", lambda name: None)
    assert [device.id for device in devices.brought()] == ["vulkan:0", "vulkan:1"]
    program.write_text(f"#!{sys.executable}\nraise SystemExit(1)\n")
    assert devices.brought() == ()


def test_the_engine_that_is_here_is_not_imported_to_find_that_it_has_none() -> None:
    """It is built for processors; a build for others is asked in a process of its own."""
    before = time.monotonic()
    assert devices.brought() == ()
    assert time.monotonic() - before < 5
    assert "xllamacpp" not in sys.modules
    assert devices.usable() == ()
    assert devices.usable("/no/such/python") == ()


def test_only_the_devices_of_a_placement_are_shown_to_the_engine() -> None:
    first, second = devices.read_list(VULKAN)
    assert devices.visible((second,)) == {"GGML_VK_VISIBLE_DEVICES": "1"}
    assert devices.visible((first, second)) == {"GGML_VK_VISIBLE_DEVICES": "0,1"}
    assert devices.visible(devices.read_list(ROCM)) == {"HIP_VISIBLE_DEVICES": "0"}
    assert devices.visible(()) == {}
