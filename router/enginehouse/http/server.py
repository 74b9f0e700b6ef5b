"""The server: listens, ends so that running streams can finish, and hears when its configuration is to be read."""

from __future__ import annotations

import asyncio
import gc
import signal
import socket
import ssl
import sys
from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec
import uvloop

from enginehouse.config import Config, ConfigError, ServerConfig
from enginehouse.live import Live
from enginehouse.notify import Notifier
from enginehouse.telemetry import Watchdog, get_logger
from enginehouse.terminal import Terminal

from .admin_socket import forget, listen_to_owner
from .app import App
from .limits import Limits, raise_descriptors, room_for_connections
from .listening import Listening
from .proxies import TrustedProxies
from .shared import Shared

log = get_logger()

_BACKLOG = 2048
_COLLECTED_AT = (5_000, 3, 333)
"""New objects, and collections of the younger ones, after which the collector looks: it stops the loop by what it looks
at. Of ten thousand objects that is one to two milliseconds, of a hundred thousand ten to twenty, and several times that
where others use the machine. So the middle ones are looked at while they are twenty thousand, as often in all."""

_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_SWITCH_S = 50e-6
"""The loop lets go of the interpreter's lock for an instant at every callback, and wakes the thread that waits for it,
in vain most times: it gets the lock only once the loop has held that for this long without a pause. With Python's 5 ms
that is never, under load, and each request wakes the threads that write log and usage for nothing. A callback takes
about this long; and from a thread that computes, the loop has the lock back as soon."""
_OF_OWNER = {"max_connections": 64, "max_strangers": 64, "max_per_address": 0, "max_reserved": 8}
"""Limits of the socket for administration, so that its owner comes in however many others are there."""
_TIMES = ("request_timeout_s", "min_upload_bytes_s", "send_timeout_s")
_CLOSE_S = 5.0
"""After draining, connections have this long to take their last bytes."""
_ENDED_S = 60.0
"""So long after draining all has ended at the latest: connections, engines, and what is still to be written."""
_LOST_S = 1.0
"""What is left of them then has this long to be let go of."""


class Closes(Protocol):
    """What is drained."""

    async def close(self, drain_s: float = 0.0) -> None:
        """Take no more requests, give those that run *drain_s* seconds, and end."""


def serve(listener: socket.socket, app: App, fleet: Closes, live: Live) -> None:
    """Serve *app* on *listener*, as *live* has it, until a signal ends it; returns when everything has ended.

    Raises:
        ConfigError: the certificate or its key cannot be used, or this process may open next to no files.
    """
    config = live.config
    tls = _tls(config.server)
    descriptors = raise_descriptors()
    room = room_for_connections(descriptors, len(config.models))
    server = Server(app, fleet, live, tls=tls, room=room, notifier=Notifier.of_environment())
    early = _noted_signals()
    admin = listen_to_owner(config.server.admin_socket) if config.server.admin_socket else None
    scheme = "https" if tls else "http"
    host, port = listener.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    log.info("listening", url=f"{scheme}://{shown}:{port}/v1", models=list(config.models))
    if room < config.server.max_connections:
        log.warning("connections limited by open files", max_connections=room, open_files=descriptors)
    # What is there now stays: the collector need not look at it again and again beside requests.
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_COLLECTED_AT)
    sys.setswitchinterval(_SWITCH_S)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(server.run(listener, early, admin))
    finally:
        if admin is not None:
            forget(str(config.server.admin_socket))
        for number in _SIGNALS:  # it ends already, and what has been counted is still to be written
            signal.signal(number, signal.SIG_IGN)


def _noted_signals() -> list[int]:
    """Note signals from now on, in what is returned: what they raised could leave half of the start behind."""
    noted: list[int] = []
    for number in _SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:  # `nohup` ignores one for whom it starts
            signal.signal(number, lambda number, _: noted.append(number))
    return noted


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


def _check_tls(config: Config) -> None:
    _tls(config.server)


class Server:
    """Serves *app* until a signal: the first drains *fleet* while the listener answers 503, the second ends at once.

    SIGHUP has *live* reloaded, unless it says that the terminal of this process has been closed. *room* is how many
    connections the descriptors of this process allow. *notifier* hears when it serves, reloads and ends.
    """

    def __init__(
        self,
        app: App,
        fleet: Closes,
        live: Live,
        *,
        tls: ssl.SSLContext | None = None,
        room: int = sys.maxsize,
        notifier: Notifier | None = None,
    ) -> None:
        self._app = app
        self._fleet = fleet
        self._live = live
        self._tls = tls
        self._room = room
        self._notifier = notifier or Notifier()
        self._terminal = Terminal()
        self._reload: asyncio.Task[None] | None = None
        self._ends = asyncio.Event()
        self._is_hurried = False
        self._drain: asyncio.Task[None] | None = None
        config = live.config.server
        proxies = TrustedProxies(config.trusted_proxies) if config.trusted_proxies else None
        self.shared = Shared(app.handle, Limits.of(config, room), proxies=proxies)
        app.metrics.doors = self.shared.doors.gauge
        self._of_owner = Shared(app.handle_owner, msgspec.structs.replace(self.shared.doors.limits, **_OF_OWNER))
        live.observe(("server.drain_timeout_s",))
        live.observe([f"server.{name}" for name in _TIMES], self._follow)
        live.check(_check_tls)
        live.reread(self._read_certificate)

    async def run(self, listener: socket.socket, early: Sequence[int] = (), admin: socket.socket | None = None) -> None:
        """Serve on *listener*, and the owner on *admin*, which are closed in the end; *early* are the signals that came
        before.
        """
        loop = asyncio.get_running_loop()
        handlers: dict[int, Callable[[], None]] = {
            number: self.hang_up if number == signal.SIGHUP else self.end for number in _SIGNALS
        }
        for number, handler in handlers.items():
            if signal.getsignal(number) is not signal.SIG_IGN:
                loop.add_signal_handler(number, handler)
        async with self._app.lifespan():
            for number in early:
                handlers[number]()
            listening = [Listening(listener, self.shared, tls=self._tls)]
            if admin is not None:
                listening.append(Listening(admin, self._of_owner))
            watchdog = Watchdog()
            watchdog.start()
            if self._drain is None:  # else a signal came before
                self._notifier.ready()
            try:
                await self._ends.wait()
            finally:
                watchdog.stop()
                for each in listening:
                    each.close()
                await self._close()

    def end(self) -> None:
        """Begin to drain; called again, end at once."""
        if self._drain is None:
            self.drain()
        else:
            self._is_hurried = True
            self._ends.set()

    def hang_up(self) -> None:
        """Drain if the terminal is gone, else have the configuration read again."""
        if self._terminal.is_gone:
            self.drain()
        elif self._drain is None:
            self._reload = asyncio.get_running_loop().create_task(self._reload_config())

    async def _reload_config(self) -> None:
        self._notifier.reloading()
        try:
            await self._live.reload()
        except ConfigError as error:
            log.error("configuration not reloaded", reason=str(error))
        finally:
            if self._drain is None:
                self._notifier.ready()

    def _follow(self, config: Config) -> None:
        """Take the times of *config* that clients have."""
        now = Limits.of(config.server, self._room)
        times = {name: getattr(now, name) for name in _TIMES}
        self.shared.doors.limits = msgspec.structs.replace(self.shared.doors.limits, **times)

    async def _read_certificate(self) -> None:
        """Take the certificate as its files are now, for connections that come."""
        if self._tls is not None:
            config = self._live.config.server
            try:
                self._tls.load_cert_chain(str(config.tls_cert), config.tls_key)
            except (OSError, ssl.SSLError) as error:  # the new configuration has others, which need a restart
                log.warning("certificate not read again", reason=str(error))

    def drain(self) -> None:
        """Begin to drain, once: a terminal that closes may say so several times."""
        if self._drain is None:
            timeout_s = self._live.config.server.drain_timeout_s
            log.info("draining", timeout_s=timeout_s)
            self._notifier.stopping(timeout_s + _ENDED_S)
            self._drain = asyncio.get_running_loop().create_task(self._drain_fleet())

    async def _drain_fleet(self) -> None:
        try:
            await self._fleet.close(self._live.config.server.drain_timeout_s)
        finally:
            self._ends.set()

    async def _close(self) -> None:
        """End the connections: each when its answer is taken, all of them in time."""
        both, tasks = (self.shared, self._of_owner), self._app.bridge.tasks
        for shared in both:
            shared.is_ending = True
            for connection in list(shared.connections):
                connection.end()
        loop = asyncio.get_running_loop()
        ends_at = loop.time() + (0 if self._is_hurried else _CLOSE_S)
        while (any(shared.connections for shared in both) or tasks) and loop.time() < ends_at and not self._is_hurried:  # noqa: ASYNC110
            await asyncio.sleep(0.02)  # they tell nobody: only the end of the server waits for them
        for shared in both:
            for connection in list(shared.connections):
                connection.abort()
        for task in list(tasks):
            task.cancel()
        for left in (self._drain, self._reload):
            if left is not None:
                left.cancel()
                await asyncio.wait([left])
        ends_at = loop.time() + _LOST_S
        while any(shared.connections for shared in both) and loop.time() < ends_at:  # noqa: ASYNC110
            await asyncio.sleep(0)  # they hear that they are lost, in their turns
