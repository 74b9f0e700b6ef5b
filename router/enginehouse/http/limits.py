"""Limits of connections and of what they hold, from the configuration and from what this process may open."""

from __future__ import annotations

import os
import resource
import sys

import msgspec

from enginehouse.config import ConfigError, ServerConfig
from enginehouse.telemetry import get_logger

_MOST_DESCRIPTORS = 1 << 20  # some systems allow a thousand million, and some programs go through all of them
_MOST_OF_MACOS = 10_240  # asked for more than this, it refuses
_FOR_FILES = 40
"""Descriptors kept for logs, the usage file, weights and the listener, beside those that are open at the start."""
_FOR_A_MODEL = 12
"""For an engine's pipes, its guardian, and calls about it (health, slots, tokens) beside those that carry answers."""
_LEAST_CONNECTIONS = 8

log = get_logger()


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What clients may take. 0 is no limit.

    `max_strangers` are connections on which no request has been admitted yet, `max_reserved` those beyond all limits
    that may still ask how the server is. `max_in_flight_bytes` bounds bodies and answers together.
    """

    max_connections: int = 0
    max_strangers: int = 0
    max_per_address: int = 0
    max_reserved: int = 64
    max_in_flight_bytes: int = 0
    max_body_bytes: int = 16 * 1024 * 1024
    request_timeout_s: float = 60.0
    min_upload_bytes_s: int = 4096
    send_timeout_s: float = 120.0

    @classmethod
    def of(cls, server: ServerConfig, room: int) -> Limits:
        """The limits of *server* where descriptors allow *room* connections."""
        connections = min(server.max_connections, room)
        share = server.max_connections_per_address
        if share is None:  # behind a proxy all clients have its address
            share = 0 if server.trusted_proxies else max(1, connections // 2)
        return cls(
            max_connections=connections,
            max_strangers=max(1, connections // 2),
            max_per_address=share,
            max_reserved=reserved_beside(connections),
            max_in_flight_bytes=server.max_in_flight_bytes,
            max_body_bytes=server.max_body_bytes,
            request_timeout_s=server.request_timeout_s,
            min_upload_bytes_s=server.min_upload_bytes_s,
            send_timeout_s=server.send_timeout_s,
        )

    def request_is_due(self, began_at: float, size: int) -> float:
        """When a request that began at *began_at* and has *size* bytes of its body must be whole."""
        return began_at + self.request_timeout_s + size / self.min_upload_bytes_s


def reserved_beside(connections: int) -> int:
    """How many connections are kept beside *connections* of clients for those who ask how the server is."""
    return min(64, max(4, connections // 16))


def raise_descriptors() -> int:
    """Allow this process and its children all the descriptors that the system lets it have; returns how many."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = _MOST_OF_MACOS if sys.platform == "darwin" else _MOST_DESCRIPTORS
    wanted = most if hard == resource.RLIM_INFINITY else min(hard, most)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return min(soft, most) if soft != resource.RLIM_INFINITY else most
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    except (OSError, ValueError):  # it stays as it is
        return soft
    return wanted


def room_for_connections(descriptors: int, models: int) -> int:
    """How many connections *descriptors* allow beside what is open now and what *models* and files need.

    Raises:
        ConfigError: next to none.
    """
    free = descriptors - len(os.listdir("/dev/fd")) - _FOR_FILES - _FOR_A_MODEL * models
    # Each may need another one to an engine; an eighth more is for reserved ones and for those that are closing.
    room = free * 8 // 17
    if room < _LEAST_CONNECTIONS:
        raise ConfigError(
            f"this process may open {descriptors} files, which are too few to serve {models} models.",
            fix="Raise the limit: `ulimit -n 4096`, or LimitNOFILE in a systemd unit.",
        )
    return room
