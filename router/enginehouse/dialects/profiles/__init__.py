"""Profiles: documented APIs as data, one TOML file each, which the endpoints of a dialect consume."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Any

import msgspec

from enginehouse.config import Config, ConfigError, Defaults, decode, suggest
from enginehouse_plugin import Profile

_DEFAULTS = frozenset(Defaults.__struct_fields__)


@cache
def built_in() -> Mapping[str, Profile]:
    """Return the profiles that come with the router, by name: that of their file."""
    found = sorted(files(__name__).iterdir(), key=lambda file: file.name)
    return {file.name[:-5]: _read(file) for file in found if file.name.endswith(".toml")}


def _read(file: Traversable) -> Profile:
    tables = {"name": file.name[:-5], **tomllib.loads(file.read_text(encoding="utf-8"))}
    return msgspec.convert(tables, Profile, str_keys=True)


def chosen(config: Config, profiles: Mapping[str, Profile]) -> Profile:
    """Return the profile that *config* names for the server, a built-in one or one of *profiles*.

    Raises:
        ConfigError: there is none of that name.
    """
    server = config.server
    settings = {} if server.strict_profile is None else {"strict_profile": server.strict_profile}
    return profile_of(server.profile, settings, profiles, where="server", file=config.file)


def profile_of(
    name: str, settings: Mapping[str, Any], profiles: Mapping[str, Profile], *, where: str, file: str | None
) -> Profile:
    """Return the profile *name*, a built-in one or one of *profiles*, with *settings* in place of its own.

    Raises:
        ConfigError: there is none of that name, or a setting is none that a profile has; *where* is their table.
    """
    known = {**profiles, **built_in()}
    if name not in known:
        raise ConfigError(
            f"there is no profile '{name}'.", file=file, where=f"{where}.profile", fix=suggest(name, known)
        )
    if not settings:
        return known[name]
    tables = _merged(msgspec.to_builtins(known[name], str_keys=True), settings)
    return decode(tables, Profile, file=file, where=f"{where}.settings", str_keys=True)


def _merged(table: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """*table* with what *over* has in its place, table by table."""
    merged = dict(table)
    for name, value in over.items():
        below = merged.get(name)
        merged[name] = _merged(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return merged


def defaults_of(profile: Profile) -> dict[str, Any]:
    """Return the values of *profile* for fields that a request leaves out, by the field's name."""
    return {
        name: field.default for name, field in profile.fields.items() if name in _DEFAULTS and field.default is not None
    }
