"""Slots and the queue: bounded, fair among clients, and left at once."""

from __future__ import annotations

import asyncio

import pytest
from tests.unit.conftest import Guest

from enginehouse.fleet.errors import Draining, QueueFull, QueueTimeout
from enginehouse.fleet.gate import Gate


def an_open_gate(capacity: int = 1, max_queue: int = 64, queue_timeout_s: float = 60.0) -> Gate:
    gate = Gate("m", max_queue=max_queue, queue_timeout_s=queue_timeout_s)
    gate.open(capacity)
    return gate


class Visitors:
    """Requests that enter one after another, and the order in which they got in."""

    def __init__(self, gate: Gate) -> None:
        self.gate = gate
        self.order: list[str] = []
        self.guests: dict[str, Guest] = {}

    def send(self, name: str, weight: int = 1) -> None:
        """*name* is the client's letter and a number: `a1`."""
        order = self.order

        class Visitor(Guest):
            def admitted(self, weight: int) -> None:
                super().admitted(weight)
                order.append(name)

        guest = self.guests[name] = Visitor(self.gate, name[0], weight)
        if guest.slot.done() and guest.slot.exception() is None:
            order.append(name)

    def drain(self) -> list[str]:
        """Give slots back one by one until nobody waits; returns the order."""
        while self.gate.waiting:
            self.gate.leave(1)
        return self.order


async def test_free_slots_are_taken_without_waiting():
    gate = an_open_gate(capacity=2)
    await Guest(gate, "a", 1).slot
    await Guest(gate, "a", 1).slot
    assert (gate.running, gate.waiting) == (2, 0)


async def test_one_clients_requests_keep_their_order():
    visitors = Visitors(an_open_gate())
    for name in ("a1", "a2", "a3"):
        visitors.send(name)
    assert visitors.drain() == ["a1", "a2", "a3"]


async def test_clients_take_turns_so_a_flood_of_one_does_not_starve_another():
    visitors = Visitors(an_open_gate())
    for name in ("a0", "a1", "a2", "a3", "a4", "b1", "c1", "b2"):
        visitors.send(name)
    assert visitors.drain() == ["a0", "a1", "b1", "c1", "a2", "b2", "a3", "a4"]


async def test_a_heavy_request_waits_for_all_its_slots_and_is_not_passed_by_lighter_ones():
    gate = an_open_gate(capacity=2)
    visitors = Visitors(gate)
    visitors.send("a1")
    visitors.send("b1", weight=2)
    visitors.send("c1")
    assert visitors.order == ["a1"]
    gate.leave(1)
    assert visitors.order == ["a1", "b1"]
    gate.leave(2)
    assert visitors.order == ["a1", "b1", "c1"]


@pytest.mark.parametrize("is_queued", [False, True])
async def test_a_request_for_more_than_there_is_takes_all_of_it(is_queued):
    gate = an_open_gate(capacity=2)
    visitors = Visitors(gate)
    if is_queued:
        visitors.send("a1")
    visitors.send("b1", weight=9)
    if is_queued:
        gate.leave(1)
        assert await visitors.guests["b1"].slot == 2
    assert gate.running == 2


async def test_a_full_queue_refuses_and_says_when_to_come_again():
    visitors = Visitors(an_open_gate(max_queue=2))
    for name in ("a0", "a1", "a2", "a3"):
        visitors.send(name)
    with pytest.raises(QueueFull, match="full") as caught:
        await visitors.guests["a3"].slot
    assert caught.value.retry_after_s > 0
    assert visitors.drain() == ["a0", "a1", "a2"]


async def test_in_a_full_queue_the_newest_of_the_client_that_fills_it_gives_way():
    visitors = Visitors(an_open_gate(max_queue=3))
    for name in ("a0", "a1", "a2", "a3", "b1"):
        visitors.send(name)
    with pytest.raises(QueueFull):
        await visitors.guests["a3"].slot
    assert visitors.drain() == ["a0", "a1", "b1", "a2"]


async def test_a_client_cannot_push_out_one_that_waits_with_as_few():
    visitors = Visitors(an_open_gate(max_queue=2))
    for name in ("a0", "a1", "b1", "c1"):
        visitors.send(name)
    with pytest.raises(QueueFull):
        await visitors.guests["c1"].slot
    assert visitors.drain() == ["a0", "a1", "b1"]


async def test_waiting_past_the_deadline_is_refused_and_frees_the_place():
    gate = an_open_gate(queue_timeout_s=0.001)
    await Guest(gate, "a", 1).slot
    with pytest.raises(QueueTimeout) as caught:
        await Guest(gate, "b", 1).slot
    assert caught.value.retry_after_s > 0
    assert gate.waiting == 0


async def test_a_heavy_request_that_expires_lets_those_behind_it_in():
    gate = an_open_gate(capacity=2, queue_timeout_s=0.001)
    await Guest(gate, "a", 1).slot
    heavy = Guest(gate, "b", 2)
    gate.queue_timeout_s = 60.0
    light = Guest(gate, "c", 1)
    with pytest.raises(QueueTimeout):
        await heavy.slot
    assert await light.slot == 1


async def test_a_client_that_leaves_the_queue_frees_its_place_at_once():
    visitors = Visitors(an_open_gate(max_queue=1))
    visitors.send("a0")
    visitors.send("a1")
    visitors.guests["a1"].withdraw()
    assert visitors.gate.waiting == 0
    visitors.send("b1")
    assert visitors.drain() == ["a0", "b1"]


async def test_a_heavy_request_that_leaves_lets_those_behind_it_in():
    visitors = Visitors(an_open_gate(capacity=2))
    visitors.send("a0")
    visitors.send("b1", weight=2)
    visitors.send("c1")
    visitors.guests["b1"].withdraw()
    assert visitors.order == ["a0", "c1"]


async def test_whoever_gives_way_hears_it_after_the_call_and_not_when_it_has_left_by_then():
    visitors = Visitors(an_open_gate(max_queue=3))
    for name in ("a0", "a1", "a2", "a3", "b1"):
        visitors.send(name)
    assert not visitors.guests["a3"].slot.done()
    visitors.guests["a3"].withdraw()
    await asyncio.sleep(0)
    assert not visitors.guests["a3"].slot.done()
    assert visitors.drain() == ["a0", "a1", "b1", "a2"]


async def test_an_entrant_that_leaves_as_it_is_told_lets_the_next_in_however_long_the_queue():
    gate = an_open_gate(max_queue=5000)
    gate.enter(1)
    told = []

    class Fleeting:
        def admitted(self, weight: int) -> None:
            told.append(weight)
            gate.leave(weight)

    for _ in range(5000):
        gate.queue("a", 1, Fleeting())
    gate.leave(1)
    assert len(told) == 5000
    assert repr(gate) == "<Gate 'm' open running=0/1 waiting=0>"


async def test_an_entrant_that_comes_again_as_it_is_told_waits_behind_the_others():
    visitors = Visitors(an_open_gate())
    for name in ("a0", "a1", "b1"):
        visitors.send(name)
    first = visitors.guests["a1"]

    def again(weight: int) -> None:
        Guest.admitted(first, weight)
        visitors.order.append("a1")
        visitors.send("a2")

    first.admitted = again
    assert visitors.drain() == ["a0", "a1", "b1", "a2"]


async def test_a_closed_gate_lets_nobody_in_and_runs_no_deadline_until_it_opens():
    gate = Gate("m", max_queue=4, queue_timeout_s=0.001)
    visitors = Visitors(gate)
    visitors.send("a1")
    await asyncio.sleep(0.01)  # many times the deadline; a timer that ran would have refused it
    assert not visitors.guests["a1"].slot.done()
    gate.open(1)
    assert visitors.drain() == ["a1"]


async def test_deadlines_run_while_a_gate_is_paused():
    gate = an_open_gate(queue_timeout_s=0.001)
    gate.pause()
    with pytest.raises(QueueTimeout):
        await Guest(gate, "a", 1).slot


async def test_a_paused_gate_lets_the_queue_in_when_it_opens_again():
    gate = an_open_gate()
    gate.pause()
    visitors = Visitors(gate)
    visitors.send("a1")
    assert visitors.order == []
    gate.open(1)
    assert visitors.drain() == ["a1"]


async def test_failing_refuses_all_that_wait_and_none_that_run():
    gate = an_open_gate()
    visitors = Visitors(gate)
    for name in ("a0", "a1", "b1"):
        visitors.send(name)
    gate.pause()
    gate.fail(Draining())
    for name in ("a1", "b1"):
        with pytest.raises(Draining):
            await visitors.guests[name].slot
    assert (gate.running, gate.waiting) == (1, 0)


async def test_idle_is_when_nothing_runs():
    gate = an_open_gate()
    await gate.wait_idle()
    await Guest(gate, "a", 1).slot
    idle = asyncio.create_task(gate.wait_idle())
    await asyncio.sleep(0)
    assert not idle.done()
    gate.leave(1)
    await idle
