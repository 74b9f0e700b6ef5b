"""Control groups around a process: texts as kernels write them."""

from __future__ import annotations

import os

import pytest

from enginehouse_kit.process.cgroups import groups_around, parse_cgroups, usable_processors

V1 = "12:memory:/docker/4f3c\n11:cpu,cpuacct:/docker/4f3c\n1:name=systemd:/docker/4f3c\n0::/system.slice\n"
V2 = "0::/user.slice/session-3.scope\n"


def test_control_groups_of_both_versions():
    assert parse_cgroups(V2) == {"": "/user.slice/session-3.scope"}
    assert parse_cgroups(V1)["memory"] == "/docker/4f3c"
    assert parse_cgroups(V1)["cpuacct"] == "/docker/4f3c"


def test_the_groups_around_a_process_are_told_from_the_innermost(tmp_path):
    own = tmp_path / "self"
    own.write_text(V2)
    found = groups_around("memory", root=tmp_path, self_cgroup=own)
    assert found == (2, [tmp_path / "user.slice" / "session-3.scope", tmp_path / "user.slice", tmp_path])
    own.write_text(V1)
    base = tmp_path / "cpu"
    assert groups_around("cpu", root=tmp_path, self_cgroup=own) == (
        1,
        [base / "docker" / "4f3c", base / "docker", base],
    )
    assert groups_around("cpu", root=tmp_path, self_cgroup=tmp_path / "absent") == (2, [])


@pytest.mark.parametrize(
    ("self_cgroup", "files", "usable"),
    [
        ("0::/\n", {}, 96),
        ("0::/\n", {"cpu.max": "max 100000\n"}, 96),
        ("0::/\n", {"cpu.max": "200000 100000\n"}, 2),
        ("0::/\n", {"cpu.max": "150000 100000\n"}, 2),
        ("0::/\n", {"cpu.max": "10000 100000\n"}, 1),
        ("0::/\n", {"cpu.max": "99999999 100000\n"}, 96),
        ("0::/\n", {"cpu.max": "garbage\n"}, 96),
        (V2, {"user.slice/cpu.max": "800000 100000\n", "user.slice/session-3.scope/cpu.max": "max 100000\n"}, 8),
        (V1, {"cpu/cpu.cfs_quota_us": "400000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 4),
        (V1, {"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, 96),
        (V1, {"cpu/cpu.cfs_quota_us": "400000\n"}, 96),
    ],
)
def test_threads_that_a_containers_share_of_time_would_stop_are_not_counted(
    tmp_path, monkeypatch, self_cgroup, files, usable
):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(96)), raising=False)
    own = tmp_path / "self"
    own.write_text(self_cgroup)
    for path, text in files.items():
        file = tmp_path / "cgroup" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    assert usable_processors(root=tmp_path / "cgroup", self_cgroup=own) == usable


def test_a_cpuset_is_kept_too(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3, 5, 7}, raising=False)
    assert usable_processors(root=tmp_path, self_cgroup=tmp_path / "absent") == 3


def test_this_machine_has_a_processor():
    assert usable_processors() >= 1
