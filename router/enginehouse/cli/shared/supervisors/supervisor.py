"""What the commands ask of systemd and of launchd alike."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Protocol

import msgspec

from .job import Job, Trouble


class Running(msgspec.Struct, frozen=True, kw_only=True):
    """How the service is: *state* in the supervisor's own word. None: it does not tell."""

    state: str
    is_running: bool
    starts_at_boot: bool | None = None
    pid: int | None = None
    restarts: int | None = None


class Supervisor(Protocol):
    """Systemd or launchd, of one user or of the system."""

    name: str
    file: Path

    def text(self, job: Job) -> str:
        """What stands in `file` for *job*."""
        ...

    def check(self) -> None:
        """Raise `Trouble` if it cannot be asked."""
        ...

    def start(self) -> None:
        """Take `file` as it is now, start it now and whenever the user or the machine begins."""
        ...

    def stop(self) -> None:
        """End it, and start it no more."""
        ...

    def forget(self) -> None:
        """Remove `file`, and what else is left of it."""
        ...

    def running(self) -> Running:
        """How it is."""
        ...

    def notes(self) -> list[str]:
        """What its owner should know after it was started."""
        ...

    def kept(self) -> list[Path]:
        """What is there of its data, and stays."""
        ...


def ask(*command: str, may_fail: bool = False) -> str:
    """Run *command*; returns what it printed.

    Raises:
        Trouble: it is not here, or failed, unless it *may_fail*.
    """
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603  # ours
    except FileNotFoundError:
        raise Trouble(f"There is no '{command[0]}' on this machine.") from None
    if done.returncode and not may_fail:
        said = done.stderr.strip() or done.stdout.strip() or f"exit code {done.returncode}"
        raise Trouble(f"'{' '.join(command)}' failed: {said}")
    return done.stdout
