"""The configuration in force, as data: what another one would change, and applying what needs no restart.

Who holds a part of the configuration says with `observe` which keys it follows. A key that nobody follows needs a
restart, so that what is said of a change is what happens.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, Literal

import msgspec

from .config import Config, ConfigError, ModelConfig, refuse_lost, refuse_open_listener
from .telemetry import get_logger

Path = tuple[str, ...]
"""A key: `("server", "port")`, `("models", "m", "defaults")`, a whole model `("models", "m")`, `("keys", "alice")`."""

_MODEL: Final = ModelConfig.__struct_fields__
_DEFAULT: Final = Config()
_SECTIONS: Final = tuple(
    name for name in Config.__struct_fields__ if isinstance(getattr(_DEFAULT, name), msgspec.Struct)
)
log = get_logger()
_TOP: Final = tuple(
    name for name in Config.__struct_fields__ if name not in (*_SECTIONS, "models", "keys", "file", "named")
)


class Change(msgspec.Struct, frozen=True):
    """A key that differs, and how."""

    path: Path
    kind: Literal["added", "removed", "changed"]

    @property
    def where(self) -> str:
        """The key as messages name it: `models."m".defaults`."""
        first, *rest = self.path
        if first in ("models", "keys"):
            rest[0] = f'"{rest[0]}"'
        return ".".join((first, *rest))


class Changes(msgspec.Struct, frozen=True):
    """What another configuration would change: `now` without a restart, the others only with one."""

    now: tuple[Change, ...] = ()
    at_restart: tuple[Change, ...] = ()


class Live:
    """Holds the configuration in force, `config`; *config* is the one to begin with, bound to the plugins.

    *read* reads it anew where it is from, bound and checked; None: it is from nowhere.
    """

    def __init__(self, config: Config, read: Callable[[], Config] | None = None) -> None:
        self.config = config
        self._read = read
        self._observers: list[tuple[tuple[Path, ...], Callable[[Config], None] | None]] = []
        self._checks: list[Callable[[Config], None]] = []
        self._rereads: list[Callable[[], Awaitable[None]]] = []
        self._lock = asyncio.Lock()

    def observe(self, keys: Sequence[str], apply: Callable[[Config], None] | None = None) -> None:
        """Follow *keys*: `server.keep_alive_s`, `keys`, `models.*.defaults`, or `models` for all of them.

        *apply* is called with the configuration in force, from now on whenever one of them has changed; it does not
        fail. None: they are read from `config` each time.

        Raises:
            ValueError: there is no such key.
        """
        paths = tuple(tuple(key.split(".")) for key in keys)
        for key, path in zip(keys, paths, strict=True):
            if not any(_leads_to(path, known) for known in _known()):
                raise ValueError(f"there is no key '{key}'")
        self._observers.append((paths, apply))

    def check(self, check: Callable[[Config], None]) -> None:
        """Have *check* look at a configuration before it is reloaded, in a thread; it raises `ConfigError`.

        It sees what was read, and what would be in force, where keys that need a restart stay as they are.
        """
        self._checks.append(check)

    def reread(self, again: Callable[[], Awaitable[None]]) -> None:
        """Call *again* at each reload: it reads again what the configuration only names, and does not fail."""
        self._rereads.append(again)

    async def reload(self, *, is_trial: bool = False) -> Changes:
        """Read the configuration anew where it is from, and put in force what needs no restart; returns what changes.

        *is_trial*: change nothing, only say what would be.

        Raises:
            ConfigError: it cannot be used, or is from no file; nothing is changed.
        """
        async with self._lock:
            new = await asyncio.to_thread(self._read_checked)
            if is_trial:
                return self.diff(new)
            changes = self.apply(new)
            for again in self._rereads:
                await again()
        log.info(
            "configuration reloaded",
            changed=[change.where for change in changes.now],
            needs_restart=[change.where for change in changes.at_restart],
        )
        return changes

    def _read_checked(self) -> Config:
        if self._read is None:
            raise ConfigError(
                "this server was started without a file that could be read again.",
                fix="Start it with --config FILE.",
            )
        new = self._read()
        refuse_lost(self.config, new)
        for config in (new, self._in_force(new)):
            for check in self._checks:
                check(config)
        return new

    def _in_force(self, new: Config) -> Config:
        """What would be in force of *new*.

        Raises:
            ConfigError: the listener would be open to the network.
        """
        config = _keeping(self.config, new, {change.path for change in self.diff(new).at_restart})
        refuse_open_listener(config)
        return config

    def diff(self, new: Config) -> Changes:
        """What *new*, bound to the same plugins, would change; changes nothing itself."""
        now: list[Change] = []
        at_restart: list[Change] = []
        for change in _differences(self.config, new):
            followed = any(_is_followed(change.path, paths) for paths, _ in self._observers)
            (now if followed else at_restart).append(change)
        return Changes(now=tuple(now), at_restart=tuple(at_restart))

    def apply(self, new: Config) -> Changes:
        """Put in force what can be of *new*, and tell those who follow it; returns what `diff` does.

        Keys that need a restart stay as they are.

        Raises:
            ConfigError: the listener would be open to the network; nothing is changed.
        """
        changes = self.diff(new)
        self.config = config = self._in_force(new)
        for paths, apply in self._observers:
            if apply is not None and any(_is_followed(change.path, paths) for change in changes.now):
                apply(config)
        return changes


def _known() -> list[Path]:
    sections = [path for name in _SECTIONS for path in _fields((name,), getattr(_DEFAULT, name))]
    return [*((name,) for name in _TOP), ("keys", "*"), *sections, *(("models", "*", field) for field in _MODEL)]


def _leads_to(path: Path, known: Path) -> bool:
    return known[: len(path)] == path


def _is_followed(path: Path, by: tuple[Path, ...]) -> bool:
    """Whether one of *by* names *path* or something around it."""
    general = (path[0], "*", *path[2:]) if path[0] in ("models", "keys") else path
    return any(_leads_to(key, general) for key in by)


def _values(config: Config) -> dict[Path, Any]:  # the type of a value is its key's
    """Every key of *config* with its value."""
    values: dict[Path, Any] = {(name,): getattr(config, name) for name in _TOP}
    for name in _SECTIONS:
        values |= _fields((name,), getattr(config, name))
    for name, model in config.models.items():
        values |= _fields(("models", name), model)
    for key in config.keys:
        values["keys", key.name] = key
    return values


def _fields(path: Path, section: msgspec.Struct) -> dict[Path, Any]:
    return {(*path, field): getattr(section, field) for field in section.__struct_fields__}


def _differences(old: Config, new: Config) -> list[Change]:
    before, after = _values(old), _values(new)
    found: dict[Path, Change] = {}
    for path in [*before, *(path for path in after if path not in before)]:
        if path in before and path in after:
            if before[path] != after[path]:
                found[path] = Change(path, "changed")
        else:
            whole = path[:2]  # a model or a key that is only in one of them
            found[whole] = Change(whole, "removed" if path in before else "added")
    return list(found.values())


def _keeping(old: Config, new: Config, kept: set[Path]) -> Config:
    """*new*, with what is *kept* as it is in *old*."""
    sections: dict[str, Any] = {
        name: msgspec.structs.replace(
            getattr(new, name),
            **{path[1]: getattr(getattr(old, name), path[1]) for path in kept if path[0] == name},
        )
        for name in _SECTIONS
    }
    models = {name: model for name, model in new.models.items() if ("models", name) not in kept}
    for name, model in old.models.items():
        if ("models", name) in kept:
            models[name] = model
        elif name in models:
            same = {field: getattr(model, field) for field in _MODEL if ("models", name, field) in kept}
            models[name] = msgspec.structs.replace(models[name], **same)
    return msgspec.structs.replace(
        new,
        **{name: getattr(old, name) for name in _TOP if (name,) in kept},
        keys=old.keys if any(path[0] == "keys" for path in kept) else new.keys,
        models=models,
        **sections,
    )
