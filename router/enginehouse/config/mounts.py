"""Whether agents and mounts name what there is, each way once."""

from __future__ import annotations

from collections.abc import Iterable

from .decode import suggest
from .errors import ConfigError
from .hosts import check_host
from .schema import Config


def check_mounts(config: Config) -> None:
    """Refuse agents and mounts of *config* that name a model or key which is not there, or what another one has.

    Raises:
        ConfigError: naming the place.
    """
    for name, agent in config.agents.items():
        if name in config.models:
            raise ConfigError(f"a model is called '{name}' too.", file=config.file, where=f'agents."{name}"')
        _require("model", agent.model, config.models, f'agents."{name}".model', config)
    hosts: set[str] = set()
    keys: set[str] = set()
    for at, mount in enumerate(config.mounts):
        for client_side, name in mount.models.items():
            where = f'mounts[{at}].models."{client_side}"'
            _require("model or agent", name, (*config.models, *config.agents), where, config)
        for host in mount.hosts:
            check_host(host, f"mounts[{at}].hosts", config.file)
            _once(host.lower(), hosts, f"mounts[{at}].hosts", config)
        for key in mount.keys:
            _require("key", key, [known.name for known in config.keys], f"mounts[{at}].keys", config)
            _once(key, keys, f"mounts[{at}].keys", config)


def _require(kind: str, name: str, known: Iterable[str], where: str, config: Config) -> None:
    known = tuple(known)
    if name not in known:
        raise ConfigError(f"there is no {kind} '{name}'.", file=config.file, where=where, fix=suggest(name, known))


def _once(name: str, seen: set[str], where: str, config: Config) -> None:
    if name in seen:
        raise ConfigError(f"'{name}' leads to another mount already.", file=config.file, where=where)
    seen.add(name)
