"""Reading a file that an owner names, which may be a pipe or a device: bounded in size and time.

A configuration can come from a pipe at the start. When it is read again, nobody writes there any more, and a plain read
would wait for ever: on a thread that no reload and no end of the server could do without.

A file is taken as it was at one moment: one that changes while it is read is read again, and one that is empty is given
a moment, as editors cut a file before they write it.
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
_FILLING_S = 0.5
"""How long a file may be empty before that is believed."""
_PAUSE_S = 0.02


def read_bounded(path: Path, file: str) -> bytes:
    """Return what *path* holds.

    Raises:
        ConfigError: it holds more than 16 MiB, or does not come to an end in time; nobody writes to it.
        OSError: it cannot be read.
    """
    began_at = time.monotonic()
    while True:
        data, is_settled = _read_once(path, file, began_at + PATIENCE_S)
        waited_s = time.monotonic() - began_at
        if is_settled and (data or waited_s >= _FILLING_S):
            return data
        if waited_s >= PATIENCE_S:
            raise ConfigError(f"it has been written to for {PATIENCE_S:.0f} seconds.", file=file)
        time.sleep(_PAUSE_S)


def _read_once(path: Path, file: str, ends_at: float) -> tuple[bytes, bool]:
    """What *path* holds, and whether it held that from the first byte to the last."""
    number = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        before = os.fstat(number)
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
        after = os.fstat(number)
        if stat.S_ISREG(after.st_mode):
            same = (after.st_size, after.st_mtime_ns) == (before.st_size, before.st_mtime_ns)
            return bytes(read), same and len(read) == after.st_size
        if not read:
            raise ConfigError("nothing comes from it.", file=file, fix="Name a file that can be read again.")
        return bytes(read), True
    finally:
        os.close(number)
