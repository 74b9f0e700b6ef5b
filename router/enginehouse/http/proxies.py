"""Who asks, where proxies that are trusted pass requests on."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

from enginehouse.dialects.endpoint import Header

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class TrustedProxies:
    """The proxies whose `X-Forwarded-For` and `X-Forwarded-Proto` count: addresses, networks, or `*` for all."""

    def __init__(self, names: Sequence[str]) -> None:
        self._trusts_all = "*" in names
        self._networks: list[Network] = []
        self._literals: set[str] = set()
        for name in names:
            try:
                self._networks.append(ipaddress.ip_network(name, strict=False))
            except ValueError:
                self._literals.add(name)

    def trusts(self, host: str) -> bool:
        """Whether *host* is one of them."""
        if self._trusts_all or host in self._literals:
            return True
        try:
            address = ipaddress.ip_address(host)
        except ValueError:
            return False
        return any(address in network for network in self._networks)

    def origin(self, peer: str, scheme: str, headers: Sequence[Header]) -> tuple[str, str]:
        """Return the client's address and scheme of a request that came from *peer* by *scheme*.

        Each proxy appends whom it heard from, so the last that is not trusted is the client.
        """
        if not self.trusts(peer):
            return peer, scheme
        hops: list[str] = []
        for name, value in headers:
            if name == b"x-forwarded-for":
                hops += value.decode("latin-1").split(",")
            elif name == b"x-forwarded-proto":
                said = value.decode("latin-1").strip().lower()
                scheme = said if said in ("http", "https") else scheme
        hosts = [host for host in map(_host, hops) if host]
        if not hosts:
            return peer, scheme
        if self._trusts_all:
            return hosts[0], scheme
        return next((host for host in reversed(hosts) if not self.trusts(host)), hosts[0]), scheme


def _host(hop: str) -> str:
    """Return *hop* without a port: `1.2.3.4`, `1.2.3.4:80`, `::1` and `[::1]:80` are all in use."""
    hop = hop.strip()
    if hop.startswith("["):
        return hop[1:].partition("]")[0]
    return hop.partition(":")[0] if hop.count(":") == 1 else hop
