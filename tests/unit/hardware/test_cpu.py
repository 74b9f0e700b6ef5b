"""The CPU and its memory: parsers on texts as kernels write them, and what this machine itself says."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from enginehouse.hardware import cpu, devices, merged
from enginehouse.hardware.cpu import MemoryLimit, container_limit, cpu_device, parse_cpu_name
from enginehouse_plugin import Device

GIB = 1 << 30


def test_this_host_has_a_cpu_with_memory():
    found = devices()[-1]
    assert (found.id, found.kind) == ("cpu", "cpu")
    assert found.name
    assert found.free_bytes is not None
    assert 0 < found.free_bytes <= found.memory_bytes


def test_of_two_devices_with_one_id_the_first_counts():
    one, two = (Device(id="cpu", kind="cpu", name=name, memory_bytes=1) for name in ("one", "two"))
    assert merged((one,), (two,)) == (one,)


# ---- CPU ----


@pytest.mark.parametrize(
    ("cpuinfo", "name"),
    [
        ("processor\t: 0\nvendor_id\t: AuthenticAMD\nmodel\t\t: 1\nmodel name\t: AMD EPYC 9654  96-Core Processor\n",
         "AMD EPYC 9654 96-Core Processor"),
        ("processor\t: 0\nHardware\t: BCM2835\nModel\t\t: Raspberry Pi 4 Model B\n", "Raspberry Pi 4 Model B"),
        ("processor\t: 0\nBogoMIPS\t: 50.00\nCPU implementer\t: 0x41\nCPU part\t: 0xd40\n", None),
        ("", None),
    ],
)  # fmt: skip
def test_the_processors_name(cpuinfo, name):
    assert parse_cpu_name(cpuinfo) == name


# ---- containers ----

V1 = "12:memory:/docker/4f3c\n11:cpu,cpuacct:/docker/4f3c\n1:name=systemd:/docker/4f3c\n0::/system.slice\n"
V2 = "0::/user.slice/user-1000.slice/session-3.scope\n"


@pytest.fixture
def cgroup(tmp_path):
    """A folder of control groups: paths with the text of their files, and the text of /proc/self/cgroup."""

    def build(self_cgroup: str, files: dict[str, str]) -> MemoryLimit | None:
        own = tmp_path / "self"
        own.write_text(self_cgroup)
        for path, text in files.items():
            file = tmp_path / "cgroup" / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        return container_limit(root=tmp_path / "cgroup", self_cgroup=own)

    return build


def v2(folder: str, limit: str, current: int = 0, cache: int = 0) -> dict[str, str]:
    return {
        f"{folder}memory.max": f"{limit}\n",
        f"{folder}memory.current": f"{current}\n",
        f"{folder}memory.stat": f"anon 5\nfile 7\ninactive_file {cache}\nactive_file 1\n",
    }


def v1(folder: str, limit: int, usage: int = 0, cache: int = 0) -> dict[str, str]:
    return {
        f"memory/{folder}memory.limit_in_bytes": f"{limit}\n",
        f"memory/{folder}memory.usage_in_bytes": f"{usage}\n",
        f"memory/{folder}memory.stat": f"cache 1\ninactive_file 9\ntotal_inactive_file {cache}\n",
    }


def test_a_container_of_version_2_sees_its_limit_at_the_root(cgroup):
    assert cgroup("0::/\n", v2("", str(4 * GIB), 3 * GIB, 1 * GIB)) == MemoryLimit(4 * GIB, 2 * GIB)


def test_the_narrowest_of_the_groups_around_a_process_counts(cgroup):
    files = (
        v2("user.slice/user-1000.slice/session-3.scope/", "max")
        | v2("user.slice/user-1000.slice/", str(8 * GIB))
        | v2("user.slice/", str(16 * GIB))
    )
    assert cgroup(V2, files) == MemoryLimit(8 * GIB, 0)


def test_a_container_of_version_1_sees_its_limit_where_the_hosts_path_is_not_mounted(cgroup):
    assert cgroup(V1, v1("", 2 * GIB, GIB, 4096)) == MemoryLimit(2 * GIB, GIB - 4096)


@pytest.mark.parametrize(
    ("self_cgroup", "files"),
    [
        ("0::/\n", {}),
        ("0::/\n", v2("", "max")),
        (V1, v1("", 9223372036854771712)),
        ("", {}),
        ("0::/\n", {**v2("", "garbage")}),
    ],
)
def test_without_a_limit_there_is_none(cgroup, self_cgroup, files):
    assert cgroup(self_cgroup, files) is None


@pytest.mark.parametrize("absent", ["memory.current", "memory.stat"])
def test_a_sandbox_that_tells_its_limit_and_not_what_is_used_has_a_limit(cgroup, absent):
    files = v2("", str(4 * GIB), 0, 0)
    del files[absent]
    assert cgroup("0::/\n", files) == MemoryLimit(4 * GIB, 0)


def test_a_system_without_control_groups_has_no_limit(tmp_path):
    assert container_limit(root=tmp_path, self_cgroup=tmp_path / "absent") is None


@pytest.mark.parametrize(
    ("limit", "memory", "free"),
    [
        (None, 64 * GIB, 32 * GIB),
        (MemoryLimit(8 * GIB, 2 * GIB), 8 * GIB, 6 * GIB),
        (MemoryLimit(60 * GIB, 0), 60 * GIB, 32 * GIB),
        (MemoryLimit(8 * GIB, 9 * GIB), 8 * GIB, 0),
        (MemoryLimit(100 * GIB, 0), 64 * GIB, 32 * GIB),
    ],
)
def test_the_memory_of_the_cpu_is_what_a_container_leaves_of_it(monkeypatch, limit, memory, free):
    host = SimpleNamespace(total=64 * GIB, available=32 * GIB)
    monkeypatch.setattr(cpu.psutil, "virtual_memory", lambda: host)
    monkeypatch.setattr(cpu.platform, "system", lambda: "Linux")
    monkeypatch.setattr(cpu, "container_limit", lambda: limit)
    found = cpu_device()
    assert (found.memory_bytes, found.free_bytes) == (memory, free)


def test_the_control_groups_of_this_machine_can_be_read():
    limit = container_limit()
    assert limit is None or limit.limit_bytes > 0
