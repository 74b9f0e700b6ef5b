"""One request of a client and its answer, whichever lane it came by: our own server's, or an ASGI server's.

Response headers that a layer adds belong to the exchange, so that no lane loses them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Protocol

from enginehouse.accounts import Left
from enginehouse.dialects.endpoint import ErrorReply, Header
from enginehouse_plugin.errors import EnginehouseError

from .head import Head


class Listener(Protocol):
    """Who answers a request, and must hear of its client. Plain calls on the event loop's thread."""

    def body(self, data: bytes) -> None:
        """The whole body, which was asked for, is there."""

    def body_failed(self, error: EnginehouseError) -> None:
        """The body is too large, or did not come in time; an answer can still be given."""

    def client_left(self) -> None:
        """The client has closed its connection, or was cut off. Called once; nothing can be sent any more."""

    def pause(self) -> None:
        """The client does not read: what is written now is kept in memory."""

    def resume(self) -> None:
        """The client reads again."""


class Exchange(ABC):
    """A request whose head is there, and the way to answer it. No method blocks; writing never raises.

    `named` are the request's headers, in lower case, with the first value of each. `response_headers` go with every
    answer, of every status and on every lane; layers append to it. `client` is the address that counts for
    fairness and logs, as text. `is_begun`: some of an answer has been given, or can be no more, because the client
    has left. `limits` are told with every answer, too.
    """

    is_begun: bool = False
    is_of_socket: bool = False
    """Whether it came by the socket for administration, which the owner of the process alone may use."""
    is_paused: bool = False
    """Whether the client does not read now; the listener is told of changes."""
    listener: Listener | None = None
    request_id: str = ""
    limits: Sequence[Left] = ()
    """What is left of the limits of its key and model."""

    def __init__(self, head: Head, client: str) -> None:
        self.head = head
        self.method = head.method
        self.path = head.path
        self.named = head.named
        self.client = client
        self.response_headers: list[Header] = []

    @abstractmethod
    def read_body(self, limit_bytes: int) -> None:
        """Ask for the body, once: the listener gets it, now or later, or hears why not.

        A client that waits for `100 Continue` is told to send.
        """

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

    def refuse(self, reply: ErrorReply) -> None:
        """Answer with *reply*."""
        self.answer(reply.status, reply.headers, reply.body)

    def header(self, name: bytes) -> bytes | None:
        """The value of the request's header *name* (in lower case), None without one; of several the first."""
        return self.named.get(name)


class Nobody(Exchange):
    """In place of *exchange*, which has been answered while the work on it goes on: whatever is sent goes nowhere."""

    is_begun = True

    def __init__(self, exchange: Exchange) -> None:
        super().__init__(exchange.head, exchange.client)
        self.request_id = exchange.request_id

    def read_body(self, limit_bytes: int) -> None:
        """See `Exchange.read_body`: it has been read."""

    def answer(self, status: int, headers: Sequence[Header], body: bytes) -> None:
        """See `Exchange.answer`."""

    def begin(self, status: int, headers: Sequence[Header]) -> None:
        """See `Exchange.begin`."""

    def write(self, data: bytes) -> None:
        """See `Exchange.write`."""

    def finish(self, data: bytes = b"") -> None:
        """See `Exchange.finish`."""

    def abort(self) -> None:
        """See `Exchange.abort`."""


Handler = Callable[[Exchange], None]
"""Who takes a request at its head: it sets a listener, or answers at once."""
