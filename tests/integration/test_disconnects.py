"""A client that leaves frees its slots at once, however and whenever it leaves."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import psutil
import pytest
import uvloop

from enginehouse.assembly import build
from enginehouse.cli.shared.setup import set_up
from enginehouse.fleet import Fleet
from enginehouse.http.app import App
from enginehouse.http.server import Server, listen

from .raw import NO_END, Engine, Raw, engines, metric, wait_until
from .served import MODEL, LogLine, Served

TIMES = 50
SLOTS = 2
_UNREAD_BYTES = 75_000  # less than what would let the next request wait
MAX_TOKENS = 3000
CONFIG = f"""
[server]
port = 0

[models."{MODEL}"]
context_tokens = 4096
queue_timeout_s = 15

[[models."{MODEL}".placements]]
backend = "llamacpp"
source = "demo:{MODEL}"
options = {{ slots = {SLOTS}, batch_tokens = 16 }}
"""
LEAVE: tuple[Callable[[Raw], None], ...] = (Raw.close, Raw.reset, Raw.half_close)
ENDLESS = {"max_tokens": MAX_TOKENS, "logit_bias": NO_END}


class Place:
    """A server, its engine, and how many descriptors both had when nothing ran."""

    def __init__(self, served: Served, engine: Engine, process: psutil.Process) -> None:
        self.served = served
        self.engine = engine
        self._router = psutil.Process(served.pid)
        self._process = process
        self.probe()
        self._before = self._settled()

    def probe(self) -> None:
        """A request that needs every slot is answered."""
        with Raw(self.served.address) as probe:
            probe.ask(n=SLOTS, max_tokens=1)
            body = probe.answer()
            assert probe.status == 200, body
            assert len(body["choices"]) == SLOTS

    def assert_cancelled(self, request_id: str) -> LogLine:
        """The request was ended by its client's leaving, long before its answer was; returns its line of the log."""
        line = self.served.wait_for_log("request", lambda line: line["id"] == request_id)
        assert (line["status"], line["cancelled"], line["error"]) == (499, True, None)
        assert line["completion_tokens"] < MAX_TOKENS / 4
        assert line["finish"] == ""
        return line

    def assert_quiet(self) -> None:
        """Nothing of what ran is left: slots, queue, connections, descriptors."""
        wait_until(lambda: self.engine.busy_slots() == 0, "no slot is busy")
        assert metric(self.served, "enginehouse_running_sequences") == 0
        assert metric(self.served, "enginehouse_queued_requests") == 0
        wait_until(lambda: self._descriptors() == self._before, f"descriptors as before: {self._before}")

    def is_working(self) -> bool:
        """The engine works on something."""
        return self.engine.busy_slots() > 0

    def _settled(self) -> tuple[int, int]:
        """Descriptors when the probe's connections are gone: each part is the least of some looks."""
        looks = []
        for _ in range(20):
            looks.append(self._descriptors())
            time.sleep(0.02)
        return min(look[0] for look in looks), min(look[1] for look in looks)

    def _descriptors(self) -> tuple[int, int]:
        return self._router.num_fds(), self._process.num_fds()


def leave_in_mid_stream(address: tuple[str, int], turn: int) -> None:
    with Raw(address) as client:
        client.ask(stream=True, **ENDLESS)
        next(client.events())
        LEAVE[turn % 3](client)


def leave_with_further_requests(address: tuple[str, int], turn: int) -> None:
    with Raw(address) as client:
        for _ in range(3):
            client.ask(stream=True, **ENDLESS)
        next(client.events())
        LEAVE[turn % 3](client)


def leave_unanswered(address: tuple[str, int], turn: int) -> None:
    """With one request more than there are slots."""
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(Raw(address)) for _ in range(SLOTS + 1)]
        for client in clients:
            client.ask(**ENDLESS)
        time.sleep(0.05 * turn)  # at another point of its way each time
        for client in clients:
            LEAVE[turn % 3](client)


def leave_unread(address: tuple[str, int], turn: int) -> None:
    with Raw(address, tiny_buffers=True) as client:
        for _ in range(2):
            client.get("/openapi.json")
        client.ask(stream=True, n=SLOTS, logprobs=True, top_logprobs=20, **ENDLESS)
        time.sleep(0.2 * turn)
        LEAVE[turn % 3](client)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    served = Served(CONFIG, tmp_path_factory.mktemp("disconnects"))
    try:
        served.wait_ready()
        ((settings, process),) = engines(served)
        with Engine(settings["socket"]) as engine:
            yield Place(served, engine, process)
        assert served.end() == 0, served.text()
    finally:
        served.close()


def test_leaving_before_the_first_token_frees_the_slot(place: Place) -> None:
    """The engine computes a long prompt when the client leaves."""
    for turn in range(TIMES):
        prompt = f"{turn}: " + "All work and no play makes Jack a dull boy. " * 200
        with Raw(place.served.address) as client:
            request_id = client.ask(messages=[{"role": "user", "content": prompt}], stream=turn % 2 == 0)
            wait_until(place.is_working, "the engine begins")
            LEAVE[turn % 3](client)
            place.probe()
        assert place.assert_cancelled(request_id)["ttft_s"] is None
    place.assert_quiet()


def test_leaving_in_mid_stream_frees_the_slot(place: Place) -> None:
    for turn in range(TIMES):
        with Raw(place.served.address) as client:
            request_id = client.ask(stream=True, **ENDLESS)
            events = client.events()
            for _ in range(3):
                next(events)
            LEAVE[turn % 3](client)
            place.probe()
        place.assert_cancelled(request_id)
    place.assert_quiet()


def test_leaving_in_mid_answer_without_stream_frees_the_slot(place: Place) -> None:
    for turn in range(TIMES):
        with Raw(place.served.address) as client:
            request_id = client.ask(padding=100_000 * (turn % 2), **ENDLESS)  # a long body pauses reading
            wait_until(place.is_working, "the engine begins")
            LEAVE[turn % 3](client)
            place.probe()
        place.assert_cancelled(request_id)
    place.assert_quiet()


def test_leaving_while_the_socket_is_full_frees_the_slot(place: Place) -> None:
    """The client has let answers fill all buffers; what is written behind them waits in the router."""
    length = len(httpx.get(f"{place.served.url}/v1/models", trust_env=False).content)
    for turn in range(TIMES):
        with Raw(place.served.address, tiny_buffers=True) as client:
            for _ in range(_UNREAD_BYTES // length):
                client.get("/v1/models")
            request_id = client.ask(stream=True, n=SLOTS, logprobs=True, top_logprobs=20, **ENDLESS)
            wait_until(lambda: place.engine.written_tokens() > 20, "more than the buffers take has been written")
            LEAVE[turn % 3](client)
            place.probe()
        place.assert_cancelled(request_id)
    place.assert_quiet()


def test_leaving_the_queue_takes_the_request_out_of_it(place: Place) -> None:
    """All slots are busy; 50 clients queue and leave; a last one that queued behind them is answered."""
    with contextlib.ExitStack() as stack:
        holders = [stack.enter_context(Raw(place.served.address)) for _ in range(SLOTS)]
        for holder in holders:
            holder.ask(stream=True, **ENDLESS)
            next(holder.events())
        clients = [stack.enter_context(Raw(place.served.address)) for _ in range(TIMES)]
        request_ids = [client.ask(stream=turn % 2 == 0) for turn, client in enumerate(clients)]
        last = stack.enter_context(Raw(place.served.address))
        wait_until(lambda: metric(place.served, "enginehouse_queued_requests") == TIMES, "all wait")
        last.ask(n=SLOTS, max_tokens=1)
        wait_until(lambda: metric(place.served, "enginehouse_queued_requests") == TIMES + 1, "the last waits")
        for turn, client in enumerate(clients):
            LEAVE[turn % 3](client)
        wait_until(lambda: metric(place.served, "enginehouse_queued_requests") == 1, "they are out of the queue")
        for holder in holders:
            holder.close()
        last.answer()
        assert last.status == 200
        for request_id in request_ids:
            line = place.assert_cancelled(request_id)
            assert (line["prompt_tokens"], line["instance"]) == (0, None)
    place.assert_quiet()


@pytest.mark.parametrize("stream", [True, False])
def test_leaving_with_further_requests_on_the_connection_frees_the_slot(place: Place, stream: bool) -> None:
    """The client has pipelined more requests behind the one that runs; these are never begun."""
    for turn in range(TIMES // 2):
        with Raw(place.served.address) as client:
            request_id = client.ask(stream=stream, **ENDLESS)
            wait_until(place.is_working, "the engine begins")
            behind = [client.ask(stream=stream, **ENDLESS) for _ in range(2)]
            LEAVE[turn % 3](client)
            place.probe()
        place.assert_cancelled(request_id)
        assert not any(line.get("id") in behind for line in place.served.log)
    place.assert_quiet()


def test_leaving_leaves_no_task(tmp_path: Path) -> None:
    """In this process, where tasks can be counted: each kind of leaving, in each of its three ways, twice."""
    file = tmp_path / "enginehouse.toml"
    file.write_text(CONFIG)
    setup = set_up(str(file))

    async def count() -> None:
        listener = listen("127.0.0.1", 0)
        house = build(setup.config, setup.plugins)
        fleet, app = house.fleet, house.app
        server = Server(app, fleet, house.live)
        address = listener.getsockname()
        serving = asyncio.create_task(server.run(listener))
        try:
            await asyncio.to_thread(wait_until, lambda: is_loaded(fleet), "the model is loaded")
            await leave_and_count(server, app, fleet, address)
        finally:
            server.end()
            await serving
            house.close()

    def is_loaded(fleet: Fleet) -> bool:
        return all(model.state == "ready" for model in fleet.snapshot().models.values())

    async def leave_and_count(server: Server, app: App, fleet: Fleet, address: tuple[str, int]) -> None:
        (hosted,) = fleet.instances()
        gate, loop = hosted.gate, asyncio.get_running_loop()

        def tasks() -> set[str]:
            return {task.get_name() for task in asyncio.all_tasks(loop)}

        def is_quiet() -> bool:
            return not (
                gate.running or gate.waiting or server.shared.connections or app.bridge.tasks or tasks() - before
            )

        before = tasks()
        for leave in (leave_in_mid_stream, leave_with_further_requests, leave_unanswered, leave_unread):
            for turn in range(6):
                await asyncio.to_thread(leave, address, turn)
            print("LEFT", gate.running, gate.waiting, server.shared.connections, app.bridge.tasks, tasks() - before)
            await asyncio.to_thread(wait_until, is_quiet, "no slot, connection or task is left")

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(count())
