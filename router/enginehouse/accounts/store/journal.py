"""What requests that are paid for have taken, written down before the ends of their answers go out.

A line in a file outlives the process in any way, `kill -9` included, as a commit does, and costs a fiftieth of one. So
nobody waits for a commit: rows are committed some times a second, as all usage is, and what a router that was killed
had not committed is put in by the next that opens the database. After a power failure the last lines may be missing,
as the last commits may be.

Two files take turns: lines go to one, while those of the other are being committed; then it is emptied. The first line
of each says whose it is, and a line that was torn, by a kill or a full disk, is none.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec

from .columns import COLUMNS, Row

_FILES: Final = ("journal-0", "journal-1")
_encode = msgspec.json.Encoder().encode
_whose = msgspec.json.Decoder(str)
_line = msgspec.json.Decoder(tuple[int, tuple[float | int | str | bool | None, ...]])


class Journal:
    """The journal of *router*, beside the database at *path*. The event loop writes, and another thread empties."""

    def __init__(self, path: str, router: str) -> None:
        self._paths = [f"{path}.{name}" for name in _FILES]
        self._head = _encode(router) + b"\n"
        self._lock = threading.Lock()  # of what changes when the files change places
        self._files = [-1, -1]
        self._at = 0  # which of them is written to
        self._is_torn = False
        self._kept = self._until = self._settled = 0  # lines, and those of them that the other file has the last of

    def open(self) -> None:
        """Make the files, without what others have left in them; those that are this router's stay as they are.

        Raises:
            OSError: they cannot be written.
        """
        for at in range(len(self._files)):
            if not self._is_there(at):
                self._make(at)

    def _is_there(self, at: int) -> bool:
        """Whether the file is what is at its path now."""
        try:
            return os.path.samestat(os.fstat(self._files[at]), os.stat(self._paths[at]))
        except OSError:  # it is not open, or deleted
            return False

    def _make(self, at: int) -> None:
        with self._lock:
            if self._files[at] >= 0:
                os.close(self._files[at])
            self._files[at] = -1
            with suppress(FileNotFoundError):
                os.unlink(self._paths[at])  # what another still writes to is not this one
            self._files[at] = os.open(self._paths[at], os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
            os.write(self._files[at], self._head)

    def keep(self, serial: int, row: Row) -> bool:
        """Write down the *row* of a request that has ended; returns whether it is written."""
        try:
            line = _encode((serial, row)) + b"\n"
            with self._lock:
                if self._is_torn:
                    line = b"\n" + line
                self._is_torn = os.write(self._files[self._at], line) < len(line)
                if self._is_torn:
                    return False
                self._kept += 1
        except (OSError, ValueError, OverflowError):  # a full disk, or a text or a number that no line can have
            return False
        return True

    def settled(self, count: int) -> None:
        """Hear that as many more lines, in their order, are in the database."""
        self._settled += count
        if self._settled < self._until:
            return
        other = 1 - self._at
        try:
            if self._is_there(other):
                os.ftruncate(self._files[other], len(self._head))
            else:
                self._make(other)
        except OSError:  # its lines are put in twice, which changes nothing; the next time will do
            return
        with self._lock:
            self._at, self._until = other, self._kept

    def close(self, *, is_settled: bool) -> None:
        """Let go of the files, which are removed if all that they have is in the database."""
        for at, file in enumerate(self._files):
            if is_settled and self._is_there(at):
                os.unlink(self._paths[at])
            if file >= 0:
                os.close(file)
        self._files = [-1, -1]


def left(path: str) -> dict[str, dict[int, Row]]:
    """What the journals beside the database at *path* have: rows by their serials, by router."""
    found: dict[str, dict[int, Row]] = {}
    for name in _FILES:
        lines: list[bytes] = []
        with suppress(FileNotFoundError):
            lines = Path(f"{path}.{name}").read_bytes().split(b"\n")
        with suppress(msgspec.DecodeError, IndexError):
            found.setdefault(_whose.decode(lines[0]), {}).update(_rows(lines[1:-1]))
    return found


def _rows(lines: list[bytes]) -> Mapping[int, Row]:
    rows: dict[int, Row] = {}
    for line in lines:
        with suppress(msgspec.DecodeError):
            serial, row = _line.decode(line)
            if len(row) == len(COLUMNS):
                rows[serial] = row
    return rows
