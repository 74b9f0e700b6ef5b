"""docs/services.md has each option of the commands and each directive of the units."""

from __future__ import annotations

import re
from pathlib import Path

import click

from enginehouse.cli.commands.service import command
from enginehouse.cli.shared.supervisors import Job, Launchd, Systemd

from .fenced import ROOT

PAGE = (ROOT / "docs/services.md").read_text()
TOLD_ELSEWHERE = {"Description", "WantedBy", "Type", "NotifyAccess", "ExecStart", "ExecReload", "EnvironmentFile"}
TOLD_ELSEWHERE |= {"Environment", "WorkingDirectory", "User", "DynamicUser", "SupplementaryGroups"}
FOLDERS = {"StateDirectory": "/var/lib/", "CacheDirectory": "/var/cache/", "RuntimeDirectory": "/run/"}
JOB = Job(program=Path("/bin/true"))


def test_each_directive_of_the_units_has_its_reason() -> None:
    rows = "".join(re.findall(r"^\| `[A-Z].*?\|", PAGE, re.MULTILINE))
    told = set(re.findall(r"`(\w+)`", rows))
    text = Systemd(is_system=True).text(JOB) + Systemd(is_system=False).text(JOB)
    used = set(re.findall(r"^([A-Z]\w+)=", text, re.MULTILINE))
    assert used - TOLD_ELSEWHERE - set(FOLDERS) == told
    for directive, above in FOLDERS.items():
        assert f"{directive}=enginehouse\n" in text
        assert f"| `{above}enginehouse` |" in PAGE


def test_each_option_is_told() -> None:
    assert isinstance(command, click.Group)
    given = {name for each in command.commands.values() for option in each.params for name in option.opts}
    given |= {name for each in command.commands.values() for option in each.params for name in option.secondary_opts}
    told = set(re.findall(r"`(--[\w-]+)", PAGE.partition("| option |")[2].partition("\n\n")[0]))
    assert told == given - {"-c"}


def test_files_and_times_are_those_of_the_code() -> None:
    for path in (Launchd(is_system=True).file, Path("~/Library/LaunchAgents") / Launchd(is_system=False).file.name):
        assert f"`{path}`" in PAGE
    assert "RestartSec=2\n" in Systemd(is_system=True).text(JOB)
    assert "again two seconds after a failure" in PAGE


def test_other_pages_lead_there() -> None:
    assert "](docs/services.md)" in (ROOT / "README.md").read_text()
    assert "](services.md)" in (ROOT / "docs/operations.md").read_text()
