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

from collections.abc import Iterable
from pathlib import Path

from enginehouse_plugin.errors import SourceNotFound

from . import demo, held, hub
from .cache import cache_folder
from .held import Held, all_held, remove
from .progress import Progress
from .room import Disk, held_bytes
from .source import DemoSource, HubSource, LocalSource, RemoteSource, Source, looks_like_repository, parse
from .wanted import Wanted, looks_wanted, wanted

__all__ = [
    "DemoSource",
    "Disk",
    "Held",
    "HubSource",
    "LocalSource",
    "Progress",
    "RemoteSource",
    "Source",
    "Wanted",
    "all_held",
    "cache_folder",
    "held_bytes",
    "locate",
    "looks_wanted",
    "parse",
    "recommended",
    "remove",
    "resolve",
    "staying",
    "wanted",
]

_SILENT = Progress()
_NO_LIMIT = Disk()


def resolve(
    source: str,
    *,
    progress: Progress = _SILENT,
    base: Path | None = None,
    disk: Disk = _NO_LIMIT,
    is_all_read: bool = False,
    is_used: bool = False,
) -> Path | None:
    """Return the absolute path of the weights of *source*, fetched first where they are not here yet, or are damaged.

    What is fetched keeps within the limit of *disk*. With *is_all_read* all that is here is read and compared with its
    digests, else what has changed since. With *is_used* nobody removes it until this process ends.

    None for a source without local weights (a URL). A relative path counts from *base*. Blocks for as long
    as a download takes: call it in a thread. To cancel, let a method of *progress* raise.

    Raises:
        LoadError: see `enginehouse.weights.errors`; the message says what to do.
    """
    match parse(source, base=base):
        case DemoSource(name):
            path = demo.fetch(demo.demo_named(name), progress, disk)
            noted = demo.demo_named(name).source
        case HubSource() as hub_source:
            path = hub.fetch(hub_source, progress, disk, is_all_read=is_all_read)
            noted = hub.pinned(hub_source)
        case LocalSource(path):
            return _local(source, path)
        case RemoteSource():
            return None
    if is_used:
        held.use(noted)
    return path


def staying(sources: Iterable[str]) -> set[str]:
    """*sources* as weights are noted under them: a branch is the commit that it last meant."""
    parsed = ((source, parse(source)) for source in sources)
    return {hub.pinned(each) if isinstance(each, HubSource) else source for source, each in parsed}


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


def recommended(source: str) -> dict[str, float]:
    """What the authors of *source* recommend for sampling, where the weights themselves cannot say it.

    Raises:
        InvalidSource: *source* cannot be read as one.
    """
    match parse(source):
        case DemoSource(name):
            return demo.demo_named(name).recommended
        case _:
            return {}


def _local(source: str, path: Path) -> Path:
    if path.exists():
        return path.absolute()
    if looks_like_repository(source):
        fix = f"If a hub repository is meant, write hub:{source}" + ("" if "@" in source else "@REVISION") + "."
    else:
        fix = "Name a file or folder that is there, demo:smollm2-135m, or hub:ORG/REPO@REVISION."
    raise SourceNotFound(str(path.absolute()), fix=fix)
