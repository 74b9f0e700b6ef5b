"""What a container leaves of a Linux machine: the control groups around a process, version 1 and 2."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")
SELF = Path("/proc/self/cgroup")


def parse_cgroups(text: str) -> dict[str, str]:
    """Controller to path, from the text of /proc/self/cgroup; version 2 is the controller `""`."""
    groups = {}
    for line in text.splitlines():
        _, controllers, path = line.split(":", 2)
        for controller in controllers.split(","):
            groups[controller] = path
    return groups


def groups_around(controller: str, *, root: Path = ROOT, self_cgroup: Path = SELF) -> tuple[int, list[Path]]:
    """The version (1 or 2) that has *controller*, and the folders of this process's groups, the innermost first.

    Without control groups there are no folders. A folder may be absent: inside a container the path may be the
    host's, of which only the end, or nothing, is mounted.

    Source: the kernel's cgroup-v2.rst and cgroup-v1/cgroups.rst.
    """
    try:
        groups = parse_cgroups(self_cgroup.read_text())
    except OSError:
        return 2, []
    if controller in groups:
        return 1, list(_upward(root / controller, groups[controller]))
    return 2, list(_upward(root, groups[""])) if "" in groups else []


def _upward(base: Path, path: str) -> Iterator[Path]:
    folder = base / path.lstrip("/")
    while folder != base and base in folder.parents:
        yield folder
        folder = folder.parent
    yield base


def usable_processors(*, root: Path = ROOT, self_cgroup: Path = SELF) -> int:
    """Processors that this process may keep busy: those it may run on, within its groups' share of time, rounded up.

    More threads than the share allows are stopped for most of each period, and those that wait for them, too.

    Source: the kernel's cgroup-v2.rst (`cpu.max`) and sched-bwc.rst (`cpu.cfs_quota_us`).
    """
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    version, folders = groups_around("cpu", root=root, self_cgroup=self_cgroup)
    for folder in folders:
        if version == 2:
            share = read_text(folder / "cpu.max")
        else:
            share = f"{read_text(folder / 'cpu.cfs_quota_us')} {read_text(folder / 'cpu.cfs_period_us')}"
        # Without a limit the share is "max …" or "-1 …".
        if match := re.fullmatch(r"([1-9]\d*)\s+([1-9]\d*)\s*", share):
            usable = min(usable, math.ceil(int(match[1]) / int(match[2])))
    return usable


def read_text(file: Path) -> str:
    """What is in *file*; nothing where it is absent or cannot be read."""
    try:
        return file.read_text(errors="replace")
    except OSError:
        return ""
