"""Multicast DNS: tells others on the network where this server is, and hears where others are.

Anybody on the network can tell anything there, so that nothing but an address is believed, and that only of a host
that the file names and that does not answer where it was. What is heard is bounded, in numbers and in letters.

The package `zeroconf` is imported where the configuration wants this alone; where it is absent its types are not known.
"""

from __future__ import annotations

import asyncio
import importlib
import ipaddress
import re
import socket
from collections.abc import Callable, Collection, Iterator
from typing import TYPE_CHECKING, Any, Final

import msgspec
import psutil  # type: ignore[import-untyped]  # ships no types

from enginehouse.config import MdnsConfig
from enginehouse.telemetry import get_logger

if TYPE_CHECKING:
    from zeroconf.asyncio import AsyncServiceBrowser, AsyncZeroconf  # pyright: ignore[reportMissingImports]

SERVICE: Final = "_enginehouse._tcp.local."
MOST_FOUND: Final = 64
"""Hosts that are remembered, beside those that the file names."""
_MOST_ADDRESSES: Final = 16
_ASK_MS: Final = 3000
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_UNSPECIFIED: Final = ("", "0.0.0.0", "::")  # noqa: S104  # compared with, not listened on

log = get_logger()


class Listener(msgspec.Struct, frozen=True):
    """Where this server listens."""

    host: str
    port: int
    scheme: str


class Mdns:
    """Announces the server whose running router is called *router*, and finds others, as *config* says.

    *wanted* are names that the file looks for; *on_found* hears the name and the URLs of each that is found, or has
    another address. `found` has all of them by their names. `name` is what this server is announced as, if it is.
    """

    def __init__(
        self, config: MdnsConfig, router: str, wanted: Collection[str], on_found: Callable[[str, Collection[str]], None]
    ) -> None:
        self.found: dict[str, tuple[str, ...]] = {}
        self.name = (config.name or _host_name()) if config.announce else None
        self.listener: Listener | None = None
        self._config = config
        self._router = router
        self._wanted = frozenset(wanted)
        self._on_found = on_found
        self._heard: set[str] = set()
        self._has_heard = asyncio.Event()
        self._open: list[AsyncZeroconf] = []
        self._browser: AsyncServiceBrowser | None = None
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin; what goes wrong is told in the log, and costs nothing else."""
        if self._config.announce or self._config.discover:
            self._task = asyncio.create_task(self._run(), name="mdns")

    async def close(self) -> None:
        """Take back what was announced, and hear no more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        browser, self._browser = self._browser, None
        if browser is not None:
            await browser.async_cancel()
        while self._open:
            each = self._open.pop()
            await each.async_unregister_all_services()
            await each.async_close()

    async def _run(self) -> None:
        try:
            await asyncio.to_thread(importlib.import_module, "zeroconf.asyncio")  # it takes a tenth of a second
            if self._config.announce and self.listener is not None:
                await self._announce(self.listener)
            if self._config.discover:
                await self._discover()
        except OSError as error:
            log.error("mdns cannot be used", reason=str(error))

    # ---- announcing ----

    async def _announce(self, listener: Listener) -> None:
        from zeroconf import InterfaceChoice  # pyright: ignore[reportMissingImports]
        from zeroconf.asyncio import AsyncServiceInfo, AsyncZeroconf  # pyright: ignore[reportMissingImports]

        own = _own_addresses(listener.host)
        if not own:
            log.error("not announced", reason="this machine has no address but its loopback")
            return
        # On the network that is listened on alone: nobody else could use the address.
        interfaces: Any = InterfaceChoice.All if listener.host in _UNSPECIFIED else own
        zeroconf = AsyncZeroconf(interfaces=interfaces)
        self._open.append(zeroconf)
        info = AsyncServiceInfo(
            SERVICE,
            f"{self.name}.{SERVICE}",
            port=listener.port,
            parsed_addresses=own,
            properties={"scheme": listener.scheme, "router": self._router},
            server=f"enginehouse-{self._router}.local.",  # not the machine's name, which the system announces itself
        )
        await (await zeroconf.async_register_service(info, allow_name_change=True))
        self.name = info.name.removesuffix(f".{SERVICE}")  # another than wanted, if somebody has that
        log.info("announced", name=self.name, addresses=own, port=listener.port)

    # ---- finding ----

    async def _discover(self) -> None:
        from zeroconf.asyncio import AsyncServiceBrowser, AsyncZeroconf  # pyright: ignore[reportMissingImports]

        zeroconf = AsyncZeroconf()
        self._open.append(zeroconf)
        self._browser = AsyncServiceBrowser(zeroconf.zeroconf, SERVICE, handlers=[self._hear])
        while True:
            await self._has_heard.wait()
            self._has_heard.clear()
            while self._heard:
                await self._look_at(self._heard.pop(), zeroconf)

    def _hear(self, zeroconf: object, service_type: str, name: str, state_change: Any) -> None:  # noqa: ARG002
        """Hear that what is called *name* has come, changed or gone; the parameters' names are zeroconf's."""
        short = name.removesuffix(f".{SERVICE}")
        if not _NAME.fullmatch(short):
            return
        if state_change.name == "Removed":
            self.found.pop(short, None)
        elif short in self._wanted or short in self.found or len(self.found) + len(self._heard) < MOST_FOUND:
            self._heard.add(short)
            self._has_heard.set()

    async def _look_at(self, name: str, zeroconf: AsyncZeroconf) -> None:
        from zeroconf.asyncio import AsyncServiceInfo  # pyright: ignore[reportMissingImports]

        info = AsyncServiceInfo(SERVICE, f"{name}.{SERVICE}")
        if not await info.async_request(zeroconf.zeroconf, _ASK_MS):
            return
        told = info.properties
        if told.get(b"router") == self._router.encode() and name not in self._wanted:
            return
        scheme = "https" if told.get(b"scheme") == b"https" else "http"
        urls = _urls(scheme, info.parsed_addresses()[:_MOST_ADDRESSES], info.port)
        if urls and self.found.get(name) != urls:
            self.found[name] = urls
            self._on_found(name, urls)


def _urls(scheme: str, addresses: Collection[str], port: int | None) -> tuple[str, ...]:
    """The URLs at those of *addresses* that can be a host's: version 4 before 6, and without a zone."""
    of_one_host = (one for one in map(ipaddress.ip_address, addresses) if not (one.is_multicast or one.is_unspecified))
    usable = sorted(
        (one for one in of_one_host if one.version == 4 or not one.is_link_local), key=lambda one: one.version
    )
    if not port:
        return ()
    return tuple(f"{scheme}://{f'[{one}]' if one.version == 6 else one}:{port}" for one in usable)


def _own_addresses(host: str) -> list[str]:
    """The addresses at which a listener on *host* is reached."""
    if host not in _UNSPECIFIED:
        return [host]
    return list(_of_interfaces())[:_MOST_ADDRESSES]


def _of_interfaces() -> Iterator[str]:
    for addresses in psutil.net_if_addrs().values():
        for each in addresses:
            if each.family == socket.AF_INET and not ipaddress.ip_address(each.address).is_loopback:
                yield each.address


def _host_name() -> str:
    name = re.sub(r"[^A-Za-z0-9-]", "-", socket.gethostname().partition(".")[0]).strip("-")[:63]
    return name or "enginehouse"
