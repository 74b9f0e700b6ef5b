"""What is mounted now: which endpoint stands at each path, whose models at each prefix."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from enginehouse.config import Config
from enginehouse.dialects.endpoint import Endpoint
from enginehouse.dialects.mounts import Mount, mounts
from enginehouse.dialects.openai.responses.kept import KeptResponses
from enginehouse_plugin import Profile

from .ways import Ways

OWN_PREFIX = "/v1"
_CHAT = "chat"
"""The name of the endpoint by which the console talks."""


class Made(msgspec.Struct, frozen=True):
    """What a configuration mounts.

    `mounts` begin with the server's own. `endpoints` has by path the first endpoint there, and the ways to all (None
    where every request means the first); `models` has by prefix the ways to the mounts, this server's own in any case.
    """

    mounts: tuple[Mount, ...]
    endpoints: dict[str, tuple[Endpoint, Ways[Endpoint] | None]]
    models: dict[str, Ways[Mount]]


class Mounted:
    """The mounts of the configuration in force, *config* at first, with *profiles* beside the built-in ones.

    They are those of `Made`; `kept` is what endpoints keep.
    """

    def __init__(self, config: Config, profiles: Mapping[str, Profile]) -> None:
        self._profiles = profiles
        self.kept = KeptResponses(config.responses)
        self.follow(self.made(config))

    def made(self, config: Config) -> Made:
        """What *config* mounts; changes nothing.

        Raises:
            ConfigError: it cannot be mounted.
        """
        found = mounts(config, self._profiles, self.kept)
        return Made(found, _ways_to_endpoints(found), _ways_to_mounts(found))

    def follow(self, made: Made) -> None:
        """Have *made* mounted from now on."""
        self.mounts, self.endpoints, self.models = made.mounts, made.endpoints, made.models

    @property
    def chat(self) -> tuple[Mount, Endpoint] | None:
        """Where chat completions as OpenAI's are asked for: of a mount that all requests may mean before others."""
        of_all_first = sorted(self.mounts, key=lambda mount: bool(mount.hosts or mount.keys))
        found = ((mount, endpoint) for mount in of_all_first for endpoint in mount.endpoints if endpoint.name == _CHAT)
        return next(found, None)

    @property
    def hosts(self) -> list[str]:
        """The names of hosts that lead to mounts."""
        return [host for mount in self.mounts for host in mount.hosts]


def _ways_to_endpoints(mounted: Sequence[Mount]) -> dict[str, tuple[Endpoint, Ways[Endpoint] | None]]:
    first: dict[str, Endpoint] = {}
    ways: dict[str, Ways[Endpoint]] = {}
    for mount in mounted:
        for endpoint in mount.endpoints:
            first.setdefault(endpoint.path, endpoint)
            ways.setdefault(endpoint.path, Ways()).add(mount, endpoint)
    return {path: (first[path], None if found.only else found) for path, found in ways.items()}


def _ways_to_mounts(mounted: Sequence[Mount]) -> dict[str, Ways[Mount]]:
    ways: dict[str, Ways[Mount]] = {}
    for mount in mounted:
        ways.setdefault(mount.prefix, Ways()).add(mount, mount)
    if OWN_PREFIX not in ways:
        ways[OWN_PREFIX] = Ways()
        ways[OWN_PREFIX].add(mounted[0], mounted[0])
    return ways
