"""Instances load in turns and within their budget; who is idle gives way, who is in use has its turn first."""

from __future__ import annotations

import asyncio

import msgspec
import pytest
from tests.unit.conftest import CPU, Guest, SleepyInstance

from enginehouse.config import BudgetConfig
from enginehouse.fleet import InstanceUnavailable, ModelLoading, foresee_load
from enginehouse.fleet.claims import Weight
from enginehouse_plugin import Fit

GIB = 1 << 30
QUICK = {"swaps_per_minute": 600.0, "turn_s": 0.05}


async def no_weights(*_) -> None:
    """At once: threads, in which weights are looked for, end in any order."""


@pytest.fixture
def town(house, eventually):
    """`town(a=3, b=3)`: models of so many GiB, of which none is loaded, on a processor with 8 GiB."""

    def build(budget: dict | None = None, models: dict | None = None, survey=None, **gib: float):
        async def fit(placement, devices):
            return Fit(footprint_bytes={"cpu": int(gib[placement.model] * GIB)})

        house.script.fit = fit
        config = house.config(*gib, load="first_request")
        changed = {
            name: msgspec.structs.replace(model, **(models or {}).get(name, {}))
            for name, model in config.models.items()
        }
        settings = BudgetConfig(reserve={"cpu": "0"}, **{**QUICK, **(budget or {})})
        config = msgspec.structs.replace(config, models=changed, budget=settings)
        fleet = house.build(config, survey=survey, fetch=no_weights)
        return {hosted.model: hosted for hosted in fleet.instances()}

    return build


def ask(hosted, client: str = "a") -> Guest:
    guest = Guest(hosted.gate, client)
    hosted.wake()
    return guest


async def use(hosted) -> None:
    """Have one request served."""
    assert await asyncio.wait_for(ask(hosted).slot, 10) == 1
    hosted.gate.leave(1)


def budget(house):
    (shown,) = house.fleet.snapshot().budgets
    return shown


async def test_what_is_loaded_is_held_until_it_is_gone(house, town):
    one = town(a=3, b=3)
    await use(one["a"])
    assert budget(house).reserved_bytes == 3 * GIB
    assert one["a"].snapshot().memory.estimated == {"cpu": 3 * GIB}
    await use(one["b"])
    assert (budget(house).reserved_bytes, budget(house).free_bytes) == (6 * GIB, 2 * GIB)
    await one["a"].unload()
    assert budget(house).reserved_bytes == 3 * GIB
    house.script.instances[1].crash()
    await house.until("failed", one["b"])
    await house.until("ready", one["b"])
    assert budget(house).reserved_bytes == 3 * GIB


async def test_the_idle_one_of_least_value_gives_way(house, town):
    one = town(a=3, b=3, c=3)
    for _ in range(5):
        await use(one["a"])
    await use(one["b"])
    await use(one["c"])
    assert {name: hosted.state for name, hosted in one.items()} == {"a": "ready", "b": "unloaded", "c": "ready"}
    assert one["b"].reason == "gives way to c#0"
    assert budget(house).reserved_bytes == 6 * GIB


async def test_a_pinned_one_never_gives_way(house, town):
    one = town(models={"a": {"pinned": True}}, a=3, b=3, c=3)
    await use(one["a"])
    for _ in range(5):
        await use(one["b"])
    await use(one["c"])
    assert {name: hosted.state for name, hosted in one.items()} == {"a": "ready", "b": "unloaded", "c": "ready"}


async def test_one_in_use_has_its_turn_and_finishes_what_runs(house, town, eventually):
    one = town(a=5, b=5)
    assert await ask(one["a"]).slot == 1
    waiting = ask(one["b"])
    await house.until("draining", one["a"])
    late = ask(one["a"], "late")
    await asyncio.sleep(0.05)
    assert house.script.instances[0].unloads == 0, "what runs is never cut"
    assert not waiting.slot.done()
    one["a"].gate.leave(1)
    assert await waiting.slot == 1
    assert not late.slot.done()
    one["b"].gate.leave(1)
    assert await late.slot == 1
    assert house.fleet.keeper.swaps == 2
    one["a"].gate.leave(1)


async def test_nobody_gives_way_before_its_turn_is_over(house, town, eventually):
    one = town({"turn_s": 60.0}, a=5, b=5)
    assert await ask(one["a"]).slot == 1
    waiting = ask(one["b"])
    await eventually(lambda: "keeps its place" in one["b"].snapshot().doing)
    assert "waits for room: 2.00 GiB on cpu more; a#0 is in use, and keeps its place for" in one["b"].snapshot().doing
    assert one["a"].state == "ready"
    one["a"].gate.leave(1)
    assert await waiting.slot == 1, "who is idle gives way at once"
    one["b"].gate.leave(1)


async def test_swaps_keep_their_distance(house, town, eventually):
    one = town({"swaps_per_minute": 60.0}, a=5, b=5)
    loop = asyncio.get_running_loop()
    await use(one["a"])
    await use(one["b"])
    swapped_at = loop.time()
    waiting = ask(one["a"])
    await eventually(lambda: "the next swap is due in" in one["a"].snapshot().doing)
    assert await waiting.slot == 1
    assert loop.time() - swapped_at > 0.9
    one["a"].gate.leave(1)


async def test_who_would_have_left_stays_when_nobody_waits_any_more(house, town):
    one = town(a=5, b=5)
    assert await ask(one["a"]).slot == 1
    waiting = ask(one["b"])
    await house.until("draining", one["a"])
    waiting.withdraw()
    await house.until("ready", one["a"])
    await house.until("unloaded", one["b"])
    assert await ask(one["a"], "b").slot == 1
    assert len(house.script.instances) == 1
    one["a"].gate.leave(2)


async def test_what_loads_at_the_start_takes_nobody_elses_room_and_serves_when_it_is_asked(house, town):
    at_start = {name: {"load": "start"} for name in "abc"}
    one = town(models=at_start, a=3, b=3, c=3)
    house.fleet.start()
    await house.until("ready", one["a"])
    await house.until("ready", one["b"])
    await house.until("unloaded", one["c"])
    assert one["c"].reason == "there is no room for it beside the others: 1.00 GiB on cpu are missing"
    assert house.fleet.snapshot().state == "ready"
    await use(one["c"])


async def test_what_could_never_fit_fails_with_what_is_missing(house, town):
    one = town({"limits": {"cpu": "4GiB"}}, a=5)
    with pytest.raises(InstanceUnavailable, match=r"has 8\.00 GiB and may give instances 4\.00 GiB"):
        await ask(one["a"]).slot


async def test_a_request_that_gets_no_room_in_time_is_told_why(house, town):
    one = town({"turn_s": 60.0}, models={"b": {"load_timeout_s": 0.05}}, a=5, b=5)
    assert await ask(one["a"]).slot == 1
    with pytest.raises(ModelLoading, match="a#0 is in use"):
        await ask(one["b"]).slot
    one["a"].gate.leave(1)


async def test_one_loads_at_a_time_on_a_device(house, town, eventually):
    one = town(a=1, b=1, c=1)
    house.script.may_load.clear()
    waiting = [ask(hosted) for hosted in one.values()]
    await eventually(lambda: house.script.placements)
    await asyncio.sleep(0.05)
    assert [placement.model for placement in house.script.placements] == ["a"]
    assert "until a#0 has loaded" in one["b"].snapshot().doing
    house.script.may_load.set()
    for guest, hosted in zip(waiting, one.values(), strict=True):
        assert await guest.slot == 1
        hosted.gate.leave(1)


async def test_what_others_use_is_asked_before_each_load(house, town):
    free = [8 * GIB]
    one = town(survey=lambda: [msgspec.structs.replace(CPU, free_bytes=free[0])], a=3, b=3)
    await use(one["a"])
    free[0] = 2 * GIB  # 3 of those in use are a's
    await use(one["b"])
    assert budget(house).others_bytes == 3 * GIB
    assert one["a"].state == "unloaded"
    assert one["a"].reason == "gives way to b#0"


async def test_a_load_that_fails_holds_nothing(house, town):
    one = town(a=3)
    house.script.load_errors = [KeyError("oops")]
    with pytest.raises(InstanceUnavailable):
        await ask(one["a"]).slot
    house.script.load_errors, house.script.capabilities = [], None
    one["a"].load()
    await house.until("loading", one["a"])
    await house.until("failed", one["a"])
    assert budget(house).reserved_bytes == 0


@pytest.fixture
def sleepy(house, town):
    """`sleepy(1, a=5, b=5)`: a town whose engines can sleep, and then hold so many GiB."""

    def build(held_gib: float, budget: dict | None = None, models: dict | None = None, **gib: float):
        house.script.makes = SleepyInstance
        one = town(budget, models, **gib)
        for hosted in one.values():
            held = {"cpu": int(held_gib * GIB)}

            async def weigh(hosted=hosted, held=held):
                return Weight(held, held) if hosted.state == "asleep" else None

            hosted.weigh = weigh
        return one

    return build


async def test_one_that_can_sleep_gives_way_by_that_and_wakes_when_it_is_asked(house, sleepy):
    one = sleepy(1, a=5, b=5)
    await use(one["a"])
    await use(one["b"])
    assert (one["a"].state, one["a"].reason) == ("asleep", "gives way to b#0")
    assert budget(house).reserved_bytes == 6 * GIB, "it still holds what it was found to"
    assert house.fleet.snapshot().state == "ready"
    await use(one["a"])
    assert one["b"].state == "asleep"
    assert [instance.wakes for instance in house.script.instances] == [1, 0]
    assert one["a"].reason.startswith("woken in")
    assert house.fleet.keeper.swaps == 2


async def test_one_whose_sleep_is_not_enough_ends_in_the_same_swap(house, sleepy):
    one = sleepy(4, {"swaps_per_minute": 1.0}, a=5, b=6)
    await use(one["a"])
    await use(one["b"])
    assert one["a"].state == "unloaded"
    assert (house.script.instances[0].sleeps, house.script.instances[0].unloads) == (1, 1)
    assert house.fleet.keeper.swaps == 1
    assert budget(house).reserved_bytes == 6 * GIB


async def test_those_known_to_hold_too_much_asleep_end_at_once(house, sleepy):
    one = sleepy(4, a=5, b=6)
    for name in "aba":
        await use(one[name])
    await use(one["b"])
    assert [instance.sleeps for instance in house.script.instances] == [1, 1, 0, 0]


async def test_who_sleeps_ends_where_its_little_is_needed_though_somebody_waits_for_it(house, sleepy, eventually):
    one = sleepy(1, {"turn_s": 0.0}, a=5, b=5, c=8)
    await use(one["a"])
    assert await ask(one["b"]).slot == 1
    assert one["a"].state == "asleep"
    third = ask(one["c"])
    await eventually(lambda: house.fleet.keeper.waiting == 1)
    first = ask(one["a"])
    await eventually(lambda: one["a"].state == "loading")
    one["b"].gate.leave(1)
    assert await asyncio.wait_for(third.slot, 10) == 1
    assert budget(house).reserved_bytes == 8 * GIB
    one["c"].gate.leave(1)
    assert await asyncio.wait_for(first.slot, 10) == 1
    one["a"].gate.leave(1)


async def test_one_that_sleeps_ends_when_it_has_been_unused_for_as_long_as_it_is_kept(house, sleepy):
    one = sleepy(1, models={"a": {"keep_alive_s": 0.2}}, a=5, b=5)
    await use(one["a"])
    await use(one["b"])
    assert one["a"].state == "asleep"
    await house.until("unloaded", one["a"])
    assert one["a"].reason == "unused for 0.2 s"
    assert budget(house).reserved_bytes == 5 * GIB


async def test_an_engine_that_does_not_wake_or_dies_asleep_is_loaded_again(house, sleepy):
    one = sleepy(1, a=5, b=5)
    await use(one["a"])
    await use(one["b"])
    house.script.instances[0].nights.append(RuntimeError("too tired"))
    await use(one["a"])
    assert (house.script.instances[0].unloads, len(house.script.instances)) == (1, 3)
    await house.until("asleep", one["b"])
    house.script.instances[1].crash()
    await house.until("unloaded", one["b"])
    assert "it ended while it slept" in one["b"].reason
    assert one["b"].restarts == 0
    await use(one["b"])


async def test_an_owners_order_ends_one_that_sleeps_and_another_wakes_it(house, sleepy):
    one = sleepy(1, a=5, b=5)
    await use(one["a"])
    await use(one["b"])
    await one["b"].unload()
    one["a"].load()
    await house.until("ready", one["a"])
    assert house.script.instances[0].wakes == 1
    await use(one["b"])
    await one["a"].unload()
    assert (one["a"].state, house.script.instances[0].unloads) == ("unloaded", 1)
    assert budget(house).reserved_bytes == 5 * GIB


async def test_who_would_give_way_is_foreseen_and_nothing_is_changed(house, town):
    one = town(models={"a": {"pinned": True}}, a=3, b=3, c=3, d=6, e=9)
    assert (await foresee_load(one["b"])).reason == "it fits beside what is loaded"
    await use(one["a"])
    await use(one["b"])
    seen = {name: await foresee_load(hosted) for name, hosted in one.items()}
    assert (seen["b"].fits, seen["b"].reason) == (True, "it is loaded")
    assert (seen["c"].fits, seen["c"].gives_way) == (True, ("b#0",))
    assert "1.00 GiB on cpu more are needed" in seen["c"].reason
    assert (seen["d"].fits, seen["d"].gives_way) == (False, ())
    assert "pinned" in seen["d"].reason
    assert (seen["e"].fits, seen["e"].reason) == (False, "1.00 GiB on cpu are missing in an empty budget")
    assert {name: hosted.state for name, hosted in one.items()} == {
        "a": "ready", "b": "ready", "c": "unloaded", "d": "unloaded", "e": "unloaded",
    }  # fmt: skip
    one["c"].load()
    await house.until("ready", one["c"])
    assert one["b"].state == "unloaded", "as it was foreseen"
