"""The GPU of Apple silicon, which shares the machine's memory with the CPU."""

from __future__ import annotations

import platform
import re
import subprocess

import psutil  # type: ignore[import-untyped]  # ships no types

from enginehouse_plugin import Device

from .survey import Survey, Trouble

_ROSETTA = Trouble(
    name="apple",
    problem="this Python was built for Intel and runs under Rosetta, which hides the GPU",
    fix="Install a Python for arm64 and make the environment anew with it.",
)


def find_apple() -> Survey:
    """The GPU, if this is a Mac with Apple silicon.

    `driver` is the version of macOS, which decides what Metal can do. Its memory is what macOS lets the GPU have of the
    machine's: the owner's limit (`iogpu.wired_limit_mb`) if one is set, else the share that Metal recommends.
    """
    if platform.system() != "Darwin":
        return Survey()
    # What not every release knows stands last: some end at the first name that they do not know.
    told = sysctl("hw.memsize", "machdep.cpu.brand_string", "sysctl.proc_translated", "iogpu.wired_limit_mb")
    if platform.machine() != "arm64":
        return Survey(troubles=(_ROSETTA,)) if told.get("sysctl.proc_translated") == "1" else Survey()
    memory = psutil.virtual_memory()
    total = int(told.get("hw.memsize", memory.total))
    limit_bytes = min(total, int(told.get("iogpu.wired_limit_mb", "0")) << 20) or recommended(total)
    device = Device(
        id="apple",
        kind="apple",
        name=told.get("machdep.cpu.brand_string", "Apple silicon"),
        memory_bytes=limit_bytes,
        free_bytes=min(memory.available, limit_bytes),
        driver=f"macOS {platform.mac_ver()[0]}",
    )
    return Survey(devices=(device,))


def recommended(total_bytes: int) -> int:
    """What Metal recommends as the most for the GPU of a machine with so much (`recommendedMaxWorkingSetSize`)."""
    return total_bytes * 3 // 4 if total_bytes >= 36 << 30 else total_bytes * 2 // 3


def sysctl(*names: str) -> dict[str, str]:
    """What macOS tells of *names*; a name that this release does not know is absent."""
    try:
        # Not `check`: an unknown name makes the exit code 1 and leaves the answers before it as they are.
        done = subprocess.run(["/usr/sbin/sysctl", *names], capture_output=True, text=True, timeout=5, check=False)  # noqa: S603  # fixed names
    except (OSError, subprocess.SubprocessError):
        return {}
    return parse_sysctl(done.stdout)


def parse_sysctl(text: str) -> dict[str, str]:
    """Names and values in the output of `sysctl NAME…`: a line `name: value` each."""
    return dict(re.findall(r"^([\w.]+): (.*\S)\s*$", text, re.MULTILINE))
