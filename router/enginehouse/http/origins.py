"""What keeps pages of other origins out where no keys are asked for: then whoever reaches the listener may use it.

A page's browser sends what the page cannot forge: `Host`, the name by which the page found the server, and with all
that changes something `Origin`, where the page came from. A page that has its own name resolve to this machine (DNS
rebinding) is told by the first, and one that sends to the server's own name by the second.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Iterable

from enginehouse.accounts import KeyRing
from enginehouse.config import ServerConfig
from enginehouse.config.listener import is_loopback
from enginehouse.dialects.openai import errors
from enginehouse.dialects.refusals import HostNotAllowed, OriginNotAllowed

from .exchange import Exchange

_UNCHANGING = ("GET", "HEAD", "OPTIONS")
_OF_CONTAINERS = ("host.docker.internal", "host.containers.internal")
"""What containers call the machine that they run on; nobody can own a name in `.internal`."""
_MOST_REMEMBERED = 256
_NAME_AND_PORT = re.compile(r"(?:\[([^\[\]]*)\]|([^:\[\]]*))(?::[0-9]*)?")


class Origins:
    """Refuses requests of pages of other origins while *keys* has none. *hosts* are further names of this server."""

    def __init__(self, server: ServerConfig, keys: KeyRing, hosts: Iterable[str] = ()) -> None:
        self._keys = keys
        self._origins = {origin.rstrip("/").encode() for origin in server.cors_origins}
        self._checks_host = is_loopback(server.host) or bool(server.allowed_hosts)
        named = (server.host, *server.allowed_hosts, *hosts)
        self._names = {*(name.lower().removesuffix(".") for name in named), *names_of_this_machine()}
        self._passed: set[bytes] = set()  # values of `Host` that were found good: most requests have the same

    def __call__(self, exchange: Exchange) -> None:
        """Refuse the request, or let it pass."""
        if not self._keys.is_open:
            return
        host = exchange.named.get(b"host", b"")
        if self._checks_host and host not in self._passed:
            name = name_in(host)
            if not self._is_ours(name):
                exchange.refuse(errors.describe(HostNotAllowed(name)))
                return
            if len(self._passed) < _MOST_REMEMBERED:
                self._passed.add(host)
        origin = exchange.named.get(b"origin")
        if origin is None or exchange.method in _UNCHANGING or b"*" in self._origins or origin in self._origins:
            return
        if origin.partition(b"://")[2] != host.lower() or not host:
            exchange.refuse(errors.describe(OriginNotAllowed(origin.decode("latin-1"))))

    def _is_ours(self, name: str) -> bool:
        """Whether *name* leads here and nowhere else: no name at all (HTTP/1.0), an address, or a name of ours."""
        if not name or name in self._names or name.endswith(".localhost"):
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True  # nobody can have an address resolve to another one


def name_in(host: bytes) -> str:
    """The name or address in *host*, a value of that header, without a port, in lower case.

    All of it if it is neither: what one reader would take for a name of ours, another may take for something else.
    """
    text = host.decode("latin-1").strip().lower()
    found = _NAME_AND_PORT.fullmatch(text)
    return text if found is None else found[1] or found[2].removesuffix(".")


def names_of_this_machine() -> Iterable[str]:
    """Names by which this machine may be called from itself."""
    own = socket.gethostname().lower()
    short = own.partition(".")[0]
    return ("localhost", own, short, f"{short}.local", *_OF_CONTAINERS)
