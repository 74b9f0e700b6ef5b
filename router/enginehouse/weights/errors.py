"""What can go wrong on the way from a source to weights; each message ends with what to do.

LoadError
├── SourceNotFound       (contract) nothing there
├── InvalidSource        the source cannot be read as one
├── FetchFailed          the place it comes from cannot be reached, or refused
├── WrongDigest          what came is not what was expected
├── CacheUnusable        the cache folder cannot be written, or its disk is full
├── NoRoom               the owner's limit for weights on the disk leaves too little room
└── WeightsInUse         a process uses what should be removed
"""

from __future__ import annotations

from pathlib import Path

from enginehouse_plugin.errors import LoadError


class InvalidSource(LoadError):
    """*source* has no form that is known."""

    code = "invalid_source"

    def __init__(self, source: str, *, problem: str, fix: str) -> None:
        super().__init__(f"The source '{source}' cannot be used: {problem}. {fix}")
        self.source = source
        self.fix = fix


class FetchFailed(LoadError):
    """*source* could not be fetched; trying again may help where *retryable* says so."""

    code = "fetch_failed"

    def __init__(self, source: str, *, problem: str, fix: str, retryable: bool = True) -> None:
        super().__init__(f"Could not fetch '{source}': {problem}. {fix}", retryable=retryable)
        self.source = source
        self.fix = fix


class WrongDigest(LoadError):
    """The fetched file's SHA-256 is *actual*, not *expected*; it was thrown away."""

    code = "wrong_digest"

    def __init__(self, source: str, *, file: str, expected: str, actual: str) -> None:
        super().__init__(
            f"'{file}' of '{source}' has the SHA-256 {actual}, but {expected} was expected; it was thrown away. "
            "Try again; if it happens again, the place it comes from (perhaps a mirror or a proxy) serves another file."
        )
        self.source = source
        self.expected = expected
        self.actual = actual


class CacheUnusable(LoadError):
    """The folder *folder* cannot hold the weights."""

    code = "cache_unusable"

    def __init__(self, folder: Path, *, problem: str) -> None:
        super().__init__(
            f"The folder {folder} cannot hold the weights: {problem}. "
            "Make room there, or name another folder in the environment variable ENGINEHOUSE_CACHE."
        )
        self.folder = folder


class NoRoom(LoadError):
    """Weights of *needed_bytes* do not fit beside those that stay, within the *limit_bytes* of `weights.disk`."""

    code = "no_room_on_disk"

    def __init__(self, source: str, *, needed_bytes: int, limit_bytes: int, held_bytes: int) -> None:
        super().__init__(
            f"'{source}' needs {needed_bytes / 1e6:.0f} MB of disk; weights.disk allows {limit_bytes / 1e6:.0f} MB, "
            f"of which {held_bytes / 1e6:.0f} MB are taken, and what the configuration names or a process uses stays. "
            "Make it larger, or remove something: see 'enginehouse models list'."
        )
        self.source = source
        self.needed_bytes = needed_bytes
        self.limit_bytes = limit_bytes


class WeightsInUse(LoadError):
    """*source* is used by a process."""

    code = "weights_in_use"

    def __init__(self, source: str) -> None:
        super().__init__(f"'{source}' is used by a process that runs. End that first, or let it reload without it.")
        self.source = source
