"""By which names and from which origins the server may be used: what could never match is refused, not ignored."""

from __future__ import annotations

import importlib.util
import ipaddress
import re
from urllib.parse import urlsplit

from .errors import ConfigError
from .schema import Config, ServerConfig

_NAME = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_])?\.?")
_PORTS = {"http": 80, "https": 443}
"""Ports that browsers leave out."""


def check_host(name: str, where: str, file: str | None) -> None:
    """Check what stands for a host at *where*.

    Raises:
        ConfigError: it can be no name of a host, as clients send it.
    """
    if not _is_host(name):
        raise ConfigError(f"'{name}' is no name of a host.", file=file, where=where, fix=_host_fix(name))


def check_hosts(server: ServerConfig, file: str | None) -> None:
    """Check `allowed_hosts` and `cors_origins`.

    Raises:
        ConfigError: one of them can be no name of a host, or no origin, as browsers send it.
    """
    for at, name in enumerate(server.allowed_hosts):
        check_host(name, f"server.allowed_hosts[{at}]", file)
    for at, origin in enumerate(server.cors_origins):
        meant = _origin_in(origin)
        if origin in ("*", "null") or (meant and origin.rstrip("/") == meant):
            continue
        raise ConfigError(
            f"'{origin}' is no origin of a page.",
            file=file,
            where=f"server.cors_origins[{at}]",
            fix=f"Write '{meant}'." if meant else "Write scheme and host, as https://chat.example.org, or '*' for all.",
        )


def check_mdns(config: Config) -> None:
    """Check that what the file wants of multicast DNS can be had.

    Raises:
        ConfigError: a host is to be found, and none is looked for, or it could not prove that it is the one; the
            package is missing.
    """
    for name, host in config.hosts.items():
        if host.announced_as is None:
            continue
        if host.key_env is None and host.key_file is None:
            raise ConfigError(
                f"'{host.url}' needs a key, by which the host proves that it is the one: anybody can take a name.",
                file=config.file,
                where=f"hosts.{name}.url",
                fix="Give `key_env` or `key_file`, with one of the [[keys]] in that host's file.",
            )
        if not config.mdns.discover:
            raise ConfigError(
                f"'{host.url}' is found by multicast DNS, which is off.",
                file=config.file,
                where=f"hosts.{name}.url",
                fix="Write `discover = true` in [mdns], or the URL.",
            )
    if (config.mdns.announce or config.mdns.discover) and importlib.util.find_spec("zeroconf") is None:
        raise ConfigError(
            "multicast DNS needs the package zeroconf, which is not installed.",
            file=config.file,
            where="mdns",
            fix="Install it with `pip install 'enginehouse[mdns]'`.",
        )


def _is_host(name: str) -> bool:
    return _NAME.fullmatch(name) is not None or _is_address(name)


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _host_fix(name: str) -> str:
    if "*" in name:
        return "Name each host by itself: with '*' any web page could use the server. Or use keys: then all may ask."
    found = re.fullmatch(r"(?:[a-z][a-z0-9+.-]*://)?\[?([^/\[\]]*?)\]?(?::\d*)?(?:/.*)?", name.strip(), re.IGNORECASE)
    if found and _is_host(found[1]):
        return f"Write '{found[1]}'."
    return (
        "Write it alone and as it is sent, without scheme, port or path: house.example.org, or xn--… for other letters."
    )


def _origin_in(text: str) -> str:
    """The origin of the page at *text*, as browsers send it; empty if that has none."""
    try:
        parts = urlsplit(text.strip())
        host, port = parts.hostname, parts.port
    except ValueError:
        return ""
    if not parts.scheme or not host or not _is_host(host):
        return ""
    shown = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{shown}" + ("" if port in (None, _PORTS.get(parts.scheme)) else f":{port}")
