"""Requests to an API's endpoints: admitted, read, opened at the service, and answered from its events.

All of it is plain calls: from the connection at the head and at the body, then from the lease. No task runs for a
request here. A body of more than `READ_APART_BYTES` is decoded by a thread, so that nobody waits for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, partial
from urllib.parse import quote

from enginehouse.accounts import Facts, KeyRing, RateLimited, Undecided
from enginehouse.config import ServerConfig
from enginehouse.dialects.endpoint import Call, Detached, Encoder, Endpoint, Header
from enginehouse.dialects.openai.errors import CLIENT_LEFT, OK
from enginehouse.dialects.query import check_query
from enginehouse.dialects.refusals import NotFound
from enginehouse.fleet import HOST_HEADER, LOAD_HEADER, Lease
from enginehouse.service import Service
from enginehouse.telemetry import get_logger
from enginehouse_plugin import AnyEvent
from enginehouse_plugin.errors import EnginehouseError

from .admit import admit
from .deadline import Deadline
from .decoding import APART, READ_APART_BYTES
from .exchange import Exchange, Nobody
from .ways import Ways

IGNORED_HEADER = b"x-enginehouse-ignored"
"""Names what a request asked for and did not get, where the profile or the configuration says `report`."""

INSTANCE_HEADER = b"x-enginehouse-instance"
"""Names the instance that answers."""

_MOST_IGNORED_BYTES = 3000  # proxies take heads of 4 KiB at least
_LONGEST_IGNORED = 200

_STREAM_HEADERS: tuple[Header, ...] = (
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),  # nginx in front would hold chunks back
)

log = get_logger()


class ApiRoute:
    """The route of *endpoint*: takes an exchange at its head.

    Where *ways* differ, they lead to one of several endpoints instead: by the key of a request, or the name that it
    was sent to.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        service: Service,
        keys: KeyRing,
        server: ServerConfig,
        ways: Ways[Endpoint] | None = None,
    ) -> None:
        self.endpoint = endpoint
        self.ways = ways
        self.service = service
        self.server = server
        self.keys = keys

    def __call__(self, exchange: Exchange) -> None:
        """Admit the request and ask for its body, or refuse it before that is read."""
        facts = self.service.begin(exchange.request_id)
        facts.endpoint = self.endpoint.name
        self.service.trace(facts, exchange.method, self.endpoint.path, exchange.named)
        answering = Answering(self, exchange, facts)
        try:
            if self.ways is not None:
                answering.endpoint = self.ways.of(exchange.named.get(b"host"), None) or self.endpoint
            facts.key = admit(exchange, self.keys)
            if self.ways is not None:
                answering.endpoint = self._meant(exchange, self.ways, facts.key)
            if answering.endpoint.query:
                check_query(exchange.head.query, answering.endpoint.query)
        except EnginehouseError as error:
            answering.fail(error)
            return
        exchange.listener = answering
        exchange.read_body(self.server.max_body_bytes)

    def _meant(self, exchange: Exchange, ways: Ways[Endpoint], key: str) -> Endpoint:
        found = ways.of(exchange.named.get(b"host"), key)
        if found is None:
            raise NotFound(exchange.path)
        return found


class Answering:
    """One request from its admission to its end: listens to the client, and is the sink of the engine's events.

    The head of a stream is sent with its first bytes, so that an error before them has its own status. A stream
    that stays silent for `keep_alive_s` is begun by a comment; from then on an error is an event.
    """

    __slots__ = (
        "_decoding",
        "_encoder",
        "_exchange",
        "_facts",
        "_headers",
        "_is_over",
        "_lease",
        "_places",
        "_route",
        "_silence",
        "_wrote_at",
        "endpoint",
    )

    def __init__(self, route: ApiRoute, exchange: Exchange, facts: Facts) -> None:
        self._route = route
        self.endpoint = route.endpoint
        self._exchange = exchange
        self._facts = facts
        self._encoder: Encoder | None = None
        self._headers: tuple[Header, ...] = ()
        self._places: Mapping[str, str] = {}
        self._lease: Lease | None = None
        self._decoding: asyncio.Future[Call] | None = None  # while a thread does it
        self._silence: Deadline | None = None
        self._wrote_at = 0.0  # the loop's time
        self._is_over = False

    # ---- what the client does ----

    def body(self, data: bytes) -> None:
        """Read the request and have it worked on."""
        self._facts.prompt_bytes = len(data)
        exchange, decode, key = self._exchange, self.endpoint.decode, self._facts.key or ""
        request_id, named = exchange.request_id, exchange.named
        if len(data) > READ_APART_BYTES:
            decoding = asyncio.get_running_loop().run_in_executor(APART, decode, data, request_id, named, key)
            self._decoding = decoding
            decoding.add_done_callback(self._decoded)
            return
        try:
            call = decode(data, request_id, named, key)
        except Exception as error:  # noqa: BLE001  # the outermost handler of a request
            self.fail(error)
            return
        self._open(call)

    def _decoded(self, decoding: asyncio.Future[Call]) -> None:
        self._decoding = None
        if self._is_over or decoding.cancelled():
            return
        error = decoding.exception()
        if error is None:
            self._open(decoding.result())
        else:
            self.fail(error)

    def _open(self, call: Call) -> None:
        facts, route = self._facts, self._route
        try:
            self._take(call)
            if (scope := route.keys.bounded.get(facts.key)) is not None:
                scope.check(
                    endpoint=self.endpoint.name, model=call.model, agent=call.agent, profile=self.endpoint.profile
                )
        except Exception as error:  # noqa: BLE001  # the outermost handler of a request
            self.fail(error)
            return
        self._start(call)

    def _start(self, call: Call) -> None:
        """Have it generated, once its key's credit covers it and its limits are known."""
        if self._is_over:
            return
        exchange, facts, route = self._exchange, self._facts, self._route
        try:
            is_paid = call.counts is not None or route.service.reserve(
                call.request, call.model, facts=facts, said=call.said, profile=call.profile,
                again=partial(self._start, call), work=call.work, prompts=max(1, len(call.prompts)),
            )  # fmt: skip
            if not is_paid:
                return
            # In a queue a key's holder takes turns with others, or an address where keys are not asked for.
            client = f"{facts.key}@{exchange.client}"
            lease = route.service.open(
                call.request,
                call.model,
                said=call.said,
                profile=call.profile,
                client=client,
                facts=facts,
                sink=self,
                is_lenient=route.keys.is_lenient_by.get(facts.key, call.is_lenient),
                is_from_host=HOST_HEADER in exchange.named,
                counts=call.counts,
                work=call.work,
                prompts=call.prompts,
            )
        except Undecided:
            route.service.limiter.when_known(partial(self._start, call))
            return
        except Exception as error:  # noqa: BLE001  # the outermost handler of a request
            self.fail(error)
            return
        self._lease = lease
        if facts.held is not None:
            exchange.limits = route.service.limiter.told(facts)
        if call.detached is not None:
            self._detach(call.detached)
        elif exchange.is_paused:
            lease.pause()

    def _detach(self, begin: Detached) -> None:
        """Answer the client now, and go on without it."""
        exchange = self._exchange
        exchange.listener = None
        exchange.answer(OK, self._head(), begin(self.client_left))
        self._exchange = Nobody(exchange)

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
        if self._facts.credit is not None:  # what has ended is paid for: nobody has an answer that is not
            self._finish(OK, partial(self._send_end, encoder, data))
            return
        self._send_end(encoder, data)
        self._finish(OK)

    def _send_end(self, encoder: Encoder, data: bytes) -> None:
        exchange = self._exchange
        if encoder.is_stream:
            exchange.begin(OK, self._head())
            exchange.finish(data)
        else:
            exchange.answer(OK, self._head(), data)

    # ---- inside ----

    def fail(self, error: BaseException) -> None:
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
        if isinstance(error, RateLimited):
            exchange.limits = self._route.service.limiter.told(self._facts)
        reply = self.endpoint.errors.describe(error, exchange.request_id)
        if encoder is None:
            self._tell_id()
        exchange.answer(reply.status, reply.headers, reply.body)
        self._finish(reply.status)

    def _tell_id(self) -> None:
        if (name := self.endpoint.id_header) is not None:
            self._exchange.response_headers.append((name, self._exchange.request_id.encode()))

    def _take(self, call: Call) -> None:
        facts, encoder = self._facts, call.encoder
        facts.recorded = call.recorded
        self._places = call.places
        self._encoder = encoder
        encoder.origin = facts
        self._tell_id()
        self._headers = ((b"content-type", encoder.content_type), *self.endpoint.headers)
        if encoder.is_stream:
            self._headers += _STREAM_HEADERS
            if encoder.keep_alive:
                self._silence = Deadline(asyncio.get_running_loop())
                self._silence.set(self._route.server.keep_alive_s, self._look_at_silence)
        if call.ignored:
            facts.ignored = call.ignored

    def _head(self) -> tuple[Header, ...]:
        """Headers of the answer; who answers, and what is ignored, is known once the engine has started."""
        facts, headers = self._facts, self._headers
        if facts.instance_id is not None:
            headers = (*headers, _instance_header(facts.instance_id))
            if HOST_HEADER in self._exchange.named and (model := self._route.service.fleet.models.get(facts.model)):
                headers = (*headers, (LOAD_HEADER, model.load_told))
        if facts.ignored:
            headers = (*headers, _ignored_header([self._places.get(name, name) for name in facts.ignored]))
        return headers

    def _write(self, data: bytes) -> None:
        exchange = self._exchange
        if not exchange.is_begun:
            exchange.begin(OK, self._head())
        exchange.write(data)
        if self._lease is not None:
            self._wrote_at = self._lease.heard_at  # now, where the engine said something: the clock is not asked again

    def _look_at_silence(self) -> None:
        """Write a comment where nothing was written for long; the timer is not moved by what is written."""
        encoder, silence = self._encoder, self._silence
        if encoder is None or silence is None:
            return
        interval_s, now = self._route.server.keep_alive_s, asyncio.get_running_loop().time()
        silent_s = now - self._wrote_at
        if silent_s < interval_s:
            silence.set(interval_s - silent_s, self._look_at_silence)
            return
        silence.set(interval_s, self._look_at_silence)
        if not self._exchange.is_paused:
            self._write(encoder.keep_alive)
            self._wrote_at = now

    def _finish(self, status: int, then: Callable[[], None] | None = None) -> None:
        self._is_over = True
        if self._decoding is not None:
            self._decoding.cancel()
        if self._silence is not None:
            self._silence.close()
        self._lease = None
        self._exchange.listener = None  # no circle is left for the collector
        self._route.service.finish(self._facts, status, then)


@lru_cache(maxsize=1024)
def _instance_header(instance_id: str) -> Header:
    return INSTANCE_HEADER, quote(instance_id, safe="/#:@ ").encode()


def _ignored_header(names: Sequence[str]) -> Header:
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
