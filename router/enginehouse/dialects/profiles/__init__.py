"""Profiles: documented APIs as data, one TOML file each, which the endpoints of a dialect consume."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable

import msgspec

from enginehouse.config import Config, ConfigError, suggest
from enginehouse_plugin import Profile


@cache
def built_in() -> Mapping[str, Profile]:
    """Return the profiles that come with the router, by name: that of their file."""
    found = sorted(files(__name__).iterdir(), key=lambda file: file.name)
    return {file.name[:-5]: _read(file) for file in found if file.name.endswith(".toml")}


def _read(file: Traversable) -> Profile:
    return msgspec.convert({"name": file.name[:-5], **tomllib.loads(file.read_text(encoding="utf-8"))}, Profile)


def chosen(config: Config, profiles: Mapping[str, Profile]) -> Profile:
    """Return the profile that *config* names, a built-in one or one of *profiles*.

    Raises:
        ConfigError: there is none of that name.
    """
    known = {**profiles, **built_in()}
    name = config.server.profile
    if name not in known:
        fix = suggest(name, known)
        raise ConfigError(f"there is no profile '{name}'.", file=config.file, where="server.profile", fix=fix)
    return known[name]
