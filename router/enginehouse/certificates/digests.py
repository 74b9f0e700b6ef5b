"""SHA-256 of files and folders, remembered by path, size and time of the last change."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from enginehouse.telemetry import get_logger
from enginehouse.weights.cache import sha256_of
from enginehouse_plugin.threadsafe import threadsafe

from .files import write_whole

log = get_logger()

_RECENT_NS = 2_000_000_000
"""A file that changed so lately may change again within one tick of its file system's clock: not remembered."""
_LONGEST_PATH = 4096
_PART = re.compile(r"(?P<stem>.+)-\d+-of-(?P<rest>\d+\..+)")


@threadsafe
class _Known(msgspec.Struct, frozen=True, array_like=True):
    """What a file was when it was read."""

    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int
    sha256: str


class Digests:
    """Digests, remembered in the file at *memory*, which may be missing, damaged or not writable."""

    def __init__(self, memory: Path) -> None:
        self._memory = memory
        self._known: dict[str, _Known] = {}
        self._has_new = False
        with contextlib.suppress(OSError, msgspec.DecodeError, UnicodeDecodeError):
            self._known = msgspec.json.decode(memory.read_bytes(), type=dict[str, _Known])

    def of(self, path: Path, counts: Callable[[str], bool], on_bytes: Callable[[int], None]) -> str:
        """The digest of the file at *path*, or of those files in the folder whose names *counts* holds for.

        A file that is one of several parts (`…-00001-of-00003.gguf`) stands for all of them. Hidden files of a
        folder never count. *on_bytes* gets the bytes read so far of the file in hand.

        Raises:
            OSError: something cannot be read.
        """
        if path.is_dir():
            return self._listing(path, [name for name in files_in(path) if counts(Path(name).name)], on_bytes)
        if part := _PART.fullmatch(path.name):
            pattern = re.compile(rf"{re.escape(part['stem'])}-\d+-of-{re.escape(part['rest'])}")
            names = [other.name for other in path.parent.iterdir() if pattern.fullmatch(other.name)]
            return self._listing(path.parent, names, on_bytes)
        return self._file(path, on_bytes)

    def of_named(self, text: str) -> str | None:
        """The digest of the file that *text* is the path of, or of the program of that name; None: there is none."""
        if len(text) > _LONGEST_PATH:
            return None
        try:
            path = Path(text).expanduser()
            program = None if path.is_file() else shutil.which(text)
            if program is not None:
                path = Path(program)
            return self._file(path, lambda _: None) if path.is_file() else None
        except (OSError, ValueError, RuntimeError):  # no path at all: a null byte, an unknown user
            return None

    def remember(self) -> None:
        """Write what was read, as far as that works: it only saves time."""
        if not self._has_new:
            return
        kept = {path: known for path, known in self._known.items() if os.path.exists(path)}
        try:
            write_whole(self._memory, msgspec.json.encode(kept))
        except OSError as error:
            log.debug("digests are not remembered", problem=str(error))
        self._has_new = False

    def _listing(self, folder: Path, names: list[str], on_bytes: Callable[[int], None]) -> str:
        listing = hashlib.sha256()
        for name in sorted(names):
            listing.update(f"{name}\0{self._file(folder / name, on_bytes)}\n".encode(errors="surrogateescape"))
        return listing.hexdigest()

    def _file(self, path: Path, on_bytes: Callable[[int], None]) -> str:
        place = os.path.realpath(path)
        before = os.stat(place)
        if not stat.S_ISREG(before.st_mode):
            raise OSError(f"{place} is no file")
        known = self._known.get(place)
        if known and (known.size, known.mtime_ns, known.ctime_ns, known.inode) == _identity(before):
            return known.sha256
        digest = sha256_of(Path(place), on_bytes)
        if _identity(os.stat(place)) == _identity(before) and time.time_ns() - before.st_mtime_ns > _RECENT_NS:
            self._known[place] = _Known(*_identity(before), digest)
            self._has_new = True
        return digest


def _identity(found: os.stat_result) -> tuple[int, int, int, int]:
    # The time of the last change of the inode as well: the other one can be set back.
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino


def files_in(folder: Path) -> Iterator[str]:
    """Names of the files below *folder*, relative to it, links followed once."""
    seen: set[str] = set()
    for parent, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(parent)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from (str((Path(parent) / name).relative_to(folder)) for name in files if not name.startswith("."))
