"""Property lists, which no launchd has read here: they are parsed, and compared with what launchd.plist(5) knows."""

from __future__ import annotations

import plistlib
from pathlib import Path

import pytest

from enginehouse.cli.shared.supervisors import Job, Launchd
from enginehouse.cli.shared.supervisors.files import write, written
from enginehouse.cli.shared.supervisors.launchd import read_running

JOB = Job(program=Path("/opt/e h/bin/enginehouse"), config_file=Path("/etc/<house>&.toml"), drain_timeout_s=45)
KNOWN = {
    *("Label", "ProgramArguments", "RunAtLoad", "KeepAlive", "ThrottleInterval", "ExitTimeOut", "ProcessType", "Umask"),
    *("SoftResourceLimits", "EnvironmentVariables", "StandardOutPath", "StandardErrorPath", "UserName"),
}
PRINTED = """gui/501/org.enginehouse.router = {
\tactive count = 1
\tpath = /Users/a/Library/LaunchAgents/org.enginehouse.router.plist
\ttype = LaunchAgent
\tstate = running

\tprogram = /opt/enginehouse/bin/enginehouse
\tdefault environment = {
\t\tPATH => /usr/bin:/bin
\t}
\truns = 3
\tpid = 4711
\tlast exit code = (never exited)
}
"""


@pytest.mark.parametrize("is_system", [True, False])
def test_a_property_list_can_be_read_and_starts_it_again_after_a_failure(is_system: bool) -> None:
    job = Job(
        **{**{name: getattr(JOB, name) for name in JOB.__struct_fields__}, "run_as": "llm" if is_system else None}
    )
    content = plistlib.loads(Launchd(is_system=is_system).text(job).encode())
    assert set(content) <= KNOWN
    assert content["ProgramArguments"] == ["/opt/e h/bin/enginehouse", "serve", "--config", "/etc/<house>&.toml"]
    assert content["KeepAlive"] == {"SuccessfulExit": False}
    assert content["ExitTimeOut"] == 45 + 60
    assert content.get("UserName") == ("llm" if is_system else None)
    assert content["StandardErrorPath"].startswith("/Library/Logs/" if is_system else str(Path.home()))


def test_an_agent_is_the_user_s_and_a_daemon_the_system_s() -> None:
    assert Launchd(is_system=False).file == Path.home() / "Library/LaunchAgents/org.enginehouse.router.plist"
    assert Launchd(is_system=True).file == Path("/Library/LaunchDaemons/org.enginehouse.router.plist")


def test_its_file_is_known_again(tmp_path: Path) -> None:
    file = tmp_path / "x.plist"
    write(file, Launchd(is_system=False).text(JOB))
    assert written(file) == "ours"
    file.write_text(file.read_text().replace("Interactive", "Background"))
    assert written(file) == "changed"


def test_what_launchctl_prints_is_read() -> None:
    running = read_running(PRINTED, is_there=True)
    assert (running.state, running.pid, running.restarts, running.is_running) == ("running", 4711, 2, True)
    absent = read_running("", is_there=False)
    assert (absent.state, absent.pid, absent.is_running, absent.starts_at_boot) == ("not loaded", None, False, False)
