"""`enginehouse service` with a systemctl that keeps what it was asked: a real one is in tests/packaging."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from .conftest import Run

SYSTEMCTL = """#!/bin/sh
echo "$@" >> "$SAID"
case "$*" in
*Version*) echo "$VERSION" ;;
*"show enginehouse"*) printf '%s\\n' "ActiveState=$STATE" SubState=x MainPID=12 UnitFileState=enabled NRestarts=3 ;;
*restart*) [ "$STATE" = active ] || { echo 'Job failed.' >&2; exit 1; } ;;
esac
"""
UNIT = "systemd/user/enginehouse.service"

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="systemd is Linux's")


class Host:
    """A home, and what systemctl was asked there."""

    def __init__(self, folder: Path) -> None:
        self.unit = folder / "config" / UNIT
        self._said = folder / "said"

    @property
    def asked(self) -> list[str]:
        return self._said.read_text().splitlines() if self._said.exists() else []


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    program = tmp_path / "bin" / "systemctl"
    program.parent.mkdir()
    program.write_text(SYSTEMCTL)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    for name, value in (("SAID", str(tmp_path / "said")), ("VERSION", "252"), ("STATE", "active")):
        monkeypatch.setenv(name, value)
    return Host(tmp_path)


def test_what_would_be_written_is_printed_and_nothing_done(enginehouse: Run, host: Host) -> None:
    done = enginehouse("service", "install", "--print")
    assert done.code == 0
    assert "\nType=notify\n" in done.out
    assert not host.unit.exists()
    assert host.asked == []


def test_it_is_written_started_told_of_and_removed(enginehouse: Run, host: Host) -> None:
    printed = enginehouse("service", "install", "--print").out
    done = enginehouse("service", "install")
    assert (done.code, done.err) == (0, "")
    assert host.unit.read_text() == printed
    unit = "enginehouse.service"
    assert host.asked[1:] == [f"--user {what}" for what in ("daemon-reload", f"enable {unit}", f"restart {unit}")]
    status = enginehouse("service", "status", "--json")
    assert status.code == 0
    assert status.json == {
        "supervisor": "systemd",
        "scope": "user",
        "file": str(host.unit),
        "written": "ours",
        "state": "active (x)",
        "running": True,
        "starts_at_boot": False,
        "pid": 12,
        "restarts": 3,
    }
    assert "process 12, 3 restarts" in enginehouse("service", "status").out
    assert enginehouse("service", "uninstall").code == 0
    assert f"--user disable --now {unit}" in host.asked
    assert list(host.unit.parents[2].iterdir()) == []


@pytest.mark.parametrize("text", ["[Unit]\n", None])
def test_a_file_that_is_not_quite_of_the_command_is_kept(enginehouse: Run, host: Host, text: str | None) -> None:
    if text is None:
        enginehouse("service", "install", "--no-start")
        text = host.unit.read_text() + "# by hand\n"
    host.unit.parent.mkdir(parents=True, exist_ok=True)
    host.unit.write_text(text)
    for command in ("install", "uninstall"):
        done = enginehouse("service", command)
        assert done.code == 1
        assert "--force" in done.err
        assert host.unit.read_text() == text
    assert enginehouse("service", "install", "--force").code == 0
    assert host.unit.read_text() != text


def test_without_a_manager_nothing_is_written_unless_nothing_is_to_start(
    enginehouse: Run, host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VERSION", "")
    done = enginehouse("service", "install")
    assert (done.code, host.unit.exists()) == (1, False)
    assert "cannot be reached" in done.err
    assert enginehouse("service", "install", "--no-start").code == 0
    assert host.unit.exists()


def test_a_start_that_fails_leads_to_the_log(enginehouse: Run, host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STATE", "failed")
    done = enginehouse("service", "install")
    assert done.code == 1
    assert "Job failed." in done.err
    assert "journalctl --user -u enginehouse" in done.err
    assert enginehouse("service", "status").code == 1


def test_what_is_not_there_is_not_removed(enginehouse: Run, host: Host) -> None:
    done = enginehouse("service", "uninstall")
    assert (done.code, host.asked) == (0, [])
    assert "There is no" in done.out


def test_an_account_goes_with_the_system(enginehouse: Run, host: Host) -> None:
    assert enginehouse("service", "install", "--run-as", "root").code == 2
