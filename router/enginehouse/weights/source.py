"""Source strings, parsed: `demo:NAME`, `hub:ORG/REPO@REVISION[/FILE]`, a URL, or a local path."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec

from .errors import InvalidSource

_HUB = re.compile(r"(?P<repo>[^@]+)@(?P<revision>refs/[^/]+/[^/]+|[^/]+)(?:/(?P<file>.+))?")
_REPO = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_BARE_REPO = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*(@[^/]+)?(/.+)?")

_HUB_FORM = "Write hub:ORG/REPO@REVISION or hub:ORG/REPO@REVISION/FILE"
_FIND_REVISION = (
    "REVISION is best a commit: the 40 hex digits that the repository's page on the hub shows under "
    "'Files and versions' > 'History'; a tag or a branch such as main is resolved to one"
)


class DemoSource(msgspec.Struct, frozen=True):
    """Weights that a package on the package index carries."""

    name: str


class HubSource(msgspec.Struct, frozen=True):
    """A repository on a model hub at a revision; `file` None means all of its files."""

    repo: str
    revision: str
    file: str | None = None

    @property
    def is_pinned(self) -> bool:
        """Whether the revision is a commit, which never moves."""
        return _COMMIT.fullmatch(self.revision) is not None

    def __str__(self) -> str:
        return f"hub:{self.repo}@{self.revision}" + (f"/{self.file}" if self.file else "")


class RemoteSource(msgspec.Struct, frozen=True):
    """A server that has the weights itself; nothing to fetch."""

    url: str


class LocalSource(msgspec.Struct, frozen=True):
    """A file or folder of this machine, `~` expanded."""

    path: Path


Source = DemoSource | HubSource | RemoteSource | LocalSource


def parse(source: str, *, base: Path | None = None) -> Source:
    """Read *source*; a relative path counts from *base* (default: the working folder).

    Raises:
        InvalidSource: it has no known form; the message says which there are.
    """
    kind, colon, rest = source.partition(":")
    if not source.strip():
        raise InvalidSource(
            source, problem="it is empty", fix=f"Name a file or folder, demo:smollm2-135m, or {_HUB_FORM[6:]}."
        )
    if colon and kind == "demo":
        return DemoSource(rest)
    if colon and kind == "hub":
        return _parse_hub(source, rest)
    if kind in ("http", "https") and rest.startswith("//"):
        return RemoteSource(source)
    return LocalSource((base or Path()) / Path(source).expanduser())


def looks_like_repository(source: str) -> bool:
    """Whether a path that is not there was perhaps meant as a hub repository: `org/repo`."""
    return _BARE_REPO.fullmatch(source) is not None


def _parse_hub(source: str, rest: str) -> HubSource:
    if "@" not in rest:
        raise InvalidSource(source, problem="it names no revision", fix=f"{_HUB_FORM}. {_FIND_REVISION}.")
    match = _HUB.fullmatch(rest)
    if match is None:
        raise InvalidSource(source, problem="its revision is empty", fix=f"{_HUB_FORM}. {_FIND_REVISION}.")
    if _REPO.fullmatch(match["repo"]) is None:
        raise InvalidSource(source, problem=f"'{match['repo']}' is not a repository's name", fix=f"{_HUB_FORM}.")
    file = match["file"]
    if file is not None and any(part in ("", ".", "..") for part in file.split("/")):
        raise InvalidSource(source, problem=f"'{file}' is not the name of a file in a repository", fix=f"{_HUB_FORM}.")
    return HubSource(match["repo"], match["revision"], file)
