"""The terminal that this process was started in, if it was: whether it has been closed since.

SIGHUP says one of two things: a terminal is gone, or (sent by an owner or a supervisor) the configuration is to be read
again. A process that never had a terminal cannot lose one.
"""

from __future__ import annotations

import os


class Terminal:
    """The controlling terminal that the process has now."""

    def __init__(self) -> None:
        self.was_there = _is_there()

    @property
    def is_gone(self) -> bool:
        """Whether there was one, and is none any more: the system takes it away before it sends SIGHUP."""
        return self.was_there and not _is_there()


def _is_there() -> bool:
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK))
    except OSError:
        return False
    return True
