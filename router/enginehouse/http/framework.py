"""The framework with a route to all that a configuration mounts.

It computes for milliseconds for each route, which a reload must not have the loop do: `Framework.prepared` makes
another one with the routes that are new, in a thread, and `follow` puts it in force. Handlers are made once and stand
in each of them, as some have a state.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import msgspec
from litestar import Litestar
from litestar.types import ControllerRouterHandler

from enginehouse.config import Config

from .mounted import Made, Mounted


class Routed(msgspec.Struct, frozen=True):
    """What `litestar` has: routes to endpoints at `paths`, and beside models under `prefixes`; all by `handlers`."""

    litestar: Litestar
    handlers: tuple[ControllerRouterHandler, ...]
    paths: frozenset[str]
    prefixes: frozenset[str]


class Prepared(msgspec.Struct, frozen=True):
    """What a configuration mounts, and the routes to that."""

    config: Config
    made: Made
    routed: Routed


class Framework:
    """Holds the routes in force, `routed`, to what is *mounted*.

    *fixed* are handlers of routes that stay; *to_path* makes one for an endpoint's path, *to_prefixes* those beside
    models. *options* are those of Litestar.
    """

    def __init__(
        self,
        mounted: Mounted,
        fixed: Sequence[ControllerRouterHandler],
        to_path: Callable[[str], ControllerRouterHandler],
        to_prefixes: Callable[[Collection[str]], Sequence[ControllerRouterHandler]],
        options: Mapping[str, Any],
    ) -> None:
        self._mounted = mounted
        self._to_path = to_path
        self._to_prefixes = to_prefixes
        self._options = options
        self._prepared: Prepared | None = None
        self.routed = self._extended(tuple(fixed), frozenset(mounted.endpoints), frozenset(mounted.models))

    def prepare(self, config: Config) -> Prepared:
        """Make what *config* needs, for `follow`. Call it in a thread, one at a time; nothing is changed yet.

        Raises:
            ConfigError: it cannot be mounted.
        """
        made, routed = self._mounted.made(config), self.routed
        paths, prefixes = made.endpoints.keys() - routed.paths, made.models.keys() - routed.prefixes
        if paths or prefixes:
            extended = self._extended(routed.handlers, frozenset(paths), frozenset(prefixes))
            # What is mounted no more keeps its route.
            routed = msgspec.structs.replace(
                extended, paths=extended.paths | routed.paths, prefixes=extended.prefixes | routed.prefixes
            )
        self._prepared = prepared = Prepared(config, made, routed)
        return prepared

    def follow(self, config: Config) -> None:
        """Have what *config* mounts in force, and routes to it; at once where it has been prepared."""
        prepared = self._prepared
        if prepared is None or prepared.config != config:
            prepared = self.prepare(config)
        self._prepared = None
        self._mounted.follow(prepared.made)
        self.routed = prepared.routed

    def _extended(
        self, handlers: tuple[ControllerRouterHandler, ...], paths: frozenset[str], prefixes: frozenset[str]
    ) -> Routed:
        """Routes to *paths* and *prefixes* beside those of *handlers*."""
        all_ = (*handlers, *map(self._to_path, sorted(paths)), *self._to_prefixes(sorted(prefixes)))
        return Routed(Litestar(all_, **self._options), all_, paths, prefixes)
