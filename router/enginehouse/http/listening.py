"""A listening socket: connections are accepted one by one, within a limit that counts TLS handshakes too."""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl

from enginehouse.telemetry import get_logger

from .connection import Connection
from .shared import Shared

_AT_ONCE = 128  # connections accepted before others have a turn
_HANDSHAKE_TIMEOUT_S = 10.0
_RETRY_S = 0.1
_LOG_EVERY_S = 1.0
_REFUSED_AT_ONCE = 256  # clients above the limit that are told so; others are cut off
_EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)

log = get_logger()


class Listening:
    """Accepts connections on *listener* for *shared*, at most *max_connections* at a time."""

    def __init__(
        self, listener: socket.socket, shared: Shared, *, max_connections: int, tls: ssl.SSLContext | None = None
    ) -> None:
        self._listener = listener
        self._shared = shared
        self._max_connections = max_connections
        self._tls = tls
        self._loop = asyncio.get_running_loop()
        self._making: set[asyncio.Task[None]] = set()
        self._refusing: set[asyncio.Task[None]] = set()
        self._retry: asyncio.TimerHandle | None = None
        self._logged_at: float | None = None
        listener.setblocking(False)
        self._listen()

    def close(self) -> None:
        """Accept no more, and give up on handshakes."""
        if self._retry is not None:
            self._retry.cancel()
        self._loop.remove_reader(self._listener)
        self._listener.close()
        for task in self._making | self._refusing:
            task.cancel()

    def _listen(self) -> None:
        self._retry = None
        self._loop.add_reader(self._listener, self._accept)

    def _accept(self) -> None:
        for _ in range(_AT_ONCE):
            try:
                accepted, _address = self._listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                if error.errno not in _EXHAUSTED:
                    continue  # of the one connection, such as a network that went away
                # The connection stays in the queue of the system: asked at once again, it would turn round and round.
                self._tell(error)
                self._loop.remove_reader(self._listener)
                self._retry = self._loop.call_later(_RETRY_S, self._listen)
                return
            self._take(accepted)

    def _tell(self, error: OSError) -> None:
        now = self._loop.time()
        if self._logged_at is None or now - self._logged_at >= _LOG_EVERY_S:
            self._logged_at = now
            log.error("connections cannot be accepted", error=str(error), open=len(self._shared.connections))

    def _take(self, accepted: socket.socket) -> None:
        shared, making = self._shared, self._making
        is_refused = 0 < self._max_connections <= len(shared.connections) + len(making)
        if is_refused:
            making = self._refusing
            if len(shared.refused) + len(making) >= _REFUSED_AT_ONCE:
                accepted.close()
                return
        task = self._loop.create_task(self._make(accepted, is_refused=is_refused))
        making.add(task)
        task.add_done_callback(making.discard)

    async def _make(self, accepted: socket.socket, *, is_refused: bool) -> None:
        try:
            await self._loop.connect_accepted_socket(
                lambda: Connection(self._shared, is_refused=is_refused),
                accepted,
                ssl=self._tls,
                ssl_handshake_timeout=_HANDSHAKE_TIMEOUT_S if self._tls else None,
            )
        except (OSError, ssl.SSLError):  # it left, or speaks no TLS: nobody is there to be told
            accepted.close()
