"""Reading a file that an owner names, which may be a pipe or a device: bounded in size and time.

A configuration can come from a pipe at the start. When it is read again, nobody writes there any more, and a plain read
would wait for ever: on a thread that no reload and no end of the server could do without.
"""

from __future__ import annotations

import os
import select
import stat
import time
from pathlib import Path

from .errors import ConfigError

MAX_CONFIG_BYTES = 16 * 1024 * 1024
PATIENCE_S = 10.0
"""A pipe whose writer says nothing, or does not come to an end, is waited for so long."""
_PIECE_BYTES = 1 << 16


def read_bounded(path: Path, file: str) -> bytes:
    """Return what *path* holds.

    Raises:
        ConfigError: it holds more than 16 MiB, or does not come to an end in time; nobody writes to it.
        OSError: it cannot be read.
    """
    ends_at = time.monotonic() + PATIENCE_S
    number = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        waiting = select.poll()
        waiting.register(number, select.POLLIN)
        read = bytearray()
        while True:
            if not waiting.poll(max(0.0, ends_at - time.monotonic()) * 1000):
                raise ConfigError(f"it has not come to an end in {PATIENCE_S:.0f} seconds.", file=file)
            piece = os.read(number, _PIECE_BYTES)
            if not piece:
                break
            read += piece
            if len(read) > MAX_CONFIG_BYTES:
                raise ConfigError(f"it holds more than {MAX_CONFIG_BYTES // 2**20} MiB.", file=file)
        if not read and not stat.S_ISREG(os.fstat(number).st_mode):
            raise ConfigError("nothing comes from it.", file=file, fix="Name a file that can be read again.")
        return bytes(read)
    finally:
        os.close(number)
