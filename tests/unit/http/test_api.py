"""An API's route over exchanges without a connection, and a service and an endpoint by script."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import msgspec
import pytest

from enginehouse.accounts import Facts, KeyRing
from enginehouse.config import KeyConfig, ServerConfig
from enginehouse.dialects.endpoint import Call
from enginehouse.dialects.openai import errors
from enginehouse.http.api import ApiRoute
from enginehouse.http.decoding import READ_APART_BYTES
from enginehouse_plugin import Chat, GenerationRequest, TextDelta
from enginehouse_plugin.errors import EngineProtocolError, EngineUnavailable, InvalidRequest

from .lanes import Recorded

pytestmark = pytest.mark.interpreted  # its service is a double

JSON = ("content-type", "application/json")


class Encoder:
    """Writes what events say; `breaks` at the events or at the end."""

    content_type = b"x/y"
    keep_alive = b": here\n"

    def __init__(self, is_stream: bool) -> None:
        self.is_stream = is_stream
        self.breaks = ""
        self.text = b""

    def events(self, batch: Any) -> bytes:
        if self.breaks == "events":
            raise EngineProtocolError("out of order")
        said = b"".join(each.text.encode() for each in batch)
        self.text += said
        return said if self.is_stream else b""

    def end(self) -> bytes:
        if self.breaks == "end":
            raise EngineProtocolError("no end")
        return b"!" if self.is_stream else self.text + b"!"

    def fail(self, error: BaseException) -> bytes:
        return b"?" + type(error).__name__.encode()


class Endpoint:
    name = "things"
    profile = "openai"
    path = "/v1/things"
    errors = errors
    query: ClassVar[dict[str, str]] = {}
    headers = ()
    id_header: bytes | None = None

    def __init__(self, *, is_stream: bool) -> None:
        self.encoder = Encoder(is_stream)
        self.ignored: tuple[str, ...] = ()

    def decode(self, body: bytes, request_id: str, named: Mapping[bytes, bytes], key: str = "") -> Call:
        self.named = named
        self.decoded_by = threading.current_thread()
        if body.strip() == b"bad":
            raise InvalidRequest("bad", param="x")
        if body == b"bug":
            raise ZeroDivisionError
        request = GenerationRequest(id=request_id, prompt=Chat(messages=()), stream=self.encoder.is_stream)
        return Call(model="m", request=request, encoder=self.encoder, recorded={"user": "u"}, ignored=self.ignored)


class Lease:
    def __init__(self) -> None:
        self.calls: list[Any] = []
        self.heard_at = 0.0

    def pause(self) -> None:
        self.calls.append("pause")

    def resume(self) -> None:
        self.calls.append("resume")

    def cancel(self, error: Exception | None = None) -> None:
        self.calls.append(("cancel", type(error).__name__) if error else "cancel")


class Service:
    """Opens leases that the test drives; `ended` are the statuses of what has ended."""

    def __init__(self) -> None:
        self.lease = Lease()
        self.error: Exception | None = None
        self.ended: list[int] = []
        self.client = ""

    def begin(self, request_id: str) -> Facts:
        self.facts = Facts(request_id)
        return self.facts

    def trace(self, facts: Facts, method: str, route: str, named: Any) -> None:
        self.traced = (facts, method, route, named)

    def open(
        self,
        request: GenerationRequest,
        model: str,
        *,
        client: str,
        facts: Facts,
        sink: Any,
        said: Any,
        profile: str,
        is_lenient: bool,
        **_: bool,
    ) -> Lease:
        if self.error is not None:
            raise self.error
        self.sink, self.client = sink, client
        return self.lease

    def reserve(self, request: Any, model: str, **_: Any) -> bool:
        return True

    def finish(self, facts: Facts, status: int, then: Callable[[], None] | None = None) -> None:
        self.ended.append(status)


class Bench:
    """One request at a route."""

    def __init__(self, *headers: tuple[str, str], stream: bool = False, method: str = "POST", **server: Any) -> None:
        self.service = Service()
        self.endpoint = Endpoint(is_stream=stream)
        keys = KeyRing([KeyConfig(name="k", sha256="0" * 64)] if server.pop("locked", False) else [])
        route = ApiRoute(self.endpoint, self.service, keys, ServerConfig(**server))  # type: ignore[arg-type]
        self.exchange = Recorded(*(headers or (JSON,)), method=method)
        self.exchange.request_id = "r1"
        route(self.exchange)

    def asked(self, body: bytes = b"{}") -> Bench:
        """The body has come."""
        assert self.exchange.listener is not None
        self.exchange.listener.body(body)
        return self

    def say(self, text: str) -> None:
        self.service.sink.events((TextDelta(choice=0, text=text, completion_tokens=1),))

    @property
    def code(self) -> str:
        return msgspec.json.decode(self.exchange.body)["error"]["code"]

    def assert_ended(self, status: int, *, error: str | None = None, cancelled: bool = False) -> None:
        """It was accounted for once."""
        assert self.service.ended == [status]
        assert (self.service.facts.error_code, self.service.facts.is_cancelled) == (error, cancelled)


async def until(holds: Callable[[], bool]) -> None:
    """Wait for what a thread does."""
    async with asyncio.timeout(10):
        while not holds():  # noqa: ASYNC110  # nothing here tells of it
            await asyncio.sleep(0.001)


@pytest.fixture(autouse=True)
async def loop_runs() -> None:
    """Streams set a timer."""


def test_a_refused_head_is_answered_before_the_body_is_asked_for_and_accounted_for() -> None:
    for bench, status, code in (
        (Bench(method="GET"), 405, "method_not_allowed"),
        (Bench(locked=True), 401, "missing_api_key"),
        (Bench(("content-type", "text/plain")), 415, "unsupported_media_type"),
    ):
        assert bench.exchange.asked_bytes is None
        assert (bench.exchange.status, bench.code) == (status, code)
        bench.assert_ended(status, error=code)


async def test_an_endpoint_gets_the_headers_and_may_tell_the_id_by_a_name_of_its_own() -> None:
    for body in (b"{}", b"bad"):
        bench = Bench(JSON, ("x-beta", "b"))
        bench.endpoint.id_header = b"request-id"
        bench.asked(body)
        if body == b"{}":
            bench.service.sink.end(None)
        assert bench.endpoint.named[b"x-beta"] == b"b"
        assert bench.exchange.sent.count((b"request-id", b"r1")) == 1


async def test_a_whole_answer() -> None:
    bench = Bench(max_body_bytes=77).asked()
    assert bench.exchange.asked_bytes == 77
    bench.say("one")
    assert not bench.exchange.is_begun
    bench.say("two")
    bench.service.sink.end(None)
    assert (bench.exchange.status, bench.exchange.body) == (200, b"onetwo!")
    assert bench.exchange.all("content-type") == ["x/y"]
    bench.assert_ended(200)
    assert bench.service.facts.recorded == {"user": "u"}
    assert bench.service.facts.endpoint == "things"
    assert bench.service.client == "anonymous@1.2.3.4"


async def test_a_large_body_is_decoded_by_a_thread_while_the_loop_goes_on() -> None:
    bench = Bench().asked(b" " * (READ_APART_BYTES + 1))
    assert not hasattr(bench.service, "sink")
    await until(lambda: hasattr(bench.service, "sink"))
    assert bench.endpoint.decoded_by is not threading.current_thread()
    bench.service.sink.end(None)
    bench.assert_ended(200)


async def test_a_large_body_that_is_refused_is_answered() -> None:
    bench = Bench().asked(b"bad".ljust(READ_APART_BYTES + 1))
    await until(lambda: bench.exchange.status > 0)
    assert bench.exchange.status == 400
    bench.assert_ended(400, error="invalid_value")


async def test_a_client_that_leaves_while_its_body_is_decoded_is_accounted_for_and_opens_nothing() -> None:
    bench = Bench().asked(b" " * (READ_APART_BYTES + 1))
    assert bench.exchange.listener is not None
    bench.exchange.listener.client_left()
    await asyncio.sleep(0.02)
    assert not hasattr(bench.service, "sink")
    bench.assert_ended(499, cancelled=True)


async def test_a_stream_begins_with_its_first_bytes() -> None:
    bench = Bench(stream=True).asked()
    assert not bench.exchange.is_begun
    bench.say("one")
    assert (bench.exchange.status, bench.exchange.body) == (200, b"one")
    assert bench.exchange.all("cache-control") == ["no-cache"]
    bench.service.sink.end(None)
    assert bench.exchange.body == b"one!"
    assert bench.exchange.is_ended
    bench.assert_ended(200)


async def test_a_stream_that_says_nothing_has_a_head_and_an_end() -> None:
    bench = Bench(stream=True).asked()
    bench.service.sink.end(None)
    assert (bench.exchange.status, bench.exchange.body) == (200, b"!")


@pytest.mark.parametrize("stream", [False, True])
async def test_an_error_before_the_first_bytes_has_its_own_status(stream: bool) -> None:
    bench = Bench(stream=stream).asked()
    bench.service.sink.end(EngineUnavailable("gone"))
    assert (bench.exchange.status, bench.code) == (503, "engine_unavailable")
    bench.assert_ended(503, error="engine_unavailable")


async def test_an_error_in_a_stream_ends_it_without_success() -> None:
    bench = Bench(stream=True).asked()
    bench.say("one")
    bench.service.sink.end(EngineUnavailable("gone"))
    assert bench.exchange.body == b"one?EngineUnavailable"
    bench.assert_ended(200, error="engine_unavailable")


@pytest.mark.parametrize(("body", "status", "code"), [(b"bad", 400, "invalid_value"), (b"bug", 500, "internal_error")])
async def test_a_body_that_is_not_read_is_answered(body: bytes, status: int, code: str, logs) -> None:
    bench = Bench().asked(body)
    assert (bench.exchange.status, bench.code) == (status, code)
    bench.assert_ended(status, error=code)
    assert [line["event"] for line in logs] == (["request failed"] if status == 500 else [])


async def test_a_service_that_refuses_is_answered_for() -> None:
    bench = Bench()
    bench.service.error = EngineUnavailable("no")
    bench.asked()
    assert bench.exchange.status == 503
    bench.assert_ended(503, error="engine_unavailable")


@pytest.mark.parametrize("stream", [False, True])
async def test_events_out_of_order_end_the_work_and_the_answer(stream: bool) -> None:
    bench = Bench(stream=stream).asked()
    bench.endpoint.encoder.breaks = "events"
    bench.say("one")
    assert bench.service.lease.calls == [("cancel", "EngineProtocolError")]
    assert bench.exchange.status == 502
    bench.assert_ended(502, error="engine_protocol_error")


@pytest.mark.parametrize("stream", [False, True])
async def test_an_answer_that_is_not_complete_is_no_success(stream: bool) -> None:
    bench = Bench(stream=stream).asked()
    bench.endpoint.encoder.breaks = "end"
    bench.say("one")
    bench.service.sink.end(None)
    assert bench.exchange.status == (200 if stream else 502)
    if stream:
        assert bench.exchange.body == b"one?EngineProtocolError"
    bench.assert_ended(200 if stream else 502, error="engine_protocol_error")


async def test_a_client_that_leaves_ends_the_work_and_is_logged_as_499() -> None:
    for is_opened in (True, False):
        bench = Bench(stream=True)
        listener = bench.exchange.listener
        assert listener is not None
        if is_opened:
            bench.asked()
        listener.client_left()
        listener.client_left()
        assert bench.service.lease.calls == (["cancel"] if is_opened else [])
        bench.assert_ended(499, cancelled=True)


async def test_a_client_that_does_not_read_pauses_the_work() -> None:
    bench = Bench(stream=True)
    listener = bench.exchange.listener
    assert listener is not None
    listener.pause()  # nothing runs yet
    bench.exchange.is_paused = True
    bench.asked()
    listener.resume()
    listener.pause()
    assert bench.service.lease.calls == ["pause", "resume", "pause"]


async def test_a_silent_stream_is_kept_open_by_comments_but_not_to_a_client_that_does_not_read() -> None:
    bench = Bench(stream=True, keep_alive_s=0.02).asked()
    async with asyncio.timeout(30):
        while not bench.exchange.body.startswith(b": here\n: here\n"):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    assert bench.exchange.status == 200
    bench.exchange.is_paused = True
    before = bench.exchange.body
    await asyncio.sleep(0.07)
    assert bench.exchange.body == before
    bench.service.sink.end(None)
    async with asyncio.timeout(30):
        while bench.exchange.body == before:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    assert bench.exchange.body == before + b"!"


async def test_a_whole_answer_is_not_begun_by_comments() -> None:
    bench = Bench(keep_alive_s=0.01).asked()
    await asyncio.sleep(0.05)
    assert not bench.exchange.is_begun


@pytest.mark.parametrize("stream", [False, True])
async def test_what_was_left_out_is_named_in_a_header_and_in_the_facts(stream: bool) -> None:
    bench = Bench(stream=stream)
    bench.endpoint.ignored = ("a b", "messages[].mood")
    bench.asked()
    bench.say("one")
    bench.service.sink.end(None)
    assert bench.exchange.all("x-enginehouse-ignored") == ["a%20b, messages%5B%5D.mood"]
    assert bench.service.facts.ignored == ("a b", "messages[].mood")


@pytest.mark.parametrize("stream", [False, True])
async def test_what_the_engine_cannot_enforce_is_named_in_the_header(stream: bool) -> None:
    """It is known once the engine has started, which a lease notes before the answer hears of it."""
    bench = Bench(stream=stream).asked()
    bench.service.facts.ignored = ("tools[0]/uniqueItems",)
    bench.say("one")
    bench.service.sink.end(None)
    assert bench.exchange.all("x-enginehouse-ignored") == ["tools%5B0%5D%2FuniqueItems"]


async def test_a_header_of_many_names_is_bounded_and_says_how_many_it_lacks() -> None:
    bench = Bench()
    bench.endpoint.ignored = tuple(f"field_{number}" for number in range(10_000))
    bench.asked()
    bench.say("one")
    bench.service.sink.end(None)
    (header,) = bench.exchange.all("x-enginehouse-ignored")
    *named, more = header.split(", ")
    assert len(header) < 4096
    assert named == [f"field_{number}" for number in range(len(named))]
    assert more == f"+{10_000 - len(named)}"


async def test_a_body_that_failed_is_answered() -> None:
    bench = Bench()
    assert bench.exchange.listener is not None
    bench.exchange.listener.body_failed(InvalidRequest("late", param=None, code="request_timeout"))
    assert bench.exchange.status == 408
    bench.assert_ended(408, error="request_timeout")
