"""Apple silicon, on answers in the form that macOS gives them."""

from __future__ import annotations

import itertools
import subprocess
from types import SimpleNamespace

import pytest

from enginehouse.hardware import apple, cpu, devices
from enginehouse.hardware.apple import find_apple, parse_sysctl

GIB = 1 << 30
M4 = """\
hw.memsize: 137438953472
machdep.cpu.brand_string: Apple M4 Max
sysctl.proc_translated: 0
iogpu.wired_limit_mb: 0
"""


@pytest.fixture
def mac(monkeypatch):
    """`mac(machine, answers)` makes this host a Mac whose `sysctl` knows *answers*, and ends at others."""

    def make(machine: str, answers: str) -> None:
        for module in (apple, cpu):
            monkeypatch.setattr(module.platform, "system", lambda: "Darwin")
            monkeypatch.setattr(module.platform, "machine", lambda: machine)
        monkeypatch.setattr(apple.platform, "mac_ver", lambda: ("15.6.1", ("", "", ""), machine))
        memory = SimpleNamespace(total=128 * GIB, available=100 * GIB)
        monkeypatch.setattr(apple.psutil, "virtual_memory", lambda: memory)

        def run(command, **_):
            assert command[0] == "/usr/sbin/sysctl"
            told = parse_sysctl(answers)
            known = list(itertools.takewhile(told.__contains__, command[1:]))
            out = "".join(f"{name}: {told[name]}\n" for name in known)
            return subprocess.CompletedProcess(command, int(len(known) < len(command) - 1), out, "unknown oid\n")

        monkeypatch.setattr(apple.subprocess, "run", run)

    return make


def test_the_gpu_of_apple_silicon_shares_the_machines_memory(mac):
    mac("arm64", M4)
    gpu, processor = devices()
    assert (gpu.id, gpu.kind, gpu.name, gpu.driver) == ("apple", "apple", "Apple M4 Max", "macOS 15.6.1")
    assert (gpu.memory_bytes, gpu.free_bytes) == (96 * GIB, 96 * GIB), "what Metal recommends as the most for the GPU"
    assert (processor.id, processor.name, processor.memory_bytes) == ("cpu", "Apple M4 Max", 128 * GIB)


@pytest.mark.parametrize(
    ("name", "gib"),
    [("Apple M1", 8), ("Apple M1 Ultra", 128), ("Apple M2 Pro", 16), ("Apple M3 Max", 36), ("Apple M3 Ultra", 512),
     ("Apple M4", 24), ("Apple M4 Pro", 48)],
)  # fmt: skip
def test_every_chip_is_named_with_its_memory(mac, name, gib):
    mac("arm64", f"hw.memsize: {gib * GIB}\nmachdep.cpu.brand_string: {name}\nsysctl.proc_translated: 0\n")
    gpu, _ = devices()
    share = 3 / 4 if gib >= 36 else 2 / 3
    assert (gpu.id, gpu.name, gpu.memory_bytes) == ("apple", name, int(gib * GIB * share))


def test_the_owners_limit_on_memory_for_the_gpu_counts_as_its_size(mac):
    mac("arm64", M4.replace("limit_mb: 0", "limit_mb: 65536"))
    (gpu,) = find_apple().devices
    assert (gpu.memory_bytes, gpu.free_bytes) == (64 * GIB, 64 * GIB)
    mac("arm64", M4.replace("limit_mb: 0", "limit_mb: 114688"))
    (gpu,) = find_apple().devices
    assert (gpu.memory_bytes, gpu.free_bytes) == (112 * GIB, 100 * GIB)


def test_a_name_that_an_older_release_does_not_know_is_left_out(mac):
    mac("arm64", "hw.memsize: 17179869184\nmachdep.cpu.brand_string: Apple M1\nsysctl.proc_translated: 0\n")
    (gpu,) = find_apple().devices
    assert (gpu.name, gpu.memory_bytes) == ("Apple M1", 16 * GIB * 2 // 3)


def test_an_intel_mac_has_no_apple_device(mac):
    mac("x86_64", "hw.memsize: 17179869184\nmachdep.cpu.brand_string: Intel(R) Core(TM) i7-9750H CPU @ 2.60GHz\n")
    found = find_apple()
    assert (found.devices, found.troubles) == ((), ())
    assert devices()[0].name == "Intel(R) Core(TM) i7-9750H CPU @ 2.60GHz"


def test_a_python_under_rosetta_is_told_that_it_sees_no_gpu(mac):
    mac("x86_64", "hw.memsize: 17179869184\nmachdep.cpu.brand_string: Apple M1\nsysctl.proc_translated: 1\n")
    (trouble,) = find_apple().troubles
    assert "Rosetta" in trouble.problem
    assert "arm64" in trouble.fix


def test_a_mac_without_sysctl_is_still_one(mac, monkeypatch):
    mac("arm64", "")
    monkeypatch.setattr(apple.subprocess, "run", lambda *_, **__: (_ for _ in ()).throw(FileNotFoundError))
    (gpu,) = find_apple().devices
    assert (gpu.name, gpu.memory_bytes) == ("Apple silicon", 96 * GIB)


def test_values_may_hold_colons_and_blanks():
    assert parse_sysctl("a.b: x: y  z \nc_d.e: 1\n\nnoise\n") == {"a.b": "x: y  z", "c_d.e": "1"}
