"""The private folder of an engine's socket, and the removal of those that were left behind.

Router and guardian each hold a lock on it while they live. Were both killed, nobody holds it, and the next engine that
is started sweeps it away.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import sys
import tempfile
import time

from enginehouse_plugin.errors import LoadFailed

MAX_SOCKET_PATH_BYTES = 107 if sys.platform.startswith("linux") else 103
"""What `sockaddr_un` holds, less its closing zero."""

_PREFIX = "enginehouse-engine-"
_YOUNG_S = 60.0
"""A folder younger than this may be one that its router has made and not locked yet."""


class SocketFolder:
    """A new folder of mode 0700 for a socket called *socket_name*, whose path is `socket_path`.

    Raises:
        LoadFailed: no path for it is short enough.
    """

    def __init__(self, socket_name: str) -> None:
        self.path, self.socket_path = _made(socket_name)
        self._lock: int | None = os.open(self.path, os.O_RDONLY)
        fcntl.flock(self._lock, fcntl.LOCK_SH)
        _sweep(os.path.dirname(self.path))

    def remove(self) -> None:
        """Remove it with all that is in it. Idempotent."""
        shutil.rmtree(self.path, ignore_errors=True)
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def _made(socket_name: str) -> tuple[str, str]:
    length = 0
    for base in dict.fromkeys((tempfile.gettempdir(), "/tmp")):  # noqa: S108  # mkdtemp makes a private folder
        if not os.path.isdir(base):
            continue
        folder = tempfile.mkdtemp(prefix=_PREFIX, dir=base)
        path = os.path.join(folder, socket_name)
        length = len(os.fsencode(path))
        if length <= MAX_SOCKET_PATH_BYTES:
            return folder, path
        os.rmdir(folder)
    raise LoadFailed(
        f"The path of a socket may have {MAX_SOCKET_PATH_BYTES} bytes here, and '{socket_name}' in the folder for "
        f"temporary files ({tempfile.gettempdir()}) would have {length}. Set TMPDIR to a folder with a short path.",
        retryable=False,
    )


def _sweep(base: str) -> None:
    """Remove what routers of this user left in *base*."""
    with contextlib.suppress(OSError), os.scandir(base) as entries:
        for entry in entries:
            if entry.name.startswith(_PREFIX):
                with contextlib.suppress(OSError):  # others remove theirs meanwhile
                    _remove_abandoned(entry)


def _remove_abandoned(entry: os.DirEntry[str]) -> None:
    state = entry.stat(follow_symlinks=False)
    if not entry.is_dir(follow_symlinks=False) or state.st_uid != os.getuid():
        return
    if time.time() - state.st_mtime < _YOUNG_S:
        return
    held = os.open(entry.path, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(entry.path, ignore_errors=True)
    finally:
        os.close(held)
