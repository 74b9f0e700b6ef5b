"""Whether an engine does anything: what its processes have used of processors and disks (Linux tells)."""

from __future__ import annotations

import contextlib
import os

import msgspec

_SESSION, _USER, _SYSTEM = 3, 11, 12  # fields of /proc/PID/stat behind the name


class Activity(msgspec.Struct, frozen=True):
    """What all processes of a session have used up to now: processor time, and bytes read."""

    processor_s: float
    read_bytes: int

    def is_idle_since(self, before: Activity, elapsed_s: float) -> bool:
        """Whether next to nothing was done in the *elapsed_s* seconds since *before*."""
        # A server that waits for a stopped part of it still wakes now and then.
        return self.read_bytes == before.read_bytes and self.processor_s - before.processor_s < _IDLE_SHARE * elapsed_s


_IDLE_SHARE = 0.02


def activity_of(session: int) -> Activity | None:
    """Add up what the processes of *session* have used; None where the system does not tell."""
    ticks = read_bytes = 0
    has_any = False
    with contextlib.suppress(OSError), os.scandir("/proc") as entries:
        for entry in entries:
            if not entry.name.isdigit():
                continue
            with contextlib.suppress(OSError, ValueError, IndexError):  # it has ended, or is another user's
                with open(f"/proc/{entry.name}/stat", "rb") as file:
                    fields = file.read().rpartition(b")")[2].split()
                if int(fields[_SESSION]) != session:
                    continue
                has_any = True
                ticks += int(fields[_USER]) + int(fields[_SYSTEM])
                with open(f"/proc/{entry.name}/io", "rb") as file:
                    read_bytes += int(file.read().partition(b"\nread_bytes: ")[2].split(b"\n")[0])
    return Activity(ticks / os.sysconf("SC_CLK_TCK"), read_bytes) if has_any else None
