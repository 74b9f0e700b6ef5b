"""The writing side of a connection: what waits for a client that does not read, and how the connection is closed."""

from __future__ import annotations

import asyncio

from .deadline import Deadline
from .doors import Place
from .shared import Shared

LINGER_S = 5.0
"""What a client still sends is read this long, and it has this long to take the last bytes."""

MAX_LINGER_BYTES = 64 * 1024 * 1024
_HIGH_WATER_BYTES, _LOW_WATER_BYTES = 64 * 1024, 16 * 1024


class Writing(asyncio.Protocol):
    """Writes to the client who has *place*, and closes.

    `is_stalled`: the client does not read; `took_at` is when it has last taken something then.
    """

    def __init__(self, shared: Shared, place: Place) -> None:
        self.shared = shared
        self.place = place
        self.is_stalled = False
        self.took_at = 0.0
        self._is_deaf = False  # what comes is dropped
        self._dropped_bytes = 0
        self._unsent = b""  # until the end of this turn of the loop
        self._written_bytes = 0
        self._taken_bytes = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the place."""
        self.transport: asyncio.Transport = transport  # type: ignore[assignment]  # a listener's are
        self._loop = asyncio.get_running_loop()
        self._deadline = Deadline(self._loop, self.shared.turns)
        self.transport.set_write_buffer_limits(_HIGH_WATER_BYTES, _LOW_WATER_BYTES)

    @property
    def address(self) -> tuple[str, int] | None:
        """Where the client has reached this server; None: by a socket that is no network's."""
        own = self.transport.get_extra_info("sockname")
        return (str(own[0]), int(own[1])) if isinstance(own, tuple) else None

    def let_go(self) -> None:
        """Give the place back."""
        self.shared.doors.stalled.discard(self)
        self.place.leave()
        self._is_deaf = True
        self._unsent = b""
        self._deadline.close()

    def pause_writing(self) -> None:
        """Hear that the client does not read."""
        self.is_stalled = True
        self.took_at = self._loop.time()
        self._taken_bytes = self._written_bytes - self.unsent_bytes
        self.shared.doors.stalled.add(self)

    def resume_writing(self) -> None:
        """Hear that the client reads again."""
        self.is_stalled = False
        self.shared.doors.stalled.discard(self)

    def write(self, data: bytes) -> None:
        """Send *data* with what else this turn of the loop sends, unless the client has left."""
        if self._unsent:
            self._unsent += data
        else:
            self._unsent = data
            self.shared.send_soon(self)
        self._written_bytes += len(data)
        # Whether the client reads must be known at once where it may not.
        if len(self._unsent) > _LOW_WATER_BYTES or self.transport.get_write_buffer_size():
            self.send()

    def send(self) -> None:
        """Send what was written, now."""
        data, self._unsent = self._unsent, b""
        if data and not self.transport.is_closing():
            self.transport.write(data)

    def abort(self) -> None:
        """Cut the client off."""
        self.transport.abort()

    @property
    def unsent_bytes(self) -> int:
        """What waits for the client."""
        return len(self._unsent) + self.transport.get_write_buffer_size()

    def look_at_stall(self, now: float) -> int:
        """Note whether a client that does not read has taken something; returns what waits for it."""
        unsent_bytes = self.unsent_bytes
        if self._written_bytes - unsent_bytes > self._taken_bytes:
            self._taken_bytes, self.took_at = self._written_bytes - unsent_bytes, now
        return unsent_bytes

    # ---- closing ----

    def _close(self) -> None:
        """Close when all is written; a client that does not take it is cut off."""
        self._is_deaf = True
        self.send()
        self.transport.close()
        self._linger()

    def _close_behind(self) -> None:
        """Close behind what was written, where more may be under way from the client.

        A connection that is closed on unread bytes is reset, and the client may never see the answer. So it is told
        that no more comes from here, and listened to for a while.
        """
        if not self.transport.can_write_eof():
            self._close()
        elif not self.transport.is_closing():
            self.send()
            self.transport.write_eof()
            self._linger()

    def _linger(self) -> None:
        self._deadline.set(LINGER_S, self._has_lingered)

    def _has_lingered(self) -> None:
        if self.is_stalled:  # it takes its answer, if slowly: else it is ended there
            self._linger()
        else:
            self.transport.abort()

    def _drop(self, size: int, *, may_end: bool) -> None:
        """Count what is dropped; nobody may send for ever to a connection that is closing."""
        self._dropped_bytes += size
        if may_end and self._dropped_bytes > MAX_LINGER_BYTES:
            self.transport.abort()
