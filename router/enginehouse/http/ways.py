"""Which of several things at one path a request means: by its key, or by the name that it was sent to."""

from __future__ import annotations

from typing import Generic, TypeVar

from enginehouse.dialects.mounts import Mount

from .origins import name_in

T = TypeVar("T")


class Ways(Generic[T]):
    """What requests get at one path, each a lookup: what their key leads to, else the name of their host, else all."""

    def __init__(self) -> None:
        self._any: T | None = None
        self._by_host: dict[str, T] = {}
        self._by_key: dict[str, T] = {}

    def add(self, mount: Mount, target: T) -> None:
        """Let what leads to *mount* lead to *target*."""
        self._by_host.update(dict.fromkeys((host.lower() for host in mount.hosts), target))
        self._by_key.update(dict.fromkeys(mount.keys, target))
        if not mount.hosts and not mount.keys:
            self._any = target

    @property
    def only(self) -> T | None:
        """What every request gets; None: that differs."""
        return None if self._by_host or self._by_key else self._any

    def of(self, host: bytes | None, key: str | None) -> T | None:
        """What a request with *key*, sent to *host* (a value of that header), gets; None: nothing is there for it."""
        if key is not None and (found := self._by_key.get(key)) is not None:
            return found
        if self._by_host and host is not None and (found := self._by_host.get(name_in(host))) is not None:
            return found
        return self._any
