"""How long an instance stays: until it is unused for a while, unloaded, taken out; and what its owner may order."""

from __future__ import annotations

import asyncio

import pytest
from tests.unit.conftest import Guest

from enginehouse.fleet import Draining, InstanceUnavailable, ModelLoading, RestartPolicy
from enginehouse_plugin.errors import EngineMissing

NEVER = RestartPolicy(cap_s=60)


async def test_an_instance_unused_for_its_time_gives_its_memory_back_and_loads_again_when_asked(house):
    house.build(house.config(keep_alive_s=0.01)).start()
    await house.until("ready")
    await house.until("unloaded")
    assert house.hosted.reason == "unused for 0.01 s"
    assert house.script.instances[0].unloads == 1
    assert house.fleet.snapshot().state == "ready", "it serves whoever asks"
    guest = Guest(house.hosted.gate)
    house.hosted.wake()
    assert await guest.slot == 1
    assert len(house.script.instances) == 2
    assert house.hosted.restarts == 0
    house.hosted.gate.leave(1)


async def test_what_runs_keeps_an_instance_however_long_it_takes(house):
    house.build(house.config(keep_alive_s=0.01)).start()
    await house.until("ready")
    assert await Guest(house.hosted.gate).slot == 1
    await asyncio.sleep(0.05)
    assert house.hosted.state == "ready"
    house.hosted.gate.leave(1)
    await house.until("unloaded")


async def test_a_pinned_instance_stays_until_it_is_pinned_no_more(house):
    house.build(house.config(keep_alive_s=0.01, pinned=True)).start()
    await house.until("ready")
    await asyncio.sleep(0.05)
    assert house.hosted.state == "ready"
    assert house.hosted.snapshot().is_pinned
    house.hosted.pin(is_pinned=False)
    await house.until("unloaded")


async def test_unloading_lets_what_runs_finish_and_those_that_come_meanwhile_have_it_loaded_again(house):
    house.build().start()
    await house.until("ready")
    gate = house.hosted.gate
    assert await Guest(gate).slot == 1
    unloading = asyncio.create_task(house.hosted.unload(60))
    await house.until("draining")
    late = Guest(gate, "late")
    await asyncio.sleep(0.01)
    assert house.script.instances[0].unloads == 0
    assert not late.slot.done()
    gate.leave(1)
    await unloading
    assert await late.slot == 1
    assert [instance.unloads for instance in house.script.instances] == [1, 0]
    gate.leave(1)


async def test_unloading_ends_at_its_deadline_whatever_runs(house):
    house.build().start()
    await house.until("ready")
    assert await Guest(house.hosted.gate).slot == 1
    await house.hosted.unload(0.001)
    await house.until("unloaded")
    assert house.script.instances[0].unloads == 1
    house.hosted.gate.leave(1)


async def test_unloading_cancels_a_load_and_refuses_those_that_wait_for_it(house, eventually):
    house.script.may_load.clear()
    house.build().start()
    waiting = Guest(house.hosted.gate)
    await eventually(lambda: house.script.placements)
    await house.hosted.unload()
    assert house.script.cancelled_loads == 1
    assert house.hosted.state == "unloaded"
    with pytest.raises(InstanceUnavailable, match="its owner unloaded it"):
        await waiting.slot


async def test_an_instance_that_is_taken_out_refuses_all_until_it_is_loaded(house):
    house.build().start()
    await house.until("ready")
    gate = house.hosted.gate
    assert await Guest(gate, weight=2).slot == 2
    waiting = Guest(gate, "b")
    draining = asyncio.create_task(house.hosted.drain())
    with pytest.raises(InstanceUnavailable, match="taken it out"):
        await waiting.slot
    assert not draining.done(), "what runs may finish"
    gate.leave(2)
    await draining
    await house.until("unloaded")
    assert isinstance(house.hosted.refusal(), InstanceUnavailable)
    house.hosted.wake()
    assert house.hosted.state == "unloaded"
    assert house.hosted.snapshot().is_held
    house.hosted.load()
    await house.until("ready")
    assert house.hosted.refusal() is None


async def test_loading_one_that_is_about_to_leave_lets_it_stay(house):
    house.build().start()
    await house.until("ready")
    gate = house.hosted.gate
    assert await Guest(gate).slot == 1
    unloading = asyncio.create_task(house.hosted.unload(60))
    await house.until("draining")
    house.hosted.load()
    assert house.hosted.state == "ready"
    assert await Guest(gate).slot == 1
    assert house.script.instances[0].unloads == 0
    gate.leave(2)
    await asyncio.sleep(0)
    assert house.hosted.state == "ready"
    unloading.cancel()


async def test_a_failure_is_forgiven_by_hand(house):
    house.script.load_errors = [EngineMissing("vroom", fix="pip install vroom")]
    house.build(policy=NEVER).start()
    await house.until("failed")
    await asyncio.sleep(0)
    assert house.hosted.refusal() is not None
    house.hosted.forgive()
    assert house.hosted.refusal() is None
    house.hosted.load()
    await house.until("ready")


async def test_a_crash_loop_opens_a_breaker_that_loading_closes(house):
    house.build(policy=RestartPolicy(first_s=0.001, cap_s=60, factor=1.0, max_crashes=3)).start()
    for _ in range(3):
        await house.until("ready")
        house.script.instances[-1].crash()
        await house.until("failed")
    await asyncio.sleep(0.01)
    assert house.hosted.state == "failed"
    refusal = house.hosted.refusal()
    assert isinstance(refusal, InstanceUnavailable)
    assert 50 < refusal.retry_after_s <= 60
    assert "killed" in refusal.message
    house.hosted.load()
    await house.until("ready")
    assert len(house.script.instances) == 4


async def test_a_request_that_waits_too_long_for_a_load_is_told_how_far_it_is(house):
    house.script.may_load.clear()
    house.build(house.config(load_timeout_s=0.05)).start()
    waiting = Guest(house.hosted.gate)
    with pytest.raises(ModelLoading) as refusal:
        await waiting.slot
    assert "was not loaded within 0.05 s: loading (weights (50%))" in refusal.value.message
    assert refusal.value.retry_after_s >= 1
    house.script.may_load.set()
    await house.until("ready")


async def test_closing_ends_an_instance_that_is_about_to_leave(house):
    fleet = house.build()
    fleet.start()
    await house.until("ready")
    assert await Guest(house.hosted.gate).slot == 1
    unloading = asyncio.create_task(house.hosted.unload(60))
    await house.until("draining")
    waiting = Guest(house.hosted.gate, "b")
    await fleet.close()
    await unloading
    with pytest.raises(Draining):
        await waiting.slot
    assert house.script.instances[0].unloads == 1


async def test_replicas_that_gave_their_memory_back_come_with_the_first_that_is_asked_for(house):
    fleet = house.build(house.config(keep_alive_s=0.05, replicas=2))
    fleet.start()
    first, second = fleet.instances()
    await house.until("ready", second)
    await house.until("unloaded", first)
    await house.until("unloaded", second)
    guest = Guest(first.gate)
    first.wake()
    assert await guest.slot == 1
    await house.until("ready", second)
    first.gate.leave(1)
