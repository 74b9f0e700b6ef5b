"""A large file of a hub, downloaded to a part that a later try goes on with, whatever ended this one.

huggingface_hub keeps no part of a download that is broken off: what it has no use for is what somebody on a slow line
has waited for. The whole file is put where it would have put it, and it is asked for the rest.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .cache import acquire, cache_folder, sha256_of
from .progress import Progress
from .source import HubSource

if TYPE_CHECKING:
    from huggingface_hub.hf_api import RepoSibling

_ENDING = ".enginehouse-part"


def blob_path(repo: str, digest: str) -> Path:
    """Where the hub's cache has the file of *repo* with this digest."""
    from huggingface_hub.constants import HF_HUB_CACHE
    from huggingface_hub.file_download import repo_folder_name

    return Path(HF_HUB_CACHE) / repo_folder_name(repo_id=repo, repo_type="model") / "blobs" / digest


def part_bytes(repo: str, digest: str) -> int:
    """How much of that file is here of an earlier try."""
    with contextlib.suppress(FileNotFoundError):
        return _part(blob_path(repo, digest)).stat().st_size
    return 0


def download(source: HubSource, commit: str, sibling: RepoSibling, progress: Progress, bar: Any) -> str | None:
    """Have the large file *sibling* in the hub's cache, from where an earlier try left off; *bar* shows the bytes.

    Returns the SHA-256 of what came, where it is another than the hub announced: that is thrown away.
    """
    from huggingface_hub import hf_hub_url
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils._headers import build_hf_headers

    assert sibling.lfs is not None  # noqa: S101  # what makes it a large one
    digest, size_bytes = sibling.lfs.sha256, sibling.lfs.size
    blob = blob_path(source.repo, digest)
    with _alone(digest, progress):
        if blob.exists():  # another process was quicker
            return None
        blob.parent.mkdir(parents=True, exist_ok=True)
        part = _part(blob)
        with part.open("ab") as file:
            done_bytes = file.tell()
            if done_bytes > size_bytes:
                file.truncate(0)
                done_bytes = 0
            if done_bytes:
                progress.note(f"{sibling.rfilename}: {done_bytes / 1e6:.0f} MB are here of an earlier try.")
        with part.open("r+b") as file:
            file.seek(done_bytes)
            url = hf_hub_url(source.repo, sibling.rfilename, revision=commit)
            http_get(
                url, file, resume_size=done_bytes, headers=build_hf_headers(), expected_size=size_bytes, tqdm_class=bar
            )
        actual = sha256_of(part)
        if actual != digest:
            part.unlink()
            return actual
        part.replace(blob)
    return None


def _part(blob: Path) -> Path:
    return blob.with_name(f"{blob.name}{_ENDING}")


@contextlib.contextmanager
def _alone(digest: str, progress: Progress) -> Iterator[None]:
    """Be the only one on this machine who downloads this file."""
    from filelock import FileLock

    folder = cache_folder() / "locks"
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / f"{digest}.lock")
    acquire(lock, folder, progress)
    try:
        yield
    finally:
        lock.release()
