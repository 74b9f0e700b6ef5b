"""Weights from a model hub through huggingface_hub, pinned to a commit and verified.

The files stay in the hub's own cache, which other programs of the owner share. Beside it two kinds of
notes are kept in our cache folder: which files make a commit complete, and which commit a branch meant
when it was last asked for, so that a start without network neither fails nor uses half a download.
"""

from __future__ import annotations

import re
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar

import msgspec

from enginehouse_plugin.threadsafe import threadsafe

from . import held, part
from .cache import cache_folder, disk_trouble, require_free
from .errors import FetchFailed, InvalidSource, WrongDigest
from .hub_errors import hub_trouble, not_reached, unreachable
from .progress import Progress
from .room import Disk, make_room
from .source import HubSource, parse

if TYPE_CHECKING:
    from huggingface_hub.hf_api import ModelInfo, RepoSibling

# huggingface_hub takes a third of a second to import: only where a hub is asked.

_Note = TypeVar("_Note")
_WORKERS = 4
_NO_LIMIT = Disk()
_PART = re.compile(r"(?P<stem>.+)-\d{5}-of-(?P<count>\d{5})\.gguf")
_PICKLED = (".bin", ".pt", ".pth", ".h5", ".msgpack", ".onnx", ".ot", ".tflite")
_DUPLICATE_FOLDERS = ("original/", "onnx/")


@threadsafe
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


def fetch(source: HubSource, progress: Progress, disk: Disk = _NO_LIMIT, *, is_all_read: bool = False) -> Path:
    """Return the file or folder of *source*, fetched if it is not here yet, or is not what it was.

    With *is_all_read* all that is here is read and compared with its digests, also what has not changed since.

    Raises:
        FetchFailed: the hub cannot be reached, or has not what is asked for, or does not give it.
        InvalidSource: the repository holds several GGUF files and none is named.
        WrongDigest: a file is not the one that the hub announced.
        CacheUnusable: the disk is full or may not be written.
        NoRoom: it does not fit within the limit of *disk*.
    """
    if source.is_pinned and (path := _sound(source, source.revision, progress, is_all_read=is_all_read)):
        return path
    with hub_trouble(source):
        try:
            info = _ask(source)
        except unreachable() as error:
            commit = _remembered_commit(source)
            if commit and (path := _sound(source, commit, progress, is_all_read=is_all_read)):
                progress.note(f"The hub cannot be reached; {source} is taken as commit {commit}, what it last meant.")
                return path
            raise not_reached(source, error) from error
        commit = info.sha or ""
        if not source.is_pinned:
            progress.note(
                f"{source.repo}@{source.revision} is now commit {commit}. "
                f"To keep it from moving, write {HubSource(source.repo, commit, source.file)}"
            )
            _write_note(_branch_note(source), commit)
        siblings = _wanted(source, info.siblings or [], progress)
        _sound(source, commit, progress, is_all_read=is_all_read)
        paths = _download(source, commit, siblings, progress, disk)
    if source.file is not None:
        return paths[_parts_of(source.file).index(source.file)]
    files = tuple(sibling.rfilename for sibling in siblings)
    _write_note(_snapshot_note(source.repo, commit), Snapshot(commit, files))
    return paths[0].parents[files[0].count("/")]


def listed(source: HubSource) -> tuple[str, list[str]]:
    """The commit that *source* means now, and the names of its files; where no hub can be reached, what is here of it.

    Raises:
        FetchFailed: the hub cannot be reached and nothing is here, or has no such repository or revision.
    """
    with hub_trouble(source):
        try:
            info = _ask(source)
        except unreachable() as error:
            commit = source.revision if source.is_pinned else _remembered_commit(source)
            snapshot = _read_note(_snapshot_note(source.repo, commit), Snapshot) if commit else None
            if snapshot is None:
                raise not_reached(source, error) from error
            return snapshot.commit, list(snapshot.files)
    return info.sha or source.revision, [sibling.rfilename for sibling in info.siblings or []]


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


def _download(
    source: HubSource, commit: str, siblings: list[RepoSibling], progress: Progress, disk: Disk
) -> list[Path]:
    from huggingface_hub.constants import HF_HUB_CACHE

    total_bytes = sum(sibling.size or 0 for sibling in siblings)
    missing = [sibling for sibling in siblings if _cached_file(source.repo, commit, sibling.rfilename) is None]
    cache = Path(HF_HUB_CACHE)
    with disk_trouble(cache):
        cache.mkdir(parents=True, exist_ok=True)
        needed_bytes = sum(sibling.size or 0 for sibling in missing)
        stays = {pinned(each) for each in map(parse, disk.stays) if isinstance(each, HubSource)} | disk.stays
        make_room(disk, pinned(source, commit), needed_bytes, stays, progress)
        require_free(cache, needed_bytes - sum(_part_bytes(source, sibling) for sibling in missing))
        tally = _Tally(progress, total_bytes)
        with ThreadPoolExecutor(_WORKERS, thread_name_prefix="hub") as pool:
            jobs = [pool.submit(_download_file, source, commit, sibling, tally) for sibling in siblings]
            try:
                paths = [job.result() for job in jobs]
            except BaseException:
                tally.stop()
                for job in jobs:
                    job.cancel()
                raise
    held.keep(pinned(source, commit), paths, is_fetched=bool(missing))
    return paths


def _download_file(source: HubSource, commit: str, sibling: RepoSibling, tally: _Tally) -> Path:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.constants import MAX_HTTP_DOWNLOAD_SIZE

    here = _cached_file(source.repo, commit, sibling.rfilename)
    if here is not None:
        tally.add(sibling.size or 0)
        return here
    for is_last in (False, True):
        actual = None
        if sibling.lfs is not None and sibling.lfs.size <= MAX_HTTP_DOWNLOAD_SIZE:
            actual = part.download(source, commit, sibling, tally.progress, tally.bar)
        if actual is None:
            path = Path(hf_hub_download(source.repo, sibling.rfilename, revision=commit, tqdm_class=tally.bar))
            expected = sibling.blob_id if sibling.lfs is None else sibling.lfs.sha256
            if expected is None or (actual := held.digest_of(path, expected)) == expected:
                return path
            held.drop(path)
        if is_last:
            break
        tally.progress.note(f"'{sibling.rfilename}' of {source} came with a wrong digest, and is fetched again.")
    expected = sibling.blob_id if sibling.lfs is None else sibling.lfs.sha256
    raise WrongDigest(str(source), file=sibling.rfilename, expected=str(expected), actual=str(actual))


def _part_bytes(source: HubSource, sibling: RepoSibling) -> int:
    return 0 if sibling.lfs is None else part.part_bytes(source.repo, sibling.lfs.sha256)


def _sound(source: HubSource, commit: str, progress: Progress, *, is_all_read: bool) -> Path | None:
    """Where *source* at *commit* is, whole and as it was; files that are not are said, and removed."""
    here = HubSource(source.repo, commit, source.file)
    path = locate(here)
    if path is None:
        return None
    files = _files(here, path)
    damaged = held.damaged(str(here), files, is_all=is_all_read)
    for file, actual in damaged.items():
        progress.note(f"{file} is damaged: its digest is {actual}, not {file.resolve().name}. It is fetched again.")
        held.drop(file)
    if damaged:
        return None
    held.keep(str(here), files, is_fetched=False)
    return path


def _files(source: HubSource, path: Path) -> list[Path]:
    """The files of *source*, which is at *path* whole."""
    if source.file is not None:
        folder = path.parents[source.file.count("/")]
        return [folder / name for name in _parts_of(source.file)]
    snapshot = _read_note(_snapshot_note(source.repo, source.revision), Snapshot)
    return [] if snapshot is None else [path / name for name in snapshot.files]


def pinned(source: HubSource, commit: str | None = None) -> str:
    """*source* with the commit that it means, or last meant here."""
    commit = commit or (source.revision if source.is_pinned else _remembered_commit(source)) or source.revision
    return str(HubSource(source.repo, commit, source.file))


class _Tally:
    """Adds the bytes of all files, and gives huggingface_hub the progress-bar class that it asks for."""

    def __init__(self, progress: Progress, total_bytes: int) -> None:
        self.progress = progress
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
            self.progress.advance("downloading", min(self._done_bytes, self._total_bytes), self._total_bytes)

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
