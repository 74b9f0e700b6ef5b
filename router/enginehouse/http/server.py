"""The server: a listener, and an end that lets running streams finish."""

from __future__ import annotations

import asyncio
import gc
import socket
from types import FrameType

import uvicorn

from enginehouse import hardware
from enginehouse.accounts import Ledger, SQLiteStore
from enginehouse.certificates import Certificates
from enginehouse.config import Config, ConfigError
from enginehouse.fleet import Fleet
from enginehouse.plugins import Plugins
from enginehouse.service import Service
from enginehouse.telemetry import get_logger

from .app import create_app
from .protocol import protocol_class

log = get_logger()

_BACKLOG = 2048
_CLOSE_S = 5
"""After draining, connections have this long to take their last bytes."""


def serve(config: Config, plugins: Plugins) -> None:
    """Serve *config* until a signal ends it; returns when everything has ended.

    Raises:
        ConfigError: the address cannot be listened on.
    """
    listener = _listen(config.server.host, config.server.port)
    devices = hardware.merged(hardware.devices(), plugins.devices())
    fleet = Fleet(
        config,
        plugins.backends,
        devices,
        on_change=plugins.instance_changed,
        select=plugins.select if plugins.has_selectors else None,
        certificates=Certificates.of(config),
    )
    ledger = Ledger(SQLiteStore(config.usage.path)) if config.usage.path else None
    service = Service(plugins, fleet, ledger=ledger)
    server = Server(_uvicorn_config(config, service), fleet, config.server.drain_timeout_s)
    scheme = "https" if config.server.tls_cert else "http"
    host, port = listener.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    log.info("listening", url=f"{scheme}://{shown}:{port}/v1", models=list(config.models))
    # What is there now stays: the collector need not look at it again and again beside requests.
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
    try:
        server.run(sockets=[listener])
    finally:
        if ledger is not None:
            ledger.close()
    log.info("stopped")


def _listen(host: str, port: int) -> socket.socket:
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        listener = socket.create_server(address, family=family, backlog=_BACKLOG)
    except OSError as error:
        raise ConfigError(
            f"cannot listen on {host} port {port}: {error.strerror or error}.",
            fix="End what listens there, or choose another with --port or [server] port.",
        ) from error
    listener.setblocking(False)
    return listener


def _uvicorn_config(config: Config, service: Service) -> uvicorn.Config:
    server = config.server
    return uvicorn.Config(
        create_app(config, service),
        loop="uvloop",
        http=protocol_class(server.max_connections),
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=bool(server.trusted_proxies),
        forwarded_allow_ips=list(server.trusted_proxies),
        ssl_certfile=server.tls_cert,
        ssl_keyfile=server.tls_key,
        timeout_graceful_shutdown=_CLOSE_S,
    )


class Server(uvicorn.Server):
    """uvicorn, but the first signal drains: the listener stays and answers 503 until running requests are done."""

    def __init__(self, config: uvicorn.Config, fleet: Fleet, drain_timeout_s: float) -> None:
        super().__init__(config)
        self._fleet = fleet
        self._drain_timeout_s = drain_timeout_s
        self._ends = False
        self._drain: asyncio.Task[None] | None = None

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002 - as uvicorn calls it
        """Begin to drain; a second signal ends at once."""
        if self._ends:
            self.should_exit = self.force_exit = True
        self._ends = True

    async def on_tick(self, counter: int) -> bool:
        """Look at what the signal handler left."""
        if self._ends and self._drain is None:
            log.info("draining", timeout_s=self._drain_timeout_s)
            self._drain = asyncio.create_task(self._drain_and_exit())
        return await super().on_tick(counter)

    async def _drain_and_exit(self) -> None:
        try:
            await self._fleet.close(self._drain_timeout_s)
        finally:
            self.should_exit = True
