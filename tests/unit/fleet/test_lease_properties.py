"""Whatever requests, engines and owners do: no slot is lost or given twice, and every request hears one end."""

from __future__ import annotations

import asyncio

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.conftest import House, Reader, ScriptedInstance, a_request

from enginehouse.accounts import Facts
from enginehouse.fleet import FleetError, HostedInstance, Lease, RequestPoisonous
from enginehouse_plugin import Finished, Run, Sink, Started, TextDelta, UsageReport
from enginehouse_plugin.errors import EngineDied, EngineError, EngineFailure

AT = st.integers(0, 12)
LATER = {"open", "turn", "release", "fail", "doubt", "crash"}
"""Steps of which someone gives way, lets go or moves on in the next turn of the loop."""
OPEN = st.tuples(st.just("open"), st.sampled_from("abc"), st.integers(1, 3))
CROWD = st.lists(OPEN, min_size=2, max_size=8)
STEPS = st.lists(
    st.one_of(
        OPEN,
        st.tuples(st.sampled_from(["cancel", "pause", "resume", "begin", "speak", "answer", "fail", "release"]), AT),
        st.tuples(st.sampled_from(["doubt", "crash", "refuse", "close"]), st.integers(0, 1)),
        st.just(("turn",)),
    ),
    max_size=40,
)


class OwnRun(Run):
    """A run that goes on as the test says.

    It holds `weight` slots of *hosted* until it has ended, or is released, or *instance* is gone.
    """

    def __init__(self, hosted: HostedInstance, instance: ScriptedInstance, weight: int, sink: Sink) -> None:
        self.hosted = hosted
        self.instance = instance
        self.weight = weight
        self.sink = sink
        self.has_spoken = False
        self.has_ended = False
        self.is_cancelled = False
        self.released = asyncio.Event()

    @property
    def holds(self) -> int:
        return 0 if self.has_ended or self.released.is_set() or self.instance.unloads else self.weight

    def say(self, *events) -> None:
        if not self.has_ended and not self.is_cancelled:
            self.has_spoken |= any(type(event) is TextDelta for event in events)
            self.sink.events(events)

    def end(self, error: Exception | None) -> None:
        if not self.has_ended and not self.is_cancelled:
            self.has_ended = True
            self.sink.end(error)

    def pause(self) -> None:
        assert not self.has_ended

    def resume(self) -> None:
        assert not self.has_ended

    def cancel(self) -> None:
        assert not self.has_ended
        assert not self.is_cancelled
        self.is_cancelled = True

    async def wait_released(self) -> None:
        assert self.is_cancelled
        await self.released.wait()


class Town:
    """Two instances of a model with two slots each, and the requests to them."""

    def __init__(self, max_queue: int) -> None:
        self.house = House()
        self.fleet = self.house.build(self.house.config(max_queue=max_queue))
        self.fleet.add_instance("m")
        self.hosts = list(self.fleet.instances())
        self.refuses = [False, False]
        self.runs: list[OwnRun] = []
        self.requests: list[tuple[Lease, Reader]] = []
        self.cancelled: set[int] = set()

    async def load(self) -> None:
        for hosted in self.hosts:
            hosted.wake()
        for hosted in self.hosts:
            await self.house.until("ready", hosted)
            self.take_over(hosted)

    def take_over(self, hosted: HostedInstance) -> None:
        """Have the test say what the engine does, also after a restart."""
        at = self.hosts.index(hosted)

        def start(instance, request, sink):
            if self.refuses[at]:
                self.refuses[at] = False
                raise EngineFailure("bad weather")
            self.runs.append(OwnRun(hosted, instance, min(request.n, 2), sink))
            return self.runs[-1]

        def made(instance):
            instance.start = lambda request, sink: start(instance, request, sink)

        made(hosted.instance)
        serve = hosted.serve

        async def serve_as_told(instance):
            made(instance)
            return await serve(instance)

        hosted.serve = serve_as_told

    def do(self, step: tuple) -> None:
        match step:
            case ("open", client, weight):
                reader = Reader()
                reader.ended.add_done_callback(lambda ended: ended.exception())
                lease = Lease(a_request(n=weight), self.fleet.model("m"), client, Facts("r"), reader)
                try:
                    lease.open()
                except (FleetError, EngineError, RequestPoisonous):
                    assert not reader.ended.done()
                else:
                    self.requests.append((lease, reader))
            case ("cancel", at) if at < len(self.requests):
                self.cancel(at)
            case ("pause", at) if at < len(self.requests):
                self.requests[at][0].pause()
            case ("resume", at) if at < len(self.requests):
                self.requests[at][0].resume()
            case ("begin", at) if at < len(self.runs):
                self.runs[at].say(Started(prompt_tokens=1))
            case ("speak", at) if at < len(self.runs):
                self.runs[at].say(Started(prompt_tokens=1), TextDelta(choice=0, text="x", completion_tokens=1))
            case ("answer", at) if at < len(self.runs):
                self.answer(self.runs[at])
            case ("fail", at) if at < len(self.runs):
                number = len(self.runs)
                self.runs[at].end(EngineFailure("bad weather") if at % 2 else EngineDied("gone"))
                if self.runs[at].has_spoken:
                    sinks = [run.sink for run in self.runs[number:]]
                    assert self.runs[at].sink not in sinks, "after the first delta it is never tried again"
            case ("release", at) if at < len(self.runs) and self.runs[at].is_cancelled:
                self.runs[at].released.set()
            case ("doubt", at):
                self.hosts[at].report(EngineDied("gone"))
            case ("crash", at) if self.hosts[at].instance is not None:
                if not self.hosts[at].instance._closed.done():
                    self.hosts[at].instance.crash()
            case ("refuse", at):
                self.refuses[at] = True
            case ("close", 0):
                self.hosts[0].stop_admitting()

    def cancel(self, at: int) -> None:
        lease, reader = self.requests[at]
        if not reader.ended.done():
            self.cancelled.add(at)
        lease.cancel()

    def answer(self, run: OwnRun) -> None:
        run.say(Started(prompt_tokens=1), Finished(choice=0, reason="stop"))
        run.say(UsageReport(prompt_tokens=1, completion_tokens=0))
        run.end(None)

    async def turn(self) -> None:
        for _ in range(8):
            await asyncio.sleep(0)

    def check(self, max_queue: int) -> None:
        for hosted in self.hosts:
            held = sum(run.holds for run in self.runs if run.hosted is hosted)
            assert held == hosted.gate.running <= 2
            assert 0 <= hosted.gate.waiting <= max_queue
        waiting = sum(hosted.gate.waiting for hosted in self.hosts)
        running = sum(not run.has_ended and not run.is_cancelled for run in self.runs)
        open_requests = [at for at, (_, reader) in enumerate(self.requests) if not reader.ended.done()]
        assert len(set(open_requests) - self.cancelled) == waiting + running

    async def settle(self) -> None:
        """Let everything come to its end."""
        async with asyncio.timeout(10):
            while any(run.holds for run in self.runs) or any(hosted.gate.waiting for hosted in self.hosts):
                for run in list(self.runs):
                    if run.is_cancelled:
                        run.released.set()
                    self.answer(run)
                await asyncio.sleep(0.001)


async def play(steps: list[tuple], max_queue: int) -> None:
    town = Town(max_queue)
    await town.load()
    try:
        for step in steps:
            town.do(step)
            if step[0] in LATER:
                await town.turn()
            town.check(max_queue)
        await town.settle()
        town.check(max_queue)
        for at, (lease, reader) in enumerate(town.requests):
            assert reader.ended.done() != (at in town.cancelled)
            assert sum(run.sink is lease for run in town.runs) <= 2
            starts = sum(type(event) is Started for event in reader.heard)
            assert starts <= 1
            if at not in town.cancelled and reader.ended.exception() is None:
                assert starts == 1
        for hosted in town.hosts:
            assert (hosted.gate.running, hosted.gate.waiting) == (0, 0)
    finally:
        await town.fleet.close()


@settings(max_examples=150, deadline=None)
@given(CROWD, STEPS, st.integers(0, 5))
def test_leases_keep_their_account_whatever_happens(crowd, steps, max_queue):
    asyncio.run(play(crowd + steps, max_queue))
