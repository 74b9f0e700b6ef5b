"""An instance's way: loaded once, watched, started again with backoff, ended with nothing left behind.

The engine is scripted (see conftest): these are faults that a real one does not show on demand.
"""

from __future__ import annotations

import asyncio

import pytest
from tests.unit.conftest import Guest

from enginehouse.fleet import Draining, InstanceUnavailable, RestartPolicy
from enginehouse_plugin import LoadProgress
from enginehouse_plugin.errors import EngineDied, EngineFailure, EngineMissing, LoadFailed


@pytest.mark.parametrize("kinds", [("cpu",), ()])
async def test_a_fetch_that_breaks_fails_the_load_and_leaves_nobody_waiting(house, kinds):
    async def fetch(backend, source, on_progress):
        raise OSError("no space left")

    house.build(fetch=fetch, needs_weights=True, kinds=kinds).start()
    await house.until("failed")
    assert "no space left" in house.hosted.reason
    assert "broke" not in house.hosted.reason, "it is no fault of the backend"


async def test_models_load_at_start_in_the_background(house):
    house.script.may_load.clear()
    fleet = house.build()
    fleet.start()
    assert fleet.snapshot().state != "ready"
    await house.until("loading")
    house.script.may_load.set()
    await house.until("ready")
    assert fleet.snapshot().state == "ready"
    assert house.changes == [("unloaded", "loading"), ("loading", "ready")]


async def test_a_model_for_the_first_request_stays_unloaded_until_then(house):
    fleet = house.build(house.config(load="first_request"))
    fleet.start()
    assert house.hosted.state == "unloaded"
    assert fleet.snapshot().state == "ready"
    assert house.hosted.refusal() is None
    assert house.hosted.state == "unloaded", "asking changes nothing"
    house.hosted.wake()
    await house.until("ready")


async def test_first_requests_share_one_load(house):
    house.build(house.config(load="first_request"))
    house.script.may_load.clear()
    hosted = house.hosted
    waiting = []
    for _ in range(5):
        hosted.wake()
        waiting.append(Guest(hosted.gate))
    await asyncio.sleep(0)
    house.script.may_load.set()
    await asyncio.gather(*(guest.slot for guest in waiting[:2]))
    assert len(house.script.placements) == 1
    for guest in waiting[2:]:
        guest.withdraw()


async def test_a_cancelled_request_does_not_cancel_the_load(house):
    house.build(house.config(load="first_request"))
    house.script.may_load.clear()
    house.hosted.wake()
    request = Guest(house.hosted.gate)
    await asyncio.sleep(0)
    request.withdraw()
    house.script.may_load.set()
    await house.until("ready")
    assert house.script.cancelled_loads == 0


async def test_a_backend_gets_the_placement_with_the_resolved_path(house):
    async def fetch(backend, source, on_progress):
        on_progress(LoadProgress(stage="downloading", fraction=0.1))
        return f"/weights/{source}"

    house.build(house.config(context_tokens=128), fetch=fetch, needs_weights=True).start()
    await house.until("ready")
    placement = house.script.placements[0]
    assert (placement.source, placement.path, placement.context_tokens) == ("anywhere", "/weights/anywhere", 128)


async def test_a_backend_that_needs_no_weights_gets_no_path(house):
    house.build().start()
    await house.until("ready")
    assert house.script.placements[0].path is None


async def test_progress_is_kept_and_logged_by_stage_and_tenth(house, logs, eventually):
    async def fetch(backend, source, on_progress):
        for percent in range(25):
            on_progress(LoadProgress(stage="downloading", fraction=percent / 100))
        return source

    house.script.may_load.clear()
    house.build(fetch=fetch, needs_weights=True).start()
    await eventually(lambda: house.script.placements)
    assert house.hosted.progress == LoadProgress(stage="weights", fraction=0.5)
    assert house.fleet.snapshot().models["m"].loading == LoadProgress(stage="weights", fraction=0.5)
    lines = [
        (line["stage"], line["fraction"]) for line in logs if line["event"] == "instance loading" and "stage" in line
    ]
    assert lines == [("downloading", 0.0), ("downloading", 0.1), ("downloading", 0.2), ("weights", 0.5)]
    house.script.may_load.set()
    await house.until("ready")
    assert house.fleet.snapshot().models["m"].loading is None


async def test_an_instance_that_dies_is_unloaded_and_started_again(house):
    house.build().start()
    await house.until("ready")
    first = house.hosted.instance
    house.script.instances[0].crash()
    await house.until("failed")
    assert "killed" in house.hosted.reason
    assert "bye" in house.hosted.reason
    assert house.script.instances[0].unloads == 1
    await house.until("ready")
    assert house.hosted.instance is not first
    assert house.hosted.restarts == 1


async def test_requests_wait_for_the_restart(house):
    house.build().start()
    await house.until("ready")
    house.script.may_load.clear()
    house.script.instances[0].crash()
    await house.until("failed")
    house.hosted.wake()
    request = Guest(house.hosted.gate).slot
    house.script.may_load.set()
    assert await request == 1


async def test_a_request_that_comes_while_an_instance_loads_again_has_no_deadline_in_the_queue(house, eventually):
    house.build(house.config(queue_timeout_s=0.001)).start()
    await house.until("ready")
    house.script.may_load.clear()
    house.script.instances[0].crash()
    await house.until("failed")
    await eventually(lambda: len(house.script.placements) == 2)
    request = Guest(house.hosted.gate).slot
    await asyncio.sleep(0.01)  # many times the deadline; a timer that ran would have refused it
    assert not request.done()
    house.script.may_load.set()
    assert await request == 1


async def test_a_load_that_succeeds_forgets_those_that_failed(house):
    house.script.load_errors = [LoadFailed("1"), LoadFailed("2")]
    house.build().start()
    await house.until("ready")
    house.script.load_errors = [LoadFailed("3"), LoadFailed("4")]
    house.script.instances[0].crash()
    await house.until("failed")
    await house.until("ready")
    assert len(house.script.placements) == 6


async def test_an_instance_that_crashes_over_and_over_is_restarted_each_time(house):
    house.build(policy=RestartPolicy(first_s=0.001, cap_s=0.002, max_crashes=20)).start()
    for crash in range(10):
        await house.until("ready")
        assert house.hosted.restarts == crash
        house.script.instances[-1].crash()
        await house.until("failed")
    await house.until("ready")


async def test_a_failed_load_is_tried_again_while_it_may_succeed(house):
    house.script.load_errors = [LoadFailed("out of luck"), LoadFailed("again")]
    house.build().start()
    await house.until("failed")
    assert house.hosted.reason == "out of luck"
    await house.until("ready")
    assert len(house.script.placements) == 3


async def test_a_load_that_keeps_failing_is_given_up(house):
    house.script.load_errors = [LoadFailed("out of luck") for _ in range(9)]
    house.build(policy=RestartPolicy(first_s=0.001, cap_s=60, max_failures=3)).start()
    request = Guest(house.hosted.gate).slot
    with pytest.raises(InstanceUnavailable, match="out of luck"):
        await request
    assert len(house.script.placements) == 3
    refusal = house.hosted.refusal()
    assert isinstance(refusal, InstanceUnavailable)
    assert 0 < refusal.retry_after_s <= 60


async def test_a_load_that_cannot_succeed_is_not_tried_again_by_itself(house):
    house.script.load_errors = [EngineMissing("vroom", fix="pip install vroom")]
    house.build(policy=RestartPolicy(cap_s=60)).start()
    await house.until("failed")
    assert "pip install vroom" in house.hosted.reason
    refusal = house.hosted.refusal()
    assert isinstance(refusal, InstanceUnavailable)
    assert "pip install vroom" in refusal.message
    assert len(house.script.placements) == 1


async def test_a_request_that_comes_later_starts_one_more_try(house):
    house.script.load_errors = [EngineMissing("vroom", fix="pip install vroom")]
    house.build(policy=RestartPolicy(cap_s=0.0)).start()
    await house.until("failed")
    await asyncio.sleep(0)
    assert house.hosted.refusal() is None
    house.hosted.wake()
    await house.until("ready")


async def test_a_backend_that_breaks_while_loading_is_reported_and_not_retried(house, logs):
    house.script.load_errors = [KeyError("oops")]
    house.build(policy=RestartPolicy(cap_s=60)).start()
    await house.until("failed")
    assert "KeyError" in house.hosted.reason
    assert len(house.script.placements) == 1
    assert any(line["event"] == "backend broke while loading" for line in logs)


async def test_a_backend_that_tells_no_capabilities_is_refused(house):
    house.script.capabilities = None
    house.build(policy=RestartPolicy(cap_s=60)).start()
    await house.until("failed")
    assert "capabilities" in house.hosted.reason
    assert house.script.instances[0].unloads == 1


async def test_an_instance_in_doubt_takes_no_request_until_it_has_answered(house):
    house.build().start()
    await house.until("ready")
    assert house.hosted.report(EngineDied("gone"))
    assert not house.hosted.gate.is_open
    assert await Guest(house.hosted.gate).slot == 1
    assert house.changes[-1] == ("loading", "ready")


async def test_an_instance_in_doubt_that_does_not_answer_is_started_again(house):
    house.build().start()
    await house.until("ready")
    house.script.instances[0].is_answering = False
    assert house.hosted.report(EngineDied("gone"))
    await house.until("failed")
    assert house.hosted.reason == "no answer"
    await house.until("ready")
    assert house.script.instances[0].unloads == 1


async def test_a_check_that_breaks_counts_as_no_answer(house):
    house.build().start()
    await house.until("ready")
    house.script.instances[0].is_answering = False
    house.script.check_error = RuntimeError("oops")
    house.hosted.report(EngineDied("gone"))
    await house.until("failed")
    assert "RuntimeError" in house.hosted.reason


async def test_a_failure_of_a_living_engine_raises_no_doubt(house):
    house.build().start()
    await house.until("ready")
    assert not house.hosted.report(EngineFailure("bad weather"))
    assert house.hosted.gate.is_open


async def test_closing_unloads_and_ends_the_task(house):
    fleet = house.build()
    fleet.start()
    await house.until("ready")
    await fleet.close()
    assert house.script.instances[0].unloads == 1
    assert house.hosted.state == "closed"
    assert not [task for task in asyncio.all_tasks() if task.get_name().startswith("instance")]
    await fleet.close()


async def test_closing_cancels_a_load(house, eventually):
    house.script.may_load.clear()
    fleet = house.build()
    fleet.start()
    await house.until("loading")
    await eventually(lambda: house.script.placements)
    await fleet.close(drain_s=60)
    assert house.script.cancelled_loads == 1
    assert house.hosted.state == "closed"


async def test_draining_refuses_those_that_wait_and_lets_those_that_run_finish(house):
    house.script.capabilities = house.script.capabilities.__class__(context_tokens=1, max_concurrent_requests=1)
    fleet = house.build()
    fleet.start()
    await house.until("ready")
    gate = house.hosted.gate
    await Guest(gate).slot
    waiting = Guest(gate, "b", 1).slot
    await asyncio.sleep(0)
    closing = asyncio.create_task(fleet.close(drain_s=60))
    await house.until("draining")
    with pytest.raises(Draining):
        await waiting
    assert isinstance(house.hosted.refusal(), Draining)
    assert fleet.snapshot().state != "ready"
    assert house.script.instances[0].unloads == 0
    gate.leave(1)
    await closing
    assert house.script.instances[0].unloads == 1


async def test_draining_ends_at_its_deadline(house):
    fleet = house.build()
    fleet.start()
    await house.until("ready")
    await Guest(house.hosted.gate).slot
    await fleet.close(drain_s=0.001)
    assert house.hosted.state == "closed"


@pytest.mark.parametrize("error", [EngineDied("gone"), RuntimeError("oops")])
async def test_a_backend_that_fails_to_drain_is_unloaded_and_cuts_no_other_short(house, error):
    async def fails(timeout_s):
        raise error

    fleet = house.build(house.config("m", "other"))
    fleet.start()
    first, second = fleet.instances()
    await house.until("ready", first)
    await house.until("ready", second)
    house.script.instances[0].drain = fails
    second.gate.enter(1)
    closing = asyncio.create_task(fleet.close(drain_s=60))
    await house.until("closed", first)
    assert (second.state, closing.done()) == ("draining", False)
    second.gate.leave(1)
    await closing
    assert [instance.unloads for instance in house.script.instances] == [1, 1]


async def test_an_instance_that_dies_while_draining_is_not_started_again(house, eventually):
    fleet = house.build()
    fleet.start()
    await house.until("ready")
    await Guest(house.hosted.gate).slot
    closing = asyncio.create_task(fleet.close(drain_s=60))
    await house.until("draining")
    house.script.instances[0].crash()
    await eventually(lambda: house.script.instances[0].unloads)
    for _ in range(3):
        await asyncio.sleep(0)
    assert house.hosted.state == "draining"
    house.hosted.gate.leave(1)
    await closing
    assert len(house.script.placements) == 1


async def test_a_model_without_a_place_here_is_reported(house, logs):
    fleet = house.build(kinds=("cuda",))
    fleet.start()
    assert fleet.snapshot().models["m"].state == "unplaced"
    assert any("it needs cuda; this host has cpu" in line.get("reasons", "") for line in logs)
