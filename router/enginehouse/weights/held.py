"""What is held of fetched weights: which files, how large, whether they are as they were, and when they were used last.

A note for each source lies in the cache folder; beside it a file whose time of change is the last use, and which
whoever uses the weights has locked until its process ends.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

import msgspec

from enginehouse_plugin.threadsafe import threadsafe

from .cache import cache_folder, disk_trouble, sha256_of
from .errors import WeightsInUse

_DIGEST = re.compile(r"[0-9a-f]{64}|[0-9a-f]{40}")
_used: dict[Path, int] = {}
"""What this process uses, by descriptors that stay open: locked until its end."""


class HeldFile(msgspec.Struct, frozen=True):
    """A file of weights: where it is, and how it was when it was found whole."""

    path: str
    size_bytes: int
    mtime_ns: int

    @property
    def real(self) -> Path:
        """The file itself: in the hub's cache *path* is a link to it."""
        return Path(self.path).resolve()


@threadsafe
class Held(msgspec.Struct, frozen=True, kw_only=True):
    """Weights that are here. `is_fetched`: this program brought them, and may remove them to make room."""

    source: str
    files: tuple[HeldFile, ...]
    is_fetched: bool
    fetched_at: float
    used_at: float = 0.0

    @property
    def size_bytes(self) -> int:
        """What they take on the disk."""
        return sum(file.size_bytes for file in self.files)

    @property
    def is_in_use(self) -> bool:
        """Whether a process uses them."""
        with suppress(OSError), _use(self.source).open("rb") as file:
            return not _lock(file, is_shared=False)
        return False


def all_held() -> list[Held]:
    """All weights that were fetched or found here, the one that was used longest ago first."""
    found = []
    for path in _folder().glob("*.json"):
        with suppress(FileNotFoundError, msgspec.DecodeError):
            held = msgspec.json.decode(path.read_bytes(), type=Held)
            if all(Path(file.path).exists() for file in held.files):
                found.append(msgspec.structs.replace(held, used_at=_use(held.source).stat().st_mtime))
    return sorted(found, key=lambda held: held.used_at)


def find(source: str) -> Held | None:
    """What is noted of *source*."""
    with suppress(FileNotFoundError, msgspec.DecodeError):
        return msgspec.json.decode(_note(source).read_bytes(), type=Held)
    return None


def keep(source: str, paths: Iterable[Path], *, is_fetched: bool) -> None:
    """Note that *source* is here in *paths*, whole."""
    known = find(source)
    found = [(path, path.stat()) for path in paths]
    files = tuple(HeldFile(str(path), status.st_size, status.st_mtime_ns) for path, status in found)
    held = Held(
        source=source, files=files, is_fetched=is_fetched or (known is not None and known.is_fetched),
        fetched_at=time.time() if known is None else known.fetched_at,
    )  # fmt: skip
    if held != known:
        with disk_trouble(_folder()):
            _folder().mkdir(parents=True, exist_ok=True)
            part = _note(source).with_suffix(f".{os.getpid()}.part")
            part.write_bytes(msgspec.json.encode(held))
            part.replace(_note(source))
    with suppress(OSError):
        _use(source).touch()


def use(source: str) -> None:
    """Say that this process uses *source*, from now until it ends."""
    path = _use(source)
    with suppress(OSError):  # from a cache that may not be written nobody removes anything
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        if path in _used:
            return
        _used[path] = os.open(path, os.O_RDONLY)
        _lock(_used[path], is_shared=True)


def damaged(source: str, paths: Sequence[Path], *, is_all: bool) -> dict[Path, str]:
    """The files of *paths* that have not the digest that they are named by, each with the one it has.

    Read are those that have changed since they were noted, or with *is_all* every one.
    """
    known = find(source)
    noted: Mapping[str, HeldFile] = {} if known is None else {file.path: file for file in known.files}
    found = {}
    for path in paths:
        status = path.stat()
        file = noted.get(str(path))
        is_changed = file is not None and (file.size_bytes, file.mtime_ns) != (status.st_size, status.st_mtime_ns)
        if not is_all and not is_changed:
            continue
        expected = path.resolve().name
        if _DIGEST.fullmatch(expected) and (actual := digest_of(path, expected)) != expected:
            found[path] = actual
    return found


def digest_of(path: Path, like: str) -> str:
    """The digest of the file at *path* that is as long as *like*: SHA-256, or git's own of a blob."""
    if len(like) == 64:  # hexadecimal digits of SHA-256
        return sha256_of(path)
    content = path.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def remove(held: Held) -> int:
    """Remove *held*, but files that other weights have too; returns how many bytes are free now.

    Raises:
        WeightsInUse: a process uses them.
        CacheUnusable: they may not be removed.
    """
    if held.is_in_use:
        raise WeightsInUse(held.source)
    others = {file.path for other in all_held() if other.source != held.source for file in other.files}
    freed_bytes = 0
    with disk_trouble(_folder()):
        _note(held.source).unlink(missing_ok=True)
        for file in held.files:
            if file.path not in others:
                freed_bytes += _unlink(Path(file.path))
        _use(held.source).unlink(missing_ok=True)
    return freed_bytes


def drop(path: Path) -> None:
    """Remove a damaged file, and what it is a link to."""
    path.resolve().unlink(missing_ok=True)
    path.unlink(missing_ok=True)


def _unlink(path: Path) -> int:
    real = path.resolve()
    size_bytes = real.stat().st_size if real.exists() else 0
    path.unlink(missing_ok=True)
    repository = _repository(path)
    if repository is None:
        _prune(path.parent, cache_folder())
        return size_bytes
    _prune(path.parent, repository)
    if real != path:
        if any(link.is_symlink() and link.resolve() == real for link in repository.glob("snapshots/**/*")):
            return 0  # another commit has the same file
        real.unlink(missing_ok=True)
    if not any(repository.glob("snapshots/*")) and not any(repository.glob("blobs/*")):
        shutil.rmtree(repository, ignore_errors=True)
    return size_bytes


def _repository(path: Path) -> Path | None:
    """The folder of the hub's cache that *path*, a file of a snapshot, is in."""
    return next((parent.parent for parent in path.parents if parent.name == "snapshots"), None)


def _prune(folder: Path, until: Path) -> None:
    with suppress(OSError):  # it is not empty
        while folder != until and until in folder.parents:
            folder.rmdir()
            folder = folder.parent


def _folder() -> Path:
    return cache_folder() / "held"


def _note(source: str) -> Path:
    return _folder() / f"{hashlib.sha256(source.encode()).hexdigest()[:32]}.json"


def _use(source: str) -> Path:
    return _note(source).with_suffix(".use")


def _lock(file: IO[bytes] | int, *, is_shared: bool) -> bool:
    """Lock *file* until it is closed; returns whether it could be. Where there are no such locks it could."""
    try:
        import fcntl
    except ImportError:  # Windows does not remove an open file
        return True
    try:
        fcntl.flock(file, (fcntl.LOCK_SH if is_shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
