"""Where requests go among several instances, and where they go when these fail."""

from __future__ import annotations

import asyncio

import pytest
from msgspec.structs import replace
from tests.unit.conftest import House, a_request, hello

from enginehouse.fleet import HostedInstance
from enginehouse.fleet.affinity import blocks_of
from enginehouse.fleet.choice import Habits, choose
from enginehouse_plugin import Chat, UserMessage
from enginehouse_plugin.errors import EngineFailure, EngineOverloaded, EngineUnavailable

from .desk import Desk

LONG = Chat((UserMessage("x" * 2000),))


async def several(house: House, desk: Desk, number: int) -> list[HostedInstance]:
    fleet = desk.service.fleet
    for _ in range(number - 1):
        fleet.add_instance("m")
    for hosted in fleet.instances():
        hosted.wake()
        await house.until("ready", hosted)
    return list(fleet.instances())


# ---- which one ----


async def test_instances_alike_take_turns(house: House) -> None:
    desk = Desk(house)
    await several(house, desk, 3)
    asked = []
    for number in range(6):
        await desk.ask(prompt=Chat((UserMessage(f"{number}"),)))
        asked.append(desk.facts.instance_id)
    assert sorted(asked[:3]) == sorted(asked[3:]) == ["m#0", "m#1", "m#2"]


async def test_a_conversation_returns_to_the_instance_that_knows_it(house: House) -> None:
    desk = Desk(house)
    await several(house, desk, 2)
    await desk.ask(prompt=LONG)
    first = desk.facts.instance_id
    for turn in range(4):
        await desk.ask(prompt=Chat((*LONG.messages, UserMessage(str(turn)))))
        assert desk.facts.instance_id == first


async def test_it_goes_elsewhere_where_that_one_is_busy_enough(house: House) -> None:
    desk = Desk(house)
    hosts = await several(house, desk, 2)
    await desk.ask(prompt=LONG)
    known = next(hosted for hosted in hosts if hosted.id == desk.facts.instance_id)
    known.gate.enter(2)
    await desk.ask(prompt=LONG)
    assert desk.facts.instance_id != known.id


@pytest.mark.parametrize("end", ["unloaded", "crashed"])
async def test_what_an_instance_has_read_is_lost_with_its_engine(house: House, end: str) -> None:
    desk = Desk(house)
    hosts = await several(house, desk, 2)
    await desk.ask(prompt=LONG)
    known = next(hosted for hosted in hosts if hosted.id == desk.facts.instance_id)
    affinity = desk.service.fleet.model("m").traffic.affinity
    assert list(affinity.cached_chars(blocks_of(a_request(prompt=LONG)))) == [known]
    if end == "unloaded":
        await known.unload()
    else:
        house.script.instances[hosts.index(known)].crash()
        await house.until("failed", known)
    assert affinity.cached_chars(blocks_of(a_request(prompt=LONG))) == {}
    known.load()
    await house.until("ready", known)
    await desk.ask(prompt=LONG)
    assert desk.facts.instance_id != known.id


async def test_one_that_has_the_prompt_and_is_none_of_those_asked_for_is_not_taken(house: House) -> None:
    """As for a request that another host has sent: it goes no further than this one."""
    desk = Desk(house)
    *here, there = await several(house, desk, 6)
    blocks = blocks_of(a_request(prompt=LONG))
    for turn in range(5):
        habits = Habits("fastest")
        habits.turn = turn
        said = {"habits": habits, "blocks": blocks, "cached": {there: 2000, here[4]: 1000}}
        assert choose(a_request(prompt=LONG), here, **said) is here[4]
        assert choose(a_request(prompt=LONG), [*here, there], **said) is there


async def test_in_order_the_first_placement_with_a_free_slot_is_taken(house: House) -> None:
    desk = Desk(house)
    hosts = await several(house, desk, 8)
    asked = []
    for at, hosted in enumerate(hosts):
        hosted._loader.planned = replace(hosted.planned, index=at // 2)
    for _ in hosts:
        chosen = choose(a_request(), hosts)
        assert chosen is not None
        asked.append(chosen.planned.index)
        chosen.gate.enter(2)
    assert asked == [0, 0, 1, 1, 2, 2, 3, 3]


async def test_the_quickest_goes_first_and_what_is_not_known_is_tried(house: House) -> None:
    desk = Desk(house)
    slow, quick, unknown = await several(house, desk, 3)
    slow.pace.answered(100, 10.0, 1.0)
    quick.pace.answered(100, 1.0, 1.0)
    quick.pace.turn = unknown.pace.turn + 1
    assert choose(a_request(), [slow, quick], now=2.0) is quick
    assert choose(a_request(), [slow, quick, unknown], now=2.0) is unknown
    quick.gate.enter(1)
    assert choose(a_request(), [slow, quick], now=2.0) is quick
    assert choose(a_request(), [slow, quick], habits=Habits("least_loaded"), now=2.0) is slow
    slow.pace.turn = 9
    assert choose(a_request(), [slow, quick], now=100.0) is slow, "what was measured long ago counts no more"


async def test_one_that_fails_often_goes_last(house: House) -> None:
    desk = Desk(house)
    first, second = await several(house, desk, 2)
    for _ in range(5):
        first.pace.failed()
    second.gate.enter(1)
    assert choose(a_request(), [first, second]) is second


async def test_of_many_instances_some_are_looked_at_and_all_are_used(house: House) -> None:
    desk = Desk(house)
    hosts = await several(house, desk, 20)
    habits = Habits()
    chosen = set()
    for turn in range(200):
        habits.turn = turn
        hosted = choose(a_request(), hosts, habits=habits)
        assert hosted is not None
        hosted.pace.turn = turn
        chosen.add(hosted.id)
    assert len(chosen) == 20
    for hosted in hosts[1:]:
        hosted.gate.enter(2)
    assert {choose(a_request(), hosts, habits=habits), choose(a_request(), hosts)} == {hosts[0]}


async def test_what_others_have_there_counts_as_its_load(house: House) -> None:
    desk = Desk(house)
    first, second = await several(house, desk, 2)
    second.gate.enter(1)
    assert choose(a_request(), [first, second]) is first
    first.others.hear(2, 1.0)
    assert choose(a_request(), [first, second]) is second, "there is a slot there, and none here"
    second.gate.enter(1)
    second.gate.queue("x", 1, Waits())
    assert choose(a_request(), [first, second]) is first
    first.others.hear(5, 0.5)
    assert first.others.count == 2, "older news change nothing"


class Waits:
    """Waits in a queue, and hears nothing."""

    def refused(self, error: Exception) -> None:
        del error


async def test_a_queue_that_takes_longer_than_a_start_has_the_next_one_started(house: House) -> None:
    desk = Desk(house)
    busy, spare = await several(house, desk, 2)
    await spare.unload()
    busy.gate.enter(2)
    for hosted in (busy, spare):
        hosted.pace.answered(64, 4.0, 1.0)  # so that a slot is free each 2 s
    spare.residence.load_s = 5.0

    def goes_to() -> HostedInstance | None:
        return choose(a_request(), [busy, spare], now=2.0)

    assert goes_to() is busy
    for _ in range(2):
        busy.gate.queue("x", 1, Waits())
    assert goes_to() is spare, "three come free in 6 s, and it starts in 5"
    spare.residence.load_s = 8.0
    assert goes_to() is busy
    spare.residence.load_s, busy.residence.load_s = 0.0, 5.0
    assert goes_to() is spare, "one that never started counts like the other"
    busy.residence.load_s = 0.0
    assert goes_to() is busy, "where no start was measured there is none to compare with"
    spare.told_start_s = 5.0
    assert goes_to() is spare, "at another host it was measured there"
    spare._failures.load_failed(retryable=True)
    assert goes_to() is busy, "nobody waits for one that may not come back"
    spare.forgive()
    assert goes_to() is spare
    spare.residence.is_held = True
    assert goes_to() is busy
    busy.gate.fail(EngineFailure("over"))


# ---- failures ----


async def test_a_failed_request_goes_round_all_instances_within_the_budget(house: House) -> None:
    asked: list[object] = []

    async def fails_four_times(instance, request):
        asked.append(instance)
        if len(asked) <= 4:
            raise EngineFailure("bad weather")
        async for event in hello(instance, request):
            yield event

    house.script.answer = fails_four_times
    desk = Desk(house)
    await several(house, desk, 3)
    assert len(await desk.ask()) == 5
    assert len(set(asked[:3])) == 3
    assert desk.service.fleet.model("m").traffic.retries.taken == 4


async def test_one_that_has_failed_is_asked_again_rather_than_waiting_for_one_that_loads(house: House) -> None:
    asked = 0

    async def fails_once(instance, request):
        nonlocal asked
        asked += 1
        if asked == 1:
            raise EngineFailure("bad weather")
        async for event in hello(instance, request):
            yield event

    house.script.answer = fails_once
    desk = Desk(house)
    first, second = await several(house, desk, 2)
    house.script.may_load.clear()
    house.script.instances[0].crash()
    await house.until("failed", first)
    assert len(await desk.ask()) == 5
    assert desk.facts.instance_id == second.id
    house.script.may_load.set()


async def test_when_the_budget_is_spent_the_failure_is_told(house: House) -> None:
    asked = []

    async def fails(instance, request):
        asked.append(instance)
        raise EngineOverloaded("too much")
        yield

    house.script.answer = fails
    desk = Desk(house)
    await several(house, desk, 2)
    model = desk.service.fleet.model("m")
    for _ in range(30):
        with pytest.raises(EngineOverloaded):
            await desk.ask()
    # The reserve, and a fifth of the requests; time gives some back meanwhile.
    assert len(asked) - 30 == model.traffic.retries.taken
    assert 16 <= model.traffic.retries.taken <= 60
    assert model.traffic.retries.refused > 0


async def test_what_a_dead_instance_leaves_behind_moves_on_without_the_budget(house: House) -> None:
    async def first_is_gone(instance, request):
        if instance is house.script.instances[0]:
            raise EngineUnavailable("gone")
        async for event in hello(instance, request):
            yield event

    desk = Desk(house)
    first, _ = await several(house, desk, 2)
    house.script.answer = first_is_gone
    desk.service.fleet.model("m").traffic.retries.share = 0.0
    first.breaker.follow(100, 5.0)
    for _ in range(20):
        assert len(await desk.ask()) == 5


async def test_a_breaker_opens_and_its_instance_is_left_alone_until_a_request_tries_it(house: House) -> None:
    asked: list[str] = []

    async def first_fails(instance, request):
        is_first = instance is house.script.instances[0]
        asked.append("first" if is_first else "second")
        if is_first and asked.count("first") <= 5:
            raise EngineFailure("bad weather")
        async for event in hello(instance, request):
            yield event

    house.script.answer = first_fails
    desk = Desk(house)
    first, second = await several(house, desk, 2)
    first.breaker.follow(5, 0.2)
    while first.snapshot().breaker == "closed":
        second.pace.failing = first.pace.failing
        assert len(await desk.ask()) == 5
    assert asked.count("first") == 5
    assert first.snapshot().breaker_opened == 1
    for _ in range(3):
        await desk.ask()
    assert asked.count("first") == 5
    await asyncio.sleep(0.25)
    assert first.snapshot().breaker == "half_open"
    second.gate.enter(1)
    await desk.ask()
    first.pace.failing = 0.0
    await desk.ask()
    assert asked.count("first") >= 6
    assert first.snapshot().breaker == "closed"
    second.gate.leave(1)


async def test_where_no_other_takes_it_a_request_goes_to_an_open_breaker(house: House) -> None:
    desk = Desk(house)
    first, second = await several(house, desk, 2)
    for _ in range(5):
        first.breaker.failed(asyncio.get_running_loop().time())
    second.stop_admitting()
    assert len(await desk.ask()) == 5
    assert desk.facts.instance_id == "m#0"


async def test_a_stream_that_is_not_begun_in_time_moves_and_is_answered_once(house: House) -> None:
    stuck = asyncio.Event()

    async def first_hangs(instance, request):
        if instance is house.script.instances[0]:
            await stuck.wait()
        async for event in hello(instance, request):
            yield event

    house.script.answer = first_hangs
    desk = Desk(house, house.config(server={"try_timeout_s": 0.05}))
    first, second = await several(house, desk, 2)
    second.pace.turn = 1
    assert len(await desk.ask(stream=True)) == 5
    assert desk.facts.instance_id == "m#1"
    assert (first.snapshot().retried, first.liveness.timeouts) == (1, 1)
    assert [instance.active for instance in house.script.instances] == [0, 0]
    await desk.lease.wait_released()
    assert first.gate.running == second.gate.running == 0
