"""A listening socket: connections are accepted one by one, each if the doors have a place for it."""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
from functools import partial

from enginehouse.telemetry import get_logger

from .connection import Connection
from .doors import Place
from .shared import Shared

_AT_ONCE = 32  # connections accepted before others have a turn; with few descriptors fewer
_HANDSHAKE_TIMEOUT_S = 10.0
_RETRY_S = 0.1
_LOG_EVERY_S = 10.0
_EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)

log = get_logger()


class Listening:
    """Accepts connections on *listener* for *shared*."""

    def __init__(self, listener: socket.socket, shared: Shared, *, tls: ssl.SSLContext | None = None) -> None:
        self._listener = listener
        self._shared = shared
        self._tls = tls
        self._loop = asyncio.get_running_loop()
        self._at_once = min(_AT_ONCE, shared.doors.limits.max_reserved)
        self._handshakes: set[Handshake] = set()
        self._retry: asyncio.TimerHandle | None = None
        self._logged_at: float | None = None
        listener.setblocking(False)
        shared.doors.open()
        self._listen()

    def close(self) -> None:
        """Accept no more, and give up on handshakes."""
        if self._retry is not None:
            self._retry.cancel()
        self._loop.remove_reader(self._listener)
        self._listener.close()
        self._shared.doors.close()
        for handshake in self._handshakes:
            handshake.give_up()

    def _listen(self) -> None:
        self._retry = None
        self._loop.add_reader(self._listener, self._accept)

    def _accept(self) -> None:
        for _ in range(self._at_once):
            try:
                accepted, address = self._listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                if error.errno not in _EXHAUSTED:
                    continue  # of the one connection, such as a network that went away
                # The connection stays in the queue of the system: asked at once again, it would turn round and round.
                self._tell(error)
                self._shared.doors.give_up_one()
                self._loop.remove_reader(self._listener)
                self._retry = self._loop.call_later(_RETRY_S, self._listen)
                return
            place = self._shared.doors.admit(str(address[0]) if address else "")
            if place is None:
                accepted.close()
            else:
                handshake = Handshake(self._shared, accepted, place, self._tls)
                self._handshakes.add(handshake)
                handshake.task.add_done_callback(partial(self._is_made, handshake))

    def _is_made(self, handshake: Handshake, _: asyncio.Task[None]) -> None:
        self._handshakes.discard(handshake)

    def _tell(self, error: OSError) -> None:
        now = self._loop.time()
        if self._logged_at is None or now - self._logged_at >= _LOG_EVERY_S:
            self._logged_at = now
            log.error("connections cannot be accepted", error=str(error), open=len(self._shared.connections))


class Handshake:
    """What has *place* until the connection on *accepted* is made: without *tls* for a turn of the loop."""

    def __init__(self, shared: Shared, accepted: socket.socket, place: Place, tls: ssl.SSLContext | None) -> None:
        self._shared = shared
        self._accepted = accepted
        self._place = place
        self._tls = tls
        loop = asyncio.get_running_loop()
        self.due_at = loop.time() + _HANDSHAKE_TIMEOUT_S
        self.rank = 0 if tls else None
        place.holder = self
        self.task = loop.create_task(self._make(loop))

    def give_up(self) -> None:
        """See `Holder.give_up`."""
        self.task.cancel()

    async def _make(self, loop: asyncio.AbstractEventLoop) -> None:
        try:
            await loop.connect_accepted_socket(
                lambda: Connection(self._shared, self._place),
                self._accepted,
                ssl=self._tls,
                ssl_handshake_timeout=_HANDSHAKE_TIMEOUT_S if self._tls else None,
            )
        except (OSError, ssl.SSLError):  # it left, or speaks no TLS: nobody is there to be told
            self._accepted.close()
        finally:
            if self._place.holder is self:  # no connection was made
                self._place.leave()
