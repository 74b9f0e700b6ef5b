"""The server: listens, and ends so that running streams can finish."""

from __future__ import annotations

import asyncio
import gc
import signal
import socket
import ssl
from typing import Protocol

import uvloop

from enginehouse.config import Config, ConfigError, ServerConfig
from enginehouse.telemetry import get_logger

from .app import App
from .listening import Listening
from .proxies import TrustedProxies
from .shared import Shared

log = get_logger()

_BACKLOG = 2048
_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_CLOSE_S = 5.0
"""After draining, connections have this long to take their last bytes."""


class Closes(Protocol):
    """What is drained."""

    async def close(self, drain_s: float = 0.0) -> None:
        """Take no more requests, give those that run *drain_s* seconds, and end."""


def serve(listener: socket.socket, app: App, fleet: Closes, config: Config) -> None:
    """Serve *app* on *listener* until a signal ends it; returns when everything has ended.

    Raises:
        ConfigError: the certificate or its key cannot be used.
    """
    tls = _tls(config.server)
    server = Server(app, fleet, config.server, tls=tls)
    scheme = "https" if tls else "http"
    host, port = listener.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    log.info("listening", url=f"{scheme}://{shown}:{port}/v1", models=list(config.models))
    # What is there now stays: the collector need not look at it again and again beside requests.
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(server.run(listener))
    finally:
        for number in _SIGNALS:  # it ends already, and what has been counted is still to be written
            signal.signal(number, signal.SIG_IGN)
    log.info("stopped")


def listen(host: str, port: int) -> socket.socket:
    """Return a listener on *host* and *port*.

    Raises:
        ConfigError: it cannot be.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        return socket.create_server(address, family=family, backlog=_BACKLOG)
    except OSError as error:
        raise ConfigError(
            f"cannot listen on {host} port {port}: {error.strerror or error}.",
            fix="End what listens there, or choose another with --port or [server] port.",
        ) from error


def _tls(server: ServerConfig) -> ssl.SSLContext | None:
    if server.tls_cert is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(server.tls_cert, server.tls_key)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(
            f"cannot use {server.tls_cert} and {server.tls_key} for TLS: {error}.",
            fix="Name a certificate in PEM form with [server] tls_cert, and its own key with tls_key.",
        ) from error
    context.set_alpn_protocols(["http/1.1"])
    return context


class Server:
    """Serves *app* until a signal: the first drains *fleet* while the listener answers 503, the second ends at once."""

    def __init__(self, app: App, fleet: Closes, config: ServerConfig, *, tls: ssl.SSLContext | None = None) -> None:
        self._app = app
        self._fleet = fleet
        self._config = config
        self._tls = tls
        self._signals = 0
        self._ends = asyncio.Event()
        self._is_hurried = False
        self._drain: asyncio.Task[None] | None = None
        self.shared = Shared(
            app.handle,
            write_timeout_s=config.idle_timeout_s,
            max_body_bytes=config.max_body_bytes,
            proxies=TrustedProxies(config.trusted_proxies) if config.trusted_proxies else None,
        )

    async def run(self, listener: socket.socket) -> None:
        """Serve on *listener*, which is closed in the end."""
        loop = asyncio.get_running_loop()
        for number in _SIGNALS:
            loop.add_signal_handler(number, self.end)
        async with self._app.lifespan():
            listening = Listening(listener, self.shared, max_connections=self._config.max_connections, tls=self._tls)
            try:
                await self._ends.wait()
            finally:
                listening.close()
                await self._close()

    def end(self) -> None:
        """Begin to drain; called again, end at once."""
        self._signals += 1
        if self._signals == 1:
            log.info("draining", timeout_s=self._config.drain_timeout_s)
            self._drain = asyncio.get_running_loop().create_task(self._drain_fleet())
        else:
            self._is_hurried = True
            self._ends.set()

    async def _drain_fleet(self) -> None:
        try:
            await self._fleet.close(self._config.drain_timeout_s)
        finally:
            self._ends.set()

    async def _close(self) -> None:
        """End the connections: each when its answer is taken, all of them in time."""
        shared, tasks = self.shared, self._app.bridge.tasks
        shared.is_ending = True
        for connection in list(shared.connections):
            connection.end()
        loop = asyncio.get_running_loop()
        ends_at = loop.time() + (0 if self._is_hurried else _CLOSE_S)
        while (shared.connections or tasks) and loop.time() < ends_at and not self._is_hurried:  # noqa: ASYNC110
            await asyncio.sleep(0.02)  # they tell nobody: only the end of the server waits for them
        for connection in [*shared.connections, *shared.refused]:
            connection.abort()
        for task in list(tasks):
            task.cancel()
        if self._drain is not None:
            self._drain.cancel()
            await asyncio.wait([self._drain])
        await asyncio.sleep(0)  # connections hear that they are lost
