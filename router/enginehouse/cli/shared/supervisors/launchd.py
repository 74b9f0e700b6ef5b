"""The property list of launchd: an agent of the user's session, or a daemon of the system."""

from __future__ import annotations

import os
import plistlib
import re
from pathlib import Path
from typing import Any

from . import files
from .job import Job, Trouble
from .supervisor import Running, ask

LABEL = "org.enginehouse.router"
_AFTER_DRAIN_S = 60
_RESTART_S = 5
_FILES = 65_536
_HEAD = '<plist version="1.0">'
_PATH = "/opt/homebrew/bin:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"


class Launchd:
    """Launchd."""

    name = "launchd"

    def __init__(self, *, is_system: bool) -> None:
        self._is_system = is_system
        home = Path("/") if is_system else Path.home()
        folder = "LaunchDaemons" if is_system else "LaunchAgents"
        self.file = home / "Library" / folder / f"{LABEL}.plist"
        self._log = home / "Library" / "Logs" / "enginehouse.log"
        self._domain = "system" if is_system else f"gui/{os.getuid()}"

    def text(self, job: Job) -> str:
        """See `Supervisor.text`."""
        content: dict[str, Any] = {  # a property list's values are of several types
            "Label": LABEL,
            "ProgramArguments": list(job.arguments),
            "RunAtLoad": True,
            "KeepAlive": {"SuccessfulExit": False},
            "ThrottleInterval": _RESTART_S,
            "ExitTimeOut": int(min(job.drain_timeout_s, 86_400)) + _AFTER_DRAIN_S,
            "ProcessType": "Interactive",
            "Umask": 0o077,
            "SoftResourceLimits": {"NumberOfFiles": _FILES},
            "EnvironmentVariables": {"PATH": _PATH},
            "StandardOutPath": str(self._log),
            "StandardErrorPath": str(self._log),
        }
        if self._is_system:
            content["UserName"] = job.run_as
        made = plistlib.dumps(content).decode()
        return files.marked("<!-- {mark} -->", made.replace(_HEAD, f"{{comment}}\n{_HEAD}", 1))

    def check(self) -> None:
        """See `Supervisor.check`."""
        if self._is_system and os.geteuid() != 0:
            raise Trouble("A service of the system is made by root: sudo enginehouse service install --system")
        ask("launchctl", "print", self._domain)

    def start(self) -> None:
        """See `Supervisor.start`."""
        self._end()
        ask("launchctl", "enable", f"{self._domain}/{LABEL}")
        ask("launchctl", "bootstrap", self._domain, str(self.file))

    def stop(self) -> None:
        """See `Supervisor.stop`."""
        self._end()

    def forget(self) -> None:
        """See `Supervisor.forget`."""
        self.file.unlink(missing_ok=True)

    def running(self) -> Running:
        """See `Supervisor.running`."""
        said = ask("launchctl", "print", f"{self._domain}/{LABEL}", may_fail=True)
        return read_running(said, is_there=self.file.exists())

    def notes(self) -> list[str]:
        """See `Supervisor.notes`."""
        log = f"It logs to {self._log}."
        if self._is_system:
            return [log]
        return [log, "macOS may refuse it other machines of the local network; --system does not have this trouble."]

    def kept(self) -> list[Path]:
        """See `Supervisor.kept`."""
        return [self._log] if self._log.exists() else []

    def _end(self) -> None:
        ask("launchctl", "bootout", f"{self._domain}/{LABEL}", may_fail=True)  # fails where it is not loaded


def read_running(said: str, *, is_there: bool) -> Running:
    """What `launchctl print` *said* of a service whose file *is_there*; nothing if it knows none."""
    state = re.search(r"^\tstate = (.+)$", said, re.MULTILINE)
    pid = re.search(r"^\tpid = (\d+)$", said, re.MULTILINE)
    runs = re.search(r"^\truns = (\d+)$", said, re.MULTILINE)
    return Running(
        state=state[1] if state else "not loaded",
        is_running=pid is not None,
        starts_at_boot=is_there,
        pid=int(pid[1]) if pid else None,
        restarts=max(0, int(runs[1]) - 1) if runs else None,
    )
