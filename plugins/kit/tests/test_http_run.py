"""A request whose events are pushed: `LocalClient.start` through `OpenAIDialect.start`."""

import asyncio
import os

import pytest

from enginehouse_kit.http.client import LocalClient
from enginehouse_kit.http.openai import OpenAIDialect
from enginehouse_plugin import Finished, Started, TextDelta, UsageReport, trace_headers
from enginehouse_plugin.errors import EngineDied, EngineFailure, EngineProtocolError, EngineUnavailable, InvalidRequest

from .conftest import CLOSE, STALL, serving
from .openai_answers import chunk, http, request, sse, total

WHOLE = http(
    {
        "choices": [{"message": {"content": "hi"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 1},
    }
)
EVENTS = [Started(3), TextDelta(0, "hi", 1), Finished(0, "stop"), UsageReport(3, 1)]


class Heard:
    """A sink that keeps what it hears; *on_events* is called with each batch."""

    def __init__(self, on_events=None):
        self.batches = []
        self.ends = []
        self.over = asyncio.Event()
        self.first = asyncio.Event()
        self.on_events = on_events

    def events(self, batch):
        assert not self.ends
        self.batches.append(list(batch))
        self.first.set()
        if self.on_events is not None:
            self.on_events(batch)

    def end(self, error):
        self.ends.append(error)
        self.over.set()

    @property
    def all(self):
        return [event for batch in self.batches for event in batch]


@pytest.fixture
async def client(server):
    made = LocalClient(server.address)
    yield made
    await made.close()
    assert "0 open, 0 idle" in repr(made)


def start(client, sink, **fields):
    return OpenAIDialect().start(client, request(**fields), "m", sink)


async def test_a_whole_answer_is_one_batch_and_then_the_end(server, client):
    server.scripts = [[WHOLE, WHOLE]]
    for _ in range(2):  # on a new connection, and on a kept one
        sink = Heard()
        run = start(client, sink)
        assert (sink.batches, sink.ends) == ([], [])
        await sink.over.wait()
        assert (sink.batches, sink.ends) == ([EVENTS], [None])
        await run.wait_released()
        run.pause(), run.resume(), run.cancel()
    assert server.connections == 1


async def test_a_kept_connection_carries_a_request_without_a_task(server, client):
    server.scripts = [[WHOLE, WHOLE]]
    await client.request("POST", "/")
    before = asyncio.all_tasks()
    sink = Heard()
    start(client, sink)
    assert asyncio.all_tasks() == before
    await sink.over.wait()
    assert sink.all == EVENTS


async def test_the_events_of_one_read_are_one_batch(server, client):
    pieces = sse(chunk(content="a"), chunk(content="b"), chunk(content="c", finish="stop"), total(1, 3))
    server.scripts = [[[pieces[0], b"".join(pieces[1:3]), b"".join(pieces[3:])]]]
    sink = Heard()
    start(client, sink, stream=True)
    await sink.over.wait()
    assert [len(batch) for batch in sink.batches] == [3, 3]
    assert sink.ends == [None]


async def test_events_before_a_fault_are_pushed(server, client):
    pieces = sse(chunk(content="a"), {"error": {"message": "out of memory", "code": 500}})
    server.scripts = [[[b"".join(pieces), STALL]]]
    sink = Heard()
    start(client, sink, stream=True)
    await sink.over.wait()
    assert sink.all == [Started(), TextDelta(0, "a", 1)]
    assert isinstance(sink.ends[0], EngineFailure)


async def test_a_refusal_ends_the_run_with_an_error(server, client):
    server.scripts = [[http({"error": {"message": "no"}}, 400)]]
    sink = Heard()
    start(client, sink, stream=True)
    await sink.over.wait()
    assert (sink.all, [type(error) for error in sink.ends]) == ([], [InvalidRequest])


async def test_a_fault_of_the_reader_ends_the_run(server, client):
    class Faulty(OpenAIDialect):
        def usage_of(self, chunk):
            raise KeyError("x")

    server.scripts = [[[*sse(chunk(content="a"))[:2], STALL]]]
    sink = Heard()
    Faulty().start(client, request(stream=True), "m", sink)
    await sink.over.wait()
    assert isinstance(sink.ends[0], KeyError)
    await server.gone.wait()


async def test_a_whole_answer_over_the_limit_is_an_error(server):
    server.scripts = [[WHOLE, [*WHOLE[0:1], STALL]], [[WHOLE[0][:-1], STALL]]]
    client = LocalClient(server.address, max_body_bytes=20)
    for _ in range(2):
        sink = Heard()
        start(client, sink)
        await sink.over.wait()
        assert isinstance(sink.ends[0], EngineProtocolError)
    await client.close()


# ---- connections ----


async def test_a_kept_connection_that_was_closed_while_idle_is_replaced(server, client):
    server.scripts = [[WHOLE, [CLOSE]], [WHOLE]]
    await client.request("POST", "/")
    sink = Heard()
    start(client, sink)
    await sink.over.wait()
    assert (sink.all, sink.ends, server.connections) == (EVENTS, [None], 2)


async def test_a_kept_connection_that_closes_within_its_answer_is_not(server, client):
    server.scripts = [[WHOLE, [b"HTTP", CLOSE]], [WHOLE]]
    await client.request("POST", "/")
    sink = Heard()
    start(client, sink)
    await sink.over.wait()
    assert isinstance(sink.ends[0], EngineDied)
    assert server.connections == 1


async def test_an_engine_that_closes_and_is_gone_has_died(server, client):
    server.scripts = [[WHOLE, [CLOSE]]]
    await client.request("POST", "/")
    os.unlink(server.address)
    sink = Heard()
    start(client, sink)
    await sink.over.wait()
    assert isinstance(sink.ends[0], EngineDied)


async def test_an_engine_that_does_not_listen_is_unavailable(tmp_path):
    client = LocalClient(str(tmp_path / "none"))
    sink = Heard()
    start(client, sink)
    await sink.over.wait()
    assert isinstance(sink.ends[0], EngineUnavailable)


async def test_a_closed_client_ends_its_runs_and_begins_none(server, client):
    server.scripts = [[[STALL]]]
    sink = Heard()
    run = start(client, sink)
    await server.asked.wait()
    await client.close()
    assert isinstance(sink.ends[0], EngineUnavailable)
    await run.wait_released()
    with pytest.raises(EngineUnavailable):
        start(client, sink)


# ---- leaving ----


@pytest.mark.parametrize("answer", [[STALL], [b"HTTP/1.1 200", STALL], [*sse(chunk(content="a"))[:2], STALL]])
@pytest.mark.parametrize("is_reused", [False, True])
@pytest.mark.parametrize("is_paused", [False, True])
async def test_cancelling_closes_the_connection_and_the_sink_hears_nothing_more(
    server, client, answer, is_reused, is_paused
):
    server.scripts = [[WHOLE, answer] if is_reused else [answer]]
    if is_reused:
        await client.request("POST", "/")
        server.asked.clear()
    sink = Heard()
    run = start(client, sink, stream=True)
    if is_paused:
        run.pause()
    await server.asked.wait()
    await asyncio.sleep(0.005)
    heard = len(sink.batches)
    run.cancel()
    run.cancel()
    async with asyncio.timeout(5):
        await run.wait_released()
        await server.gone.wait()
    run.resume()
    assert (len(sink.batches), sink.ends) == (heard, [])
    assert "0 open" in repr(client)


async def test_cancelling_at_any_step_of_the_connect_leaks_nothing(server, client):
    server.scripts = [[[STALL]]]
    for steps in range(10):
        sink = Heard()
        run = start(client, sink, stream=True)
        for _ in range(steps):
            await asyncio.sleep(0)
        run.cancel()
        async with asyncio.timeout(5):
            await run.wait_released()
        assert (sink.batches, sink.ends) == ([], [])
        assert "0 open" in repr(client)


async def test_a_sink_may_cancel_while_it_takes_events(server, client):
    server.scripts = [[[b"".join(sse(chunk(content="a", finish="stop"), total(1, 1)))]]]
    sink = Heard(lambda batch: run.cancel())
    run = start(client, sink, stream=True)
    await sink.first.wait()
    await run.wait_released()
    assert (len(sink.batches), sink.ends) == (1, [])


# ---- flow control ----


async def test_a_paused_run_stops_the_engine_and_goes_on_when_it_is_resumed(tmp_path):
    sent = 0
    piece = sse(chunk(content="x" * 65536))[1]

    async def flood(reader, writer):
        nonlocal sent
        await reader.readuntil(b"\r\n\r\n")
        head, *_, last, end = sse(chunk(content="x", finish="stop"), total(1, 1))
        writer.write(head)
        for _ in range(200):
            writer.write(piece)
            await writer.drain()
            sent += 1
        for rest in (*sse(chunk(finish="stop"), total(1, 200))[1:-2], last, end):
            writer.write(rest)
        await reader.read()

    path = str(tmp_path / "s")
    async with serving(flood, path=path):
        client = LocalClient(path)
        sink = Heard()
        run = start(client, sink, stream=True)
        await sink.first.wait()
        run.pause()
        before = -1
        while sent != before:  # until the sender is stuck
            before = sent
            await asyncio.sleep(0.05)
        assert sent < 100
        assert not sink.ends
        run.resume()
        async with asyncio.timeout(20):
            await sink.over.wait()
        assert sum(isinstance(event, TextDelta) for event in sink.all) == 200
        assert isinstance(sink.all[-1], UsageReport)
        await client.close()


async def test_a_run_that_is_paused_before_it_is_connected_takes_nothing(server, client):
    server.scripts = [[WHOLE]]
    sink = Heard()
    run = start(client, sink)
    run.pause()
    await server.asked.wait()
    await asyncio.sleep(0.02)
    assert (sink.batches, sink.ends) == ([], [])
    run.resume()
    await sink.over.wait()
    assert sink.all == EVENTS


async def test_a_request_carries_its_trace_on_and_the_next_one_does_not(server, client):
    server.scripts = [[[WHOLE], [WHOLE]]]
    for headers in ((("traceparent", "00-1-2-01"), ("tracestate", "other=1")), ()):
        token = trace_headers.set(headers)
        heard = Heard()
        try:
            start(client, heard, stream=False)
        finally:
            trace_headers.reset(token)
        await heard.over.wait()
    traced, untraced = server.requests
    assert b"\r\ntraceparent: 00-1-2-01\r\ntracestate: other=1\r\n" in traced
    assert b"trace" not in untraced
