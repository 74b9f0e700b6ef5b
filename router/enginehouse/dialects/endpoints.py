"""The endpoints that a configuration serves."""

from __future__ import annotations

from collections.abc import Mapping

from enginehouse.config import Config
from enginehouse.dialects.endpoint import Endpoint
from enginehouse.dialects.openai.chat.endpoint import ChatEndpoint
from enginehouse.dialects.profiles import chosen
from enginehouse_plugin import Profile


def endpoints(config: Config, profiles: Mapping[str, Profile]) -> tuple[Endpoint, ...]:
    """Return the endpoints of the profile that *config* names, a built-in one or one of *profiles*.

    Raises:
        ConfigError: there is none of that name.
    """
    profile = chosen(config, profiles)
    defaults = {name: model.defaults for name, model in config.models.items()}
    return (
        ChatEndpoint(
            profile,
            defaults=defaults,
            unknown_fields=config.server.unknown_fields,
            unsupported=config.server.unsupported,
            unsupported_by={
                name: said for name, model in config.models.items() if (said := model.unsupported) is not None
            },
        ),
    )
