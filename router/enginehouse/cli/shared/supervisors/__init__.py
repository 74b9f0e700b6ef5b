"""What starts the router without anybody, and again when it has failed: systemd or launchd."""

from __future__ import annotations

import sys

from .files import Written
from .job import Job, Trouble, job_of
from .launchd import Launchd
from .supervisor import Running, Supervisor
from .systemd import Systemd

__all__ = ["Job", "Launchd", "Running", "Supervisor", "Systemd", "Trouble", "Written", "job_of", "supervisor"]


def supervisor(*, is_system: bool) -> Supervisor:
    """The supervisor of this operating system, for the whole of it or for the user who asks.

    Raises:
        Trouble: there is none that is known.
    """
    if sys.platform == "darwin":
        return Launchd(is_system=is_system)
    if sys.platform == "linux":
        return Systemd(is_system=is_system)
    raise Trouble(f"There are services for systemd and launchd, none for {sys.platform}. Run 'enginehouse serve'.")
