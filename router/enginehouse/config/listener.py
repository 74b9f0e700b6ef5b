"""Who can reach the listener."""

from __future__ import annotations

import ipaddress

from .errors import ConfigError
from .schema import Config


def refuse_open_listener(config: Config) -> None:
    """Refuse a listener beyond loopback that asks for no key, unless the owner said so.

    Raises:
        ConfigError: it would be open to the network.
    """
    server = config.server
    if config.keys or config.accounts.keys or server.allow_unauthenticated or is_loopback(server.host):
        return
    raise ConfigError(
        f"'{server.host}' can be reached from other machines, and no keys are configured.",
        file=config.file,
        where="server.host",
        fix="Add a key (`enginehouse keys new`), listen on 127.0.0.1, or set `allow_unauthenticated = true`.",
    )


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches a listener on *host*."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False  # a name may resolve to any address
