"""Files that others wrote, such as those of weights: opened only if they are files, and so never waited for.

What is opened at a pipe waits until somebody writes to it, in a thread that no signal ends.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO


def open_file(path: Path) -> BinaryIO:
    """Open the file at *path* to read it.

    Raises:
        OSError: it cannot be, or it is a pipe, a device, a socket or a folder.
    """
    number = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(number).st_mode):
        os.close(number)
        raise OSError(errno.EINVAL, "It is no regular file", str(path))
    return os.fdopen(number, "rb")


def read_file(path: Path) -> bytes:
    """Return what is in the file at *path*.

    Raises:
        OSError: see `open_file`.
    """
    with open_file(path) as opened:
        return opened.read()
