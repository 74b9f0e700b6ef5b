"""Requests to an API's endpoints: admitted, read, opened at the service, and answered from its events.

All of it is plain calls: from the connection at the head and at the body, then from the lease. No task runs for a
request here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from urllib.parse import quote

from enginehouse.accounts import Facts, KeyRing
from enginehouse.config import ServerConfig
from enginehouse.dialects.endpoint import Call, Encoder, Endpoint, Header
from enginehouse.dialects.openai.errors import CLIENT_LEFT, OK
from enginehouse.fleet import Lease
from enginehouse.service import Service
from enginehouse.telemetry import get_logger
from enginehouse_plugin import AnyEvent
from enginehouse_plugin.errors import EnginehouseError

from .admit import admit
from .deadline import Deadline
from .exchange import Exchange

IGNORED_HEADER = b"x-enginehouse-ignored"
"""Names what a request asked for and did not get, where the profile or the configuration says `report`."""

_MOST_IGNORED_BYTES = 3000  # proxies take heads of 4 KiB at least
_LONGEST_IGNORED = 200

_STREAM_HEADERS: tuple[Header, ...] = (
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),  # nginx in front would hold chunks back
)

log = get_logger()


class ApiRoute:
    """The route of *endpoint*: takes an exchange at its head."""

    def __init__(self, endpoint: Endpoint, service: Service, keys: KeyRing, server: ServerConfig) -> None:
        self.endpoint = endpoint
        self.service = service
        self.server = server
        self._keys = keys

    def __call__(self, exchange: Exchange) -> None:
        """Admit the request and ask for its body, or refuse it before that is read."""
        facts = self.service.begin(exchange.request_id)
        facts.endpoint = self.endpoint.name
        answering = Answering(self, exchange, facts)
        try:
            facts.key = admit(exchange, self._keys)
        except EnginehouseError as error:
            answering.fail(error)
            return
        exchange.listener = answering
        exchange.read_body(self.server.max_body_bytes)


class Answering:
    """One request from its admission to its end: listens to the client, and is the sink of the engine's events.

    The head of a stream is sent with its first bytes, so that an error before them has its own status. A stream
    that stays silent for `keep_alive_s` is begun by a comment; from then on an error is an event.
    """

    __slots__ = ("_encoder", "_exchange", "_facts", "_headers", "_is_over", "_lease", "_route", "_silence")

    def __init__(self, route: ApiRoute, exchange: Exchange, facts: Facts) -> None:
        self._route = route
        self._exchange = exchange
        self._facts = facts
        self._encoder: Encoder | None = None
        self._headers: tuple[Header, ...] = ()
        self._lease: Lease | None = None
        self._silence: Deadline | None = None
        self._is_over = False

    # ---- what the client does ----

    def body(self, data: bytes) -> None:
        """Read the request and have it worked on."""
        exchange, facts, route = self._exchange, self._facts, self._route
        try:
            call = route.endpoint.decode(data, exchange.request_id)
            self._take(call)
            # In a queue a key's holder takes turns with others, or an address where keys are not asked for.
            client = f"{facts.key}@{exchange.client}"
            lease = route.service.open(
                call.request, call.model, client=client, facts=facts, sink=self, is_lenient=call.is_lenient
            )
        except Exception as error:  # noqa: BLE001  # the outermost handler of a request
            self.fail(error)
            return
        self._lease = lease
        if exchange.is_paused:
            lease.pause()

    def body_failed(self, error: EnginehouseError) -> None:
        """Say why the body was not read."""
        self.fail(error)

    def client_left(self) -> None:
        """End the work: nobody waits for it."""
        if self._is_over:
            return
        self._facts.is_cancelled = True
        if self._lease is not None:
            self._lease.cancel()
        self._finish(CLIENT_LEFT)

    def pause(self) -> None:
        """Let the engine wait for the client."""
        if self._lease is not None:
            self._lease.pause()

    def resume(self) -> None:
        """Let the engine go on."""
        if self._lease is not None:
            self._lease.resume()

    # ---- what the engine does ----

    def events(self, batch: Sequence[AnyEvent]) -> None:
        """Send what *batch* adds to a stream."""
        encoder = self._encoder
        if encoder is None or self._is_over:
            return
        try:
            data = encoder.events(batch)
        except Exception as error:  # noqa: BLE001  # the outermost handler of a request
            if self._lease is not None:
                self._lease.cancel(error)
            self.fail(error)
            return
        if data:
            self._write(data)

    def end(self, error: Exception | None) -> None:
        """Answer, or say why there is none."""
        encoder = self._encoder
        if encoder is None or self._is_over:
            return
        if error is not None:
            self.fail(error)
            return
        try:
            data = encoder.end()
        except Exception as broken:  # noqa: BLE001  # the outermost handler of a request
            self.fail(broken)
            return
        exchange = self._exchange
        if encoder.is_stream:
            exchange.begin(OK, self._head())
            exchange.finish(data)
        else:
            exchange.answer(OK, self._head(), data)
        self._finish(OK)

    # ---- inside ----

    def fail(self, error: Exception) -> None:
        """Answer with *error*, or end a stream that has begun with it."""
        exchange, encoder = self._exchange, self._encoder
        self._facts.fail(error)
        if not isinstance(error, EnginehouseError):
            event = "stream failed" if exchange.is_begun else "request failed"
            log.error(event, id=exchange.request_id, exc_info=error)
        if exchange.is_begun and encoder is not None:
            exchange.finish(encoder.fail(error))
            self._finish(OK)
            return
        reply = self._route.endpoint.errors.describe(error)
        exchange.answer(reply.status, reply.headers, reply.body)
        self._finish(reply.status)

    def _take(self, call: Call) -> None:
        facts, encoder = self._facts, call.encoder
        facts.recorded = call.recorded
        self._encoder = encoder
        encoder.origin = facts
        self._headers = ((b"content-type", encoder.content_type),)
        if encoder.is_stream:
            self._headers += _STREAM_HEADERS
            if encoder.keep_alive:
                self._silence = Deadline(asyncio.get_running_loop())
                self._silence.set(self._route.server.keep_alive_s, self._keep_open)
        if call.ignored:
            facts.ignored = call.ignored

    def _head(self) -> tuple[Header, ...]:
        """Headers of the answer; what is ignored is known once the engine has started."""
        ignored = self._facts.ignored
        return (*self._headers, _ignored_header(ignored)) if ignored else self._headers

    def _write(self, data: bytes) -> None:
        exchange = self._exchange
        if not exchange.is_begun:
            exchange.begin(OK, self._head())
        exchange.write(data)
        if self._silence is not None:
            self._silence.set(self._route.server.keep_alive_s, self._keep_open)

    def _keep_open(self) -> None:
        encoder = self._encoder
        if encoder is None or self._silence is None:
            return
        if self._exchange.is_paused:
            self._silence.set(self._route.server.keep_alive_s, self._keep_open)
        else:
            self._write(encoder.keep_alive)

    def _finish(self, status: int) -> None:
        self._is_over = True
        if self._silence is not None:
            self._silence.close()
        self._lease = None
        self._exchange.listener = None  # no circle is left for the collector
        self._route.service.finish(self._facts, status)


def _ignored_header(names: tuple[str, ...]) -> Header:
    """*names* in a header that any proxy takes; how many more there are is its last word."""
    shown: list[str] = []
    room_bytes = _MOST_IGNORED_BYTES
    for name in names:
        quoted = quote(name[:_LONGEST_IGNORED], safe="")
        room_bytes -= len(quoted) + 2
        if room_bytes < 0:
            break
        shown.append(quoted)
    if len(shown) < len(names):
        shown.append(f"+{len(names) - len(shown)}")
    return IGNORED_HEADER, ", ".join(shown).encode()
