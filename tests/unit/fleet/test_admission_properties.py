"""Whatever requests do, a gate loses no slot, gives none twice, and strands nobody."""

from __future__ import annotations

import asyncio

from hypothesis import given, settings
from hypothesis import strategies as st

from enginehouse.fleet.admission import Gate
from enginehouse.fleet.errors import Draining, FleetError

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("enter"), st.sampled_from("abc"), st.integers(1, 4)),
        st.tuples(st.sampled_from(["cancel", "leave"]), st.integers(0, 30)),
        st.tuples(st.sampled_from(["pause", "fail", "turn"])),
        st.tuples(st.just("open"), st.integers(1, 3)),
    ),
    max_size=40,
)


class Crowd:
    """Requests at one gate; what each holds is what `enter` told it."""

    def __init__(self, max_queue: int) -> None:
        self.gate = Gate("m", max_queue=max_queue, queue_timeout_s=3600)
        self.gate.open(2)
        self.tasks: list[asyncio.Task[None]] = []
        self.done: list[asyncio.Event] = []
        self.held = 0

    def enter(self, client: str, weight: int) -> None:
        done = asyncio.Event()

        async def visit() -> None:
            taken = await self.gate.enter(client, weight)
            self.held += taken
            try:
                await done.wait()
            finally:
                self.held -= taken
                self.gate.leave(taken)

        self.tasks.append(asyncio.create_task(visit()))
        self.done.append(done)

    def do(self, step: tuple) -> None:
        match step:
            case ("enter", client, weight):
                self.enter(client, weight)
            case ("cancel", at) if at < len(self.tasks):
                self.tasks[at].cancel()
            case ("leave", at) if at < len(self.done):
                self.done[at].set()
            case ("pause",):
                self.gate.pause()
            case ("fail",):
                self.gate.fail(Draining())
            case ("open", capacity):
                self.gate.open(capacity)

    async def settle(self) -> None:
        for _ in range(4):
            await asyncio.sleep(0)


async def play(steps: list[tuple], max_queue: int) -> None:
    crowd = Crowd(max_queue)
    capacity = 3
    for step in steps:
        crowd.do(step)
        if step == ("turn",):
            await crowd.settle()
            assert crowd.held == crowd.gate.running <= capacity
            assert 0 <= crowd.gate.waiting <= max_queue
    crowd.gate.open(capacity)
    for done in crowd.done:
        done.set()
    async with asyncio.timeout(10):
        results = await asyncio.gather(*crowd.tasks, return_exceptions=True)
    assert all(result is None or isinstance(result, FleetError | asyncio.CancelledError) for result in results)
    assert repr(crowd.gate) == "<Gate 'm' open running=0/3 waiting=0>"
    assert await crowd.gate.enter("z", 3) == 3


@settings(max_examples=200, deadline=None)
@given(STEPS, st.integers(0, 5))
def test_a_gate_keeps_its_account_whatever_happens(steps, max_queue):
    asyncio.run(play(steps, max_queue))
