"""What a key can be for: a scope that names what is not served opens nothing, and says so nowhere later."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from enginehouse.accounts import Scope
from enginehouse.config import Config, ConfigError, suggest
from enginehouse_plugin.errors import InvalidRequest

if TYPE_CHECKING:
    from .mounts import Mount


class Served(msgspec.Struct, frozen=True, kw_only=True):
    """The names that a scope may have: of models and their agents, of endpoints and of profiles."""

    models: tuple[str, ...]
    endpoints: tuple[str, ...]
    profiles: tuple[str, ...]

    @classmethod
    def of(cls, config: Config, mounted: Sequence[Mount]) -> Served:
        """What *config* serves, which has *mounted* these."""
        return cls(
            models=(*config.models, *config.agents),
            endpoints=tuple(sorted({endpoint.name for mount in mounted for endpoint in mount.endpoints})),
            profiles=tuple(dict.fromkeys(mount.profile.name for mount in mounted)),
        )

    def unserved(self, scope: Scope) -> tuple[str, str, tuple[str, ...]] | None:
        """The first name of *scope* that is none of these: its field, the name, and those that may stand there."""
        for field, named, known in (
            ("models", scope.models, self.models),
            ("endpoints", scope.endpoints, self.endpoints),
            ("profiles", scope.profiles, self.profiles),
        ):
            for name in named or ():
                if name not in known:
                    return field, name, known
        return None

    def check(self, scope: Scope) -> None:
        """Let *scope* pass.

        Raises:
            InvalidRequest: it names what is not served, which would open nothing.
        """
        if found := self.unserved(scope):
            field, name, known = found
            raise InvalidRequest(
                f"Invalid {field}: no {field[:-1]} '{name}' is served here. {suggest(name, known)} "
                "With `allow_unknown` a key may be for what is not served yet.",
                param=field,
            )


def check_keys(config: Config, mounted: Sequence[Mount]) -> None:
    """Let the keys of *config* pass, which has *mounted* these.

    Raises:
        ConfigError: one is for what is not served.
    """
    served = Served.of(config, mounted)
    for at, key in enumerate(config.keys):
        if found := served.unserved(Scope(models=key.models, endpoints=key.endpoints, profiles=key.profiles)):
            field, name, known = found
            raise ConfigError(
                f"no {field[:-1]} '{name}' is served here.",
                file=config.file,
                where=f"keys[{at}].{field}",
                fix=suggest(name, known),
            )
