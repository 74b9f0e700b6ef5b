"""Slots and the queue: bounded, fair among clients, and left at once."""

from __future__ import annotations

import asyncio

import pytest

from enginehouse.fleet.admission import Gate
from enginehouse.fleet.errors import Draining, QueueFull, QueueTimeout


def an_open_gate(capacity: int = 1, max_queue: int = 64, queue_timeout_s: float = 60.0) -> Gate:
    gate = Gate("m", max_queue=max_queue, queue_timeout_s=queue_timeout_s)
    gate.open(capacity)
    return gate


class Visitors:
    """Requests that enter one after another, and the order in which they got in."""

    def __init__(self, gate: Gate) -> None:
        self.gate = gate
        self.order: list[str] = []
        self.tasks: dict[str, asyncio.Task[int]] = {}

    async def send(self, name: str, weight: int = 1) -> None:
        """*name* is the client's letter and a number: `a1`."""

        async def visit() -> int:
            taken = await self.gate.enter(name[0], weight)
            self.order.append(name)
            return taken

        self.tasks[name] = asyncio.create_task(visit())
        await asyncio.sleep(0)

    async def settle(self) -> None:
        for _ in range(3):
            await asyncio.sleep(0)

    async def drain(self) -> list[str]:
        """Give slots back one by one until nobody waits; returns the order."""
        await self.settle()
        while self.gate.waiting:
            self.gate.leave(1)
            await self.settle()
        return self.order


async def test_free_slots_are_taken_without_waiting():
    gate = an_open_gate(capacity=2)
    await gate.enter("a", 1)
    await gate.enter("a", 1)
    assert (gate.running, gate.waiting) == (2, 0)


async def test_one_clients_requests_keep_their_order():
    visitors = Visitors(an_open_gate())
    for name in ("a1", "a2", "a3"):
        await visitors.send(name)
    assert await visitors.drain() == ["a1", "a2", "a3"]


async def test_clients_take_turns_so_a_flood_of_one_does_not_starve_another():
    visitors = Visitors(an_open_gate())
    for name in ("a0", "a1", "a2", "a3", "a4", "b1", "c1", "b2"):
        await visitors.send(name)
    assert await visitors.drain() == ["a0", "a1", "b1", "c1", "a2", "b2", "a3", "a4"]


async def test_a_heavy_request_waits_for_all_its_slots_and_is_not_passed_by_lighter_ones():
    gate = an_open_gate(capacity=2)
    visitors = Visitors(gate)
    await visitors.send("a1")
    await visitors.send("b1", weight=2)
    await visitors.send("c1")
    assert visitors.order == ["a1"]
    gate.leave(1)
    await visitors.settle()
    assert visitors.order == ["a1", "b1"]
    gate.leave(2)
    await visitors.settle()
    assert visitors.order == ["a1", "b1", "c1"]


@pytest.mark.parametrize("is_queued", [False, True])
async def test_a_request_for_more_than_there_is_takes_all_of_it(is_queued):
    gate = an_open_gate(capacity=2)
    visitors = Visitors(gate)
    if is_queued:
        await visitors.send("a1")
    await visitors.send("b1", weight=9)
    if is_queued:
        gate.leave(1)
        await visitors.settle()
    assert await visitors.tasks["b1"] == 2
    assert gate.running == 2


async def test_a_full_queue_refuses_and_says_when_to_come_again():
    visitors = Visitors(an_open_gate(max_queue=2))
    for name in ("a0", "a1", "a2", "a3"):
        await visitors.send(name)
    with pytest.raises(QueueFull, match="full") as caught:
        await visitors.tasks["a3"]
    assert caught.value.retry_after_s > 0
    assert await visitors.drain() == ["a0", "a1", "a2"]


async def test_in_a_full_queue_the_newest_of_the_client_that_fills_it_gives_way():
    visitors = Visitors(an_open_gate(max_queue=3))
    for name in ("a0", "a1", "a2", "a3", "b1"):
        await visitors.send(name)
    with pytest.raises(QueueFull):
        await visitors.tasks["a3"]
    assert await visitors.drain() == ["a0", "a1", "b1", "a2"]


async def test_a_client_cannot_push_out_one_that_waits_with_as_few():
    visitors = Visitors(an_open_gate(max_queue=2))
    for name in ("a0", "a1", "b1", "c1"):
        await visitors.send(name)
    with pytest.raises(QueueFull):
        await visitors.tasks["c1"]
    assert await visitors.drain() == ["a0", "a1", "b1"]


async def test_waiting_past_the_deadline_is_refused_and_frees_the_place():
    gate = an_open_gate(queue_timeout_s=0.001)
    await gate.enter("a", 1)
    with pytest.raises(QueueTimeout) as caught:
        await gate.enter("b", 1)
    assert caught.value.retry_after_s > 0
    assert gate.waiting == 0


async def test_a_heavy_request_that_expires_lets_those_behind_it_in():
    gate = an_open_gate(capacity=2, queue_timeout_s=0.001)
    await gate.enter("a", 1)
    heavy = asyncio.create_task(gate.enter("b", 2))
    await asyncio.sleep(0)
    gate.queue_timeout_s = 60.0
    light = asyncio.create_task(gate.enter("c", 1))
    with pytest.raises(QueueTimeout):
        await heavy
    assert await light == 1


async def test_a_client_that_leaves_the_queue_frees_its_place_at_once():
    visitors = Visitors(an_open_gate(max_queue=1))
    await visitors.send("a0")
    await visitors.send("a1")
    visitors.tasks["a1"].cancel()
    await visitors.settle()
    assert visitors.gate.waiting == 0
    await visitors.send("b1")
    assert await visitors.drain() == ["a0", "b1"]


async def test_a_heavy_request_that_leaves_lets_those_behind_it_in():
    visitors = Visitors(an_open_gate(capacity=2))
    await visitors.send("a0")
    await visitors.send("b1", weight=2)
    await visitors.send("c1")
    visitors.tasks["b1"].cancel()
    await visitors.settle()
    assert visitors.order == ["a0", "c1"]


@pytest.mark.parametrize("is_cancelled_first", [True, False])
async def test_no_slot_is_lost_when_it_comes_in_the_turn_of_the_cancellation(is_cancelled_first):
    gate = an_open_gate()
    visitors = Visitors(gate)
    await visitors.send("a0")
    await visitors.send("a1")
    if is_cancelled_first:
        visitors.tasks["a1"].cancel()
        gate.leave(1)
    else:
        gate.leave(1)
        visitors.tasks["a1"].cancel()
    await visitors.settle()
    assert repr(gate) == "<Gate 'm' open running=0/1 waiting=0>"
    assert await gate.enter("b", 1) == 1


async def test_a_closed_gate_lets_nobody_in_and_runs_no_deadline_until_it_opens():
    gate = Gate("m", max_queue=4, queue_timeout_s=0.001)
    visitors = Visitors(gate)
    await visitors.send("a1")
    await asyncio.sleep(0.01)  # many times the deadline; a timer that ran would have refused it
    assert not visitors.tasks["a1"].done()
    gate.open(1)
    assert await visitors.drain() == ["a1"]


async def test_deadlines_run_while_a_gate_is_paused():
    gate = an_open_gate(queue_timeout_s=0.001)
    gate.pause()
    with pytest.raises(QueueTimeout):
        await gate.enter("a", 1)


async def test_a_paused_gate_lets_the_queue_in_when_it_opens_again():
    gate = an_open_gate()
    gate.pause()
    visitors = Visitors(gate)
    await visitors.send("a1")
    assert visitors.order == []
    gate.open(1)
    assert await visitors.drain() == ["a1"]


async def test_failing_refuses_all_that_wait_and_none_that_run():
    gate = an_open_gate()
    visitors = Visitors(gate)
    for name in ("a0", "a1", "b1"):
        await visitors.send(name)
    gate.pause()
    gate.fail(Draining())
    for name in ("a1", "b1"):
        with pytest.raises(Draining):
            await visitors.tasks[name]
    assert (gate.running, gate.waiting) == (1, 0)


async def test_idle_is_when_nothing_runs():
    gate = an_open_gate()
    await gate.wait_idle()
    await gate.enter("a", 1)
    idle = asyncio.create_task(gate.wait_idle())
    await asyncio.sleep(0)
    assert not idle.done()
    gate.leave(1)
    await idle
