"""Weights from a model hub through huggingface_hub, pinned to a commit and verified.

The files stay in the hub's own cache, which other programs of the owner share. Beside it two kinds of
notes are kept in our cache folder: which files make a commit complete, and which commit a branch meant
when it was last asked for, so that a start without network neither fails nor uses half a download.
"""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar

import msgspec

from .cache import cache_folder, disk_trouble, require_free, sha256_of
from .errors import FetchFailed, InvalidSource, WrongDigest
from .progress import Progress
from .source import HubSource

if TYPE_CHECKING:
    from huggingface_hub.hf_api import ModelInfo, RepoSibling

# huggingface_hub takes a third of a second to import: only where a hub is asked.

_Note = TypeVar("_Note")
_WORKERS = 4
_PART = re.compile(r"(?P<stem>.+)-\d{5}-of-(?P<count>\d{5})\.gguf")
_PICKLED = (".bin", ".pt", ".pth", ".h5", ".msgpack", ".onnx", ".ot", ".tflite")
_DUPLICATE_FOLDERS = ("original/", "onnx/")


class Snapshot(msgspec.Struct, frozen=True):
    """The files of a repository that were fetched and verified at *commit*."""

    commit: str
    files: tuple[str, ...]


def locate(source: HubSource) -> Path | None:
    """Where *source* is, whole, in the hub's cache; asks nobody. A branch means what it last meant."""
    commit = source.revision if source.is_pinned else _remembered_commit(source)
    if commit is None:
        return None
    if source.file is not None:
        parts = [_cached_file(source.repo, commit, part) for part in _parts_of(source.file)]
        return _cached_file(source.repo, commit, source.file) if all(parts) else None
    snapshot = _read_note(_snapshot_note(source.repo, commit), Snapshot)
    if snapshot is None:
        return None
    paths = [_cached_file(source.repo, commit, file) for file in snapshot.files]
    if not paths or any(path is None for path in paths):
        return None
    first = paths[0]
    assert first is not None  # noqa: S101 # just checked, for the type checker
    return first.parents[snapshot.files[0].count("/")]


def fetch(source: HubSource, progress: Progress) -> Path:
    """Return the file or folder of *source*, fetched if it is not here yet.

    Raises:
        FetchFailed: the hub cannot be reached, or has not what is asked for, or does not give it.
        InvalidSource: the repository holds several GGUF files and none is named.
        WrongDigest: a file is not the one that the hub announced.
        CacheUnusable: the disk is full or may not be written.
    """
    if source.is_pinned and (path := locate(source)):
        return path
    with _hub_trouble(source):
        try:
            info = _ask(source)
        except _unreachable() as error:
            if path := locate(source):
                commit = _remembered_commit(source)
                progress.note(f"The hub cannot be reached; {source} is taken as commit {commit}, what it last meant.")
                return path
            raise FetchFailed(
                str(source),
                problem=f"the hub cannot be reached ({_first_line(error)}), and the weights are not here yet",
                fix="Check the network and the proxy settings (HTTPS_PROXY); HF_ENDPOINT names another hub, and "
                "HF_HUB_OFFLINE=1 forbids asking one. Or use weights that are here, by their path.",
            ) from error
        commit = info.sha or ""
        if not source.is_pinned:
            progress.note(
                f"{source.repo}@{source.revision} is now commit {commit}. "
                f"To keep it from moving, write {HubSource(source.repo, commit, source.file)}"
            )
            _write_note(_branch_note(source), commit)
        siblings = _wanted(source, info.siblings or [], progress)
        paths = _download(source, commit, siblings, progress)
    if source.file is not None:
        return paths[_parts_of(source.file).index(source.file)]
    files = tuple(sibling.rfilename for sibling in siblings)
    _write_note(_snapshot_note(source.repo, commit), Snapshot(commit, files))
    return paths[0].parents[files[0].count("/")]


def _ask(source: HubSource) -> ModelInfo:
    from huggingface_hub import HfApi

    return HfApi().model_info(source.repo, revision=source.revision, files_metadata=True)


def _wanted(source: HubSource, siblings: list[RepoSibling], progress: Progress) -> list[RepoSibling]:
    if source.file is not None:
        return _named(source, source.file, siblings)
    ggufs = sorted({_parts_of(sibling.rfilename)[0] for sibling in siblings if sibling.rfilename.endswith(".gguf")})
    if len(ggufs) > 1:
        raise InvalidSource(
            str(source),
            problem="the repository holds several GGUF files, each a model of its own",
            fix=f"Name one: {HubSource(source.repo, source.revision, ggufs[0])}. There are: {', '.join(ggufs)}.",
        )
    if not any(sibling.rfilename.endswith(".safetensors") for sibling in siblings):
        kept = siblings
    else:
        kept = [sibling for sibling in siblings if not _is_duplicate(sibling.rfilename)]
        if left := len(siblings) - len(kept):
            progress.note(f"{left} files of {source.repo} hold the same weights in other formats and are left there.")
    if not kept:
        raise FetchFailed(str(source), problem="the repository is empty at this revision", fix="Name another revision.")
    return kept


def _named(source: HubSource, file: str, siblings: list[RepoSibling]) -> list[RepoSibling]:
    there = {sibling.rfilename: sibling for sibling in siblings}
    if lacking := [part for part in (file, *_parts_of(file)) if part not in there]:
        raise FetchFailed(
            str(source),
            problem=f"there is no file '{lacking[0]}' at this revision",
            fix=f"There are: {', '.join(sorted(there)) or 'no files'}.",
            retryable=False,
        )
    return [there[part] for part in _parts_of(file)]


def _parts_of(file: str) -> list[str]:
    """All files that *file* is one part of: `x-00002-of-00003.gguf` has three; most are whole by themselves."""
    match = _PART.fullmatch(file)
    if match is None or int(match["count"]) == 0:
        return [file]
    count = match["count"]
    return [f"{match['stem']}-{at:05}-of-{count}.gguf" for at in range(1, int(count) + 1)]


def _is_duplicate(name: str) -> bool:
    return name.endswith(_PICKLED) or name.startswith(_DUPLICATE_FOLDERS)


def _download(source: HubSource, commit: str, siblings: list[RepoSibling], progress: Progress) -> list[Path]:
    from huggingface_hub.constants import HF_HUB_CACHE

    total_bytes = sum(sibling.size or 0 for sibling in siblings)
    missing = [sibling for sibling in siblings if _cached_file(source.repo, commit, sibling.rfilename) is None]
    cache = Path(HF_HUB_CACHE)
    with disk_trouble(cache):
        cache.mkdir(parents=True, exist_ok=True)
        require_free(cache, sum(sibling.size or 0 for sibling in missing))
        tally = _Tally(progress, total_bytes)
        with ThreadPoolExecutor(_WORKERS, thread_name_prefix="hub") as pool:
            jobs = [pool.submit(_download_file, source, commit, sibling, tally) for sibling in siblings]
            try:
                return [job.result() for job in jobs]
            except BaseException:
                tally.stop()
                for job in jobs:
                    job.cancel()
                raise


def _download_file(source: HubSource, commit: str, sibling: RepoSibling, tally: _Tally) -> Path:
    from huggingface_hub import hf_hub_download

    here = _cached_file(source.repo, commit, sibling.rfilename)
    if here is not None:
        tally.add(sibling.size or 0)
        return here
    path = Path(hf_hub_download(source.repo, sibling.rfilename, revision=commit, tqdm_class=tally.bar))
    try:
        _verify(source, sibling, path)
    except WrongDigest:
        path.resolve().unlink(missing_ok=True)
        path.unlink(missing_ok=True)
        raise
    return path


def _verify(source: HubSource, sibling: RepoSibling, path: Path) -> None:
    """Compare with what the hub announced: SHA-256 of large files, git's own digest of the others."""
    if sibling.lfs is not None:
        expected, actual = sibling.lfs.sha256, sha256_of(path)
    elif sibling.blob_id is not None:
        content = path.read_bytes()
        expected = sibling.blob_id
        actual = hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()
    else:
        return
    if actual != expected:
        raise WrongDigest(str(source), file=sibling.rfilename, expected=expected, actual=actual)


class _Tally:
    """Adds the bytes of all files, and gives huggingface_hub the progress-bar class that it asks for."""

    def __init__(self, progress: Progress, total_bytes: int) -> None:
        self._progress = progress
        self._total_bytes = total_bytes
        self._done_bytes = 0
        self._is_stopped = False
        self._lock = threading.Lock()
        tally = self

        class Bar:
            """What huggingface_hub calls of a tqdm bar."""

            def __init__(self, *_: Any, initial: int = 0, **__: Any) -> None:  # tqdm's own signature
                tally.add(initial)

            def update(self, n: float | None = 1) -> None:
                tally.add(int(n or 0))

            def __enter__(self) -> Self:
                return self

            def __exit__(self, *_: object) -> None:
                pass

            def __getattr__(self, _: str) -> Any:  # the rest of tqdm's methods only changes how a bar looks
                return lambda *_, **__: None

        self.bar: Any = Bar  # stands in for a subclass of tqdm

    def add(self, n_bytes: int) -> None:
        with self._lock:
            if self._is_stopped:
                raise InterruptedError("another file of the same download failed")
            self._done_bytes += n_bytes
            self._progress.advance("downloading", min(self._done_bytes, self._total_bytes), self._total_bytes)

    def stop(self) -> None:
        with self._lock:
            self._is_stopped = True


# ---- what the hub's cache and our notes hold ----


def _cached_file(repo: str, commit: str, file: str) -> Path | None:
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(repo, file, revision=commit)
    return Path(found) if isinstance(found, str) else None


def _snapshot_note(repo: str, commit: str) -> Path:
    return cache_folder() / "hub" / repo.replace("/", "--") / f"{commit}.json"


def _branch_note(source: HubSource) -> Path:
    return cache_folder() / "hub" / source.repo.replace("/", "--") / f"branch-{source.revision.replace('/', '--')}.json"


def _remembered_commit(source: HubSource) -> str | None:
    return _read_note(_branch_note(source), str)


def _read_note(path: Path, kind: type[_Note]) -> _Note | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except (FileNotFoundError, msgspec.DecodeError):
        return None


def _write_note(path: Path, note: Snapshot | str) -> None:
    with disk_trouble(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(f".{threading.get_ident()}.part")
        part.write_bytes(msgspec.json.encode(note))
        part.replace(path)


# ---- errors ----


def _unreachable() -> tuple[type[Exception], ...]:
    import httpx2
    from huggingface_hub.errors import OfflineModeIsEnabled

    return (httpx2.TransportError, OfflineModeIsEnabled)


@contextmanager
def _hub_trouble(source: HubSource) -> Iterator[None]:
    from huggingface_hub import errors

    def failed(problem: str, fix: str, *, retryable: bool = False) -> FetchFailed:
        return FetchFailed(str(source), problem=problem, fix=fix, retryable=retryable)

    broken_off: tuple[type[Exception], ...] = (
        errors.LocalEntryNotFoundError,
        errors.FileMetadataError,
        *_unreachable(),
    )
    try:
        yield
    except errors.GatedRepoError as error:
        raise failed(
            "its owner gives access only on request",
            "Ask for access on the repository's page, then log in with 'hf auth login' or set HF_TOKEN.",
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise failed(
            "the hub has no such repository, or it is private",
            "Check the spelling; for a private one log in with 'hf auth login' or set HF_TOKEN.",
        ) from error
    except errors.RevisionNotFoundError as error:
        raise failed(
            f"the repository has no revision '{source.revision}'",
            "Its page on the hub lists commits under 'Files and versions' > 'History'.",
        ) from error
    except errors.HFValidationError as error:
        raise failed(_first_line(error), "Write hub:ORG/REPO@REVISION.") from error
    except errors.HfHubHTTPError as error:
        raise failed(
            f"the hub answered {_first_line(error)}",
            "Try again later; HF_TOKEN may be missing or wrong.",
            retryable=True,
        ) from error
    except broken_off as error:
        raise failed(
            f"the download broke off ({_first_line(error)})",
            "Try again: files that are whole are kept.",
            retryable=True,
        ) from error


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
