"""Room for weights on the disk: what was used longest ago goes, before more is fetched than the owner wants to hold."""

from __future__ import annotations

from collections.abc import Collection

import msgspec

from . import held
from .errors import NoRoom, WeightsInUse
from .progress import Progress


class Disk(msgspec.Struct, frozen=True):
    """How much fetched weights may take in all, None: as much as there is; and the sources that always stay."""

    limit_bytes: int | None = None
    stays: frozenset[str] = frozenset()


def held_bytes() -> int:
    """What all weights take that were fetched, files of several sources once."""
    files = {file.real: file.size_bytes for each in held.all_held() if each.is_fetched for file in each.files}
    return sum(files.values())


def make_room(disk: Disk, source: str, needed_bytes: int, stays: Collection[str], progress: Progress) -> None:
    """Remove what was used longest ago until *needed_bytes* of *source* fit; never what *stays*, or is used.

    Raises:
        NoRoom: they do not fit; nothing was removed.
    """
    if disk.limit_bytes is None or not needed_bytes:
        return
    room_bytes = disk.limit_bytes - held_bytes() - needed_bytes
    going = []
    for each in held.all_held():
        if room_bytes >= 0:
            break
        if each.is_fetched and each.source != source and each.source not in stays and not each.is_in_use:
            going.append(each)
            room_bytes += each.size_bytes
    if room_bytes < 0:
        raise NoRoom(source, needed_bytes=needed_bytes, limit_bytes=disk.limit_bytes, held_bytes=held_bytes())
    for each in going:
        try:
            freed_bytes = held.remove(each)
        except WeightsInUse:
            continue
        progress.note(f"{each.source} was removed to make room: {freed_bytes / 1e6:.0f} MB.")
