"""The unit of systemd: of the user's manager, or of the system's."""

from __future__ import annotations

import getpass
import os
from pathlib import Path

from . import files
from .job import Job, Trouble
from .supervisor import Running, ask
from .units import system_unit, user_unit

UNIT = "enginehouse.service"
_SHOWN = ("ActiveState", "SubState", "MainPID", "UnitFileState", "NRestarts")
_LINGER = Path("/var/lib/systemd/linger")


class Systemd:
    """Systemd."""

    name = "systemd"

    def __init__(self, *, is_system: bool) -> None:
        self._is_system = is_system
        self._scope = "--system" if is_system else "--user"
        home = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
        self._above = Path("/etc/systemd") if is_system else home
        self.file = (self._above / "system" if is_system else home / "systemd" / "user") / UNIT

    def text(self, job: Job) -> str:
        """See `Supervisor.text`."""
        return files.marked("# {mark}", system_unit(job) if self._is_system else user_unit(job))

    def check(self) -> None:
        """See `Supervisor.check`."""
        if self._is_system and os.geteuid() != 0:
            raise Trouble("A service of the system is made by root: sudo enginehouse service install --system")
        said = ask("systemctl", self._scope, "show", "--property=Version", "--value", may_fail=True)
        if not said.strip():
            whose = "the system" if self._is_system else "this user"
            other = "" if self._is_system else " Log in as that user (not by su or sudo), or take --system."
            raise Trouble(f"systemd's manager of {whose} cannot be reached.{other} --no-start only writes the file.")

    def start(self) -> None:
        """See `Supervisor.start`."""
        self._ask("daemon-reload")
        self._ask("enable", UNIT)
        try:
            self._ask("restart", UNIT)
        except Trouble as error:
            unit = "-u" if self._is_system else "--user -u"
            raise Trouble(f"{error.message}\nIts log says why: journalctl {unit} enginehouse") from None

    def stop(self) -> None:
        """See `Supervisor.stop`."""
        self._ask("disable", "--now", UNIT, may_fail=self.file.exists() is False)

    def forget(self) -> None:
        """See `Supervisor.forget`."""
        files.remove(self.file, up_to=self._above)
        self._ask("daemon-reload", may_fail=True)
        self._ask("reset-failed", UNIT, may_fail=True)

    def running(self) -> Running:
        """See `Supervisor.running`."""
        said = self._ask("show", UNIT, f"--property={','.join(_SHOWN)}", may_fail=True)
        values = dict(line.split("=", 1) for line in said.splitlines() if "=" in line)
        state = values.get("ActiveState", "unknown")
        return Running(
            state=state if not values.get("SubState") else f"{state} ({values['SubState']})",
            is_running=state in ("active", "reloading"),
            starts_at_boot=self._starts_at_boot(values.get("UnitFileState", "")),
            pid=int(values.get("MainPID", 0)) or None,
            restarts=int(values["NRestarts"]) if values.get("NRestarts", "").isdigit() else None,
        )

    def notes(self) -> list[str]:
        """See `Supervisor.notes`."""
        if self._is_system or self._lingers:
            return []
        return [f"It ends with your last session. Else, from boot on: loginctl enable-linger {getpass.getuser()}"]

    def kept(self) -> list[Path]:
        """See `Supervisor.kept`."""
        folders = [Path(above) / "enginehouse" for above in ("/var/lib", "/var/cache")] if self._is_system else []
        changes = self.file.with_name(f"{UNIT}.d")  # of `systemctl edit`
        return [path for path in (*folders, changes) if path.exists()]

    @property
    def _lingers(self) -> bool:
        return (_LINGER / getpass.getuser()).exists()

    def _starts_at_boot(self, state: str) -> bool:
        return state == "enabled" and (self._is_system or self._lingers)

    def _ask(self, *words: str, may_fail: bool = False) -> str:
        return ask("systemctl", self._scope, *words, may_fail=may_fail)
