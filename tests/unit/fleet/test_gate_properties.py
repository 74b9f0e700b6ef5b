"""Whatever requests do, a gate loses no slot, gives none twice, and strands nobody."""

from __future__ import annotations

import asyncio

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.conftest import Guest

from enginehouse.fleet.errors import Draining, FleetError
from enginehouse.fleet.gate import Gate

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("enter"), st.sampled_from("abc"), st.integers(1, 4)),
        st.tuples(st.just("end"), st.integers(0, 30)),
        st.tuples(st.sampled_from(["pause", "fail", "turn"])),
        st.tuples(st.just("open"), st.integers(1, 3)),
    ),
    max_size=40,
)


class Crowd:
    """Requests at one gate; each holds what it was told."""

    def __init__(self, max_queue: int) -> None:
        self.gate = Gate("m", max_queue=max_queue, queue_timeout_s=3600)
        self.gate.open(2)
        self.guests: list[Guest] = []
        self.gone: set[int] = set()

    @property
    def held(self) -> int:
        """Slots of those that have some and have not gone."""
        return sum(self.taken(at) for at in range(len(self.guests)) if at not in self.gone)

    def taken(self, at: int) -> int:
        slot = self.guests[at].slot
        return slot.result() if slot.done() and slot.exception() is None else 0

    def end(self, at: int) -> None:
        """End a request, in whatever state it is."""
        if at < len(self.guests) and at not in self.gone:
            self.gone.add(at)
            if taken := self.taken(at):
                self.gate.leave(taken)
            elif self.guests[at].waiter is not None:
                self.guests[at].withdraw()

    def do(self, step: tuple) -> None:
        match step:
            case ("enter", client, weight):
                self.guests.append(Guest(self.gate, client, weight))
            case ("end", at):
                self.end(at)
            case ("pause",):
                self.gate.pause()
            case ("fail",):
                self.gate.fail(Draining())
            case ("open", capacity):
                self.gate.open(capacity)


async def play(steps: list[tuple], max_queue: int) -> None:
    crowd = Crowd(max_queue)
    capacity = 3
    for step in steps:
        crowd.do(step)
        if step == ("turn",):
            await asyncio.sleep(0)
        assert crowd.held == crowd.gate.running <= capacity
        assert 0 <= crowd.gate.waiting <= max_queue
    crowd.gate.open(capacity)
    while holders := [at for at in range(len(crowd.guests)) if at not in crowd.gone and crowd.taken(at)]:
        crowd.end(holders[0])
    await asyncio.sleep(0)
    for at in set(range(len(crowd.guests))) - crowd.gone:
        assert isinstance(crowd.guests[at].slot.exception(), FleetError)
    assert repr(crowd.gate) == "<Gate 'm' open running=0/3 waiting=0>"
    assert crowd.gate.enter(3) == 3


@settings(max_examples=200, deadline=None)
@given(STEPS, st.integers(0, 5))
def test_a_gate_keeps_its_account_whatever_happens(steps, max_queue):
    asyncio.run(play(steps, max_queue))
