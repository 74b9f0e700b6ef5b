"""One request of a client and its answer, whichever lane it came by: our own server's, or an ASGI server's.

Response headers that a layer adds belong to the exchange, so that no lane loses them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Protocol

from enginehouse.dialects.endpoint import Header


class Listener(Protocol):
    """Who must hear of the client while its answer is made. Plain calls on the event loop's thread."""

    def client_left(self) -> None:
        """The client has closed its connection, or was cut off. Called once; nothing can be sent any more."""

    def pause(self) -> None:
        """The client does not read: what is written now is kept in memory."""

    def resume(self) -> None:
        """The client reads again."""


class Exchange(ABC):
    """A request whose head is there, and the way to answer it. No method blocks; writing never raises.

    `headers` are the request's, names in lower case. `response_headers` go with every answer, of every status and
    on every lane; layers append to it. `client` is the address that counts for fairness and logs, as text.
    """

    method: str
    path: str
    headers: Sequence[Header]
    client: str
    request_id: str
    response_headers: list[Header]
    listener: Listener | None = None

    @property
    @abstractmethod
    def is_begun(self) -> bool:
        """Whether any part of an answer has been sent."""

    @abstractmethod
    def answer(self, status: int, headers: Sequence[Header], body: bytes) -> None:
        """Send a whole answer in one write; *headers* lack the length, and those of `response_headers`."""

    @abstractmethod
    def begin(self, status: int, headers: Sequence[Header]) -> None:
        """Begin a streamed answer; its head goes out with the first bytes of the body."""

    @abstractmethod
    def write(self, data: bytes) -> None:
        """Send more of a streamed answer."""

    @abstractmethod
    def finish(self, data: bytes = b"") -> None:
        """End a streamed answer, with *data* as its last bytes."""

    @abstractmethod
    def abort(self) -> None:
        """Cut the client off: the answer cannot be told as whole. The listener hears `client_left`."""

    def header(self, name: bytes) -> bytes | None:
        """The value of the request's header *name* (in lower case), None without one; of several the first."""
        for key, value in self.headers:
            if key == name:
                return value
        return None
