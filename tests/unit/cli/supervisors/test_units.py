"""Units as systemd reads them."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from enginehouse.cli.shared.supervisors import Job, Systemd
from enginehouse.cli.shared.supervisors.units import quoted

JOB = Job(program=Path("/bin/true"), config_file=Path("/etc/enginehouse/house.toml"))
needs_analyze = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="needs systemd-analyze (Debian's package 'systemd')"
)


def values(text: str, name: str) -> list[str]:
    return re.findall(rf"^{name}=(.*)$", text, re.MULTILINE)


def analyze(tmp_path: Path, verb: str, *options: str, is_system: bool = True, job: Job = JOB) -> str:
    file = tmp_path / "enginehouse.service"
    file.write_text(Systemd(is_system=is_system).text(job))
    command = ["systemd-analyze", verb, "--system" if is_system else "--user", *options, str(file)]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=60,
        env={"XDG_RUNTIME_DIR": str(tmp_path), "PATH": "/usr/bin:/bin"},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@needs_analyze
@pytest.mark.parametrize("is_system", [True, False])
@pytest.mark.parametrize(
    "name", ["house.toml", "a house.toml", 'quo"ted.toml', "100%.toml", "$HOME.toml", "back\\slash.toml"]
)
def test_systemd_finds_nothing_wrong_with_a_unit(tmp_path: Path, is_system: bool, name: str) -> None:
    job = Job(program=Path("/bin/true"), config_file=Path("/etc") / name)
    assert analyze(tmp_path, "verify", is_system=is_system, job=job) == ""


@needs_analyze
@pytest.mark.parametrize(("is_system", "most"), [(True, 2.5), (False, 7.0)])
def test_a_service_is_exposed_to_no_more_than_it_has_to_be(tmp_path: Path, is_system: bool, most: float) -> None:
    """Other versions of systemd weigh a little differently; docs/services.md has the numbers of one."""
    said = analyze(tmp_path, "security", "--offline=true", "--no-pager", is_system=is_system)
    found = re.search(r"Overall exposure level for enginehouse.service: ([\d.]+)", said)
    assert found, said
    assert float(found[1]) <= most


def test_engines_that_compile_and_devices_work_as_before() -> None:
    """What would keep CUDA, ROCm or a compiler of kernels from working is not set, in either unit."""
    for text in (Systemd(is_system=True).text(JOB), Systemd(is_system=False).text(JOB)):
        assert "yes" not in values(text, "MemoryDenyWriteExecute") + values(text, "PrivateDevices")
        assert values(text, "DeviceAllow") + values(text, "DevicePolicy") + values(text, "ProcSubset") == []


def test_running_streams_may_finish_and_an_engine_that_dies_takes_down_no_other() -> None:
    text = Systemd(is_system=True).text(JOB)
    assert values(text, "KillMode") == ["mixed"]
    assert values(text, "OOMPolicy") == ["continue"]
    assert values(text, "Restart") == ["on-failure"]


def test_a_port_that_is_for_root_takes_the_one_right_for_it() -> None:
    right = ["CAP_NET_BIND_SERVICE"]
    for port, expected in ((443, right), (1023, right), (1024, [""]), (8000, [""]), (0, [""])):
        text = Systemd(is_system=True).text(Job(program=Path("/bin/true"), port=port))
        assert values(text, "CapabilityBoundingSet") == values(text, "AmbientCapabilities") == expected, port


def test_an_account_is_made_unless_one_is_named() -> None:
    assert values(Systemd(is_system=True).text(JOB), "DynamicUser") == ["yes"]
    named = Systemd(is_system=True).text(Job(program=Path("/bin/true"), run_as="llm"))
    assert (values(named, "DynamicUser"), values(named, "User")) == ([], ["llm"])


def test_words_mean_themselves() -> None:
    assert quoted('a $b %c "d" \\') == '"a $$b %%c \\"d\\" \\\\"'
    assert quoted("/opt/$x%", is_program=True) == '"/opt/$x%%"'
