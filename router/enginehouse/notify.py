"""What systemd is told of this process, by the datagrams of sd_notify(3); nothing where no systemd wants to know."""

from __future__ import annotations

import contextlib
import os
import socket
import time

_VARIABLE = "NOTIFY_SOCKET"
_LONGEST_S = 1e9


class Notifier:
    """Tells *address*, a path or `@` with a name in the abstract namespace; None: nobody. It never blocks or fails."""

    def __init__(self, address: str | None = None) -> None:
        self.address = address

    @classmethod
    def of_environment(cls) -> Notifier:
        """Who is named in the environment, which loses the name: engines have nothing to tell there."""
        address = os.environ.pop(_VARIABLE, "")
        return cls(address if address.startswith(("/", "@")) else None)

    def ready(self) -> None:
        """It serves, at first or again after `reloading`."""
        self._tell("READY=1")

    def reloading(self) -> None:
        """It reads its configuration again, until it is `ready`."""
        self._tell("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self, within_s: float) -> None:
        """It ends, and is not to be killed for *within_s* seconds, whatever the unit says."""
        self._tell("STOPPING=1", f"EXTEND_TIMEOUT_USEC={int(min(within_s, _LONGEST_S) * 1e6)}")

    def _tell(self, *lines: str) -> None:
        if self.address is None:
            return
        address = f"\0{self.address[1:]}" if self.address.startswith("@") else self.address
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as teller:
            teller.setblocking(False)
            teller.sendto("\n".join(lines).encode(), address)
