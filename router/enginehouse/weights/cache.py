"""The cache folder: where it is, one writer at a time, and files that are there whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from filelock import FileLock, Timeout

from .errors import CacheUnusable
from .progress import Progress

_CHUNK_BYTES = 1024 * 1024
_WORK_PREFIX = "unfinished-"


def cache_folder() -> Path:
    """`$ENGINEHOUSE_CACHE`, or the platform's cache folder for this program. Not created here."""
    if own := os.environ.get("ENGINEHOUSE_CACHE"):
        return Path(own).expanduser().absolute()
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "enginehouse"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "enginehouse" / "Cache"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "enginehouse"


@contextlib.contextmanager
def writing(folder: Path, progress: Progress) -> Iterator[Path]:
    """Yield a work folder inside *folder*, as its only writer on this machine; removed afterwards.

    Waits while another process writes. What a killed writer left is removed first, which is safe
    because only the holder of the lock writes.

    Raises:
        CacheUnusable: *folder* cannot be made or written, or its disk is full.
    """
    with disk_trouble(folder):
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / ".lock")
        acquire(lock, folder, progress)
    try:
        with disk_trouble(folder):
            for left_over in folder.glob(f"{_WORK_PREFIX}*"):
                shutil.rmtree(left_over, ignore_errors=True)
            work = Path(tempfile.mkdtemp(prefix=_WORK_PREFIX, dir=folder))
        try:
            with disk_trouble(folder):
                yield work
        finally:
            shutil.rmtree(work, ignore_errors=True)
    finally:
        lock.release()


def acquire(lock: FileLock, folder: Path, progress: Progress) -> None:
    """Lock *lock* in *folder*; waits while another process has it, which *progress* is told."""
    is_told = False
    while True:
        try:
            # Short waits, so that a progress that raises can end the wait.
            lock.acquire(timeout=0.5)
        except Timeout:
            if not is_told:
                progress.note(f"Another process is fetching into {folder}; waiting for it.")
                is_told = True
            progress.advance("waiting", 0, None)
        else:
            return


@contextlib.contextmanager
def disk_trouble(folder: Path) -> Iterator[None]:
    """Turn errors of the file system into `CacheUnusable`."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise CacheUnusable(folder, problem="the disk is full") from error
        if error.errno == errno.EFBIG:
            raise CacheUnusable(folder, problem="a file of that size may not be written there") from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise CacheUnusable(folder, problem=f"it may not be written ({error.strerror})") from error
        if error.errno in (errno.ENOTDIR, errno.EEXIST):
            raise CacheUnusable(folder, problem=f"something there is not a folder ({error.filename})") from error
        raise


def require_free(folder: Path, needed_bytes: int) -> None:
    """Raise `CacheUnusable` if the disk of *folder* has less than *needed_bytes* free."""
    free_bytes = shutil.disk_usage(folder).free
    if free_bytes < needed_bytes:
        raise CacheUnusable(
            folder, problem=f"{needed_bytes / 1e6:.0f} MB are needed on its disk and {free_bytes / 1e6:.0f} MB are free"
        )


def copy_hashed(source: IO[bytes], target: Path, on_bytes: Callable[[int], None]) -> str:
    """Write *source* to *target*, flushed to the disk, and return its SHA-256; *on_bytes* gets the bytes so far."""
    digest = hashlib.sha256()
    done_bytes = 0
    with target.open("wb") as file:
        while chunk := source.read(_CHUNK_BYTES):
            file.write(chunk)
            digest.update(chunk)
            done_bytes += len(chunk)
            on_bytes(done_bytes)
        file.flush()
        os.fsync(file.fileno())
    return digest.hexdigest()


def sha256_of(path: Path, on_bytes: Callable[[int], None] = lambda _: None) -> str:
    """SHA-256 of the file at *path*."""
    digest = hashlib.sha256()
    done_bytes = 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
            done_bytes += len(chunk)
            on_bytes(done_bytes)
    return digest.hexdigest()
