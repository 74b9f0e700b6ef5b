"""What another configuration changes in a fleet that serves: instances come beside others, and none is cut short."""

from __future__ import annotations

import asyncio

import pytest
from msgspec.structs import replace
from tests.unit.conftest import Reader, a_request, turn_until

from enginehouse.accounts import Facts
from enginehouse.config import Config, Defaults
from enginehouse.fleet import InstanceUnavailable, Lease, ModelNotFound
from enginehouse_plugin import Finished, Started, TextDelta
from enginehouse_plugin.errors import LoadFailed


class Holding:
    """An answer that ends when the test says so."""

    def __init__(self) -> None:
        self.may_end = asyncio.Event()

    async def __call__(self, instance, request):
        yield Started(prompt_tokens=1)
        yield TextDelta(choice=0, text="a", completion_tokens=1)
        await self.may_end.wait()
        yield Finished(choice=0, reason="stop")


def ask(fleet, model="m"):
    reader, facts = Reader(), Facts("r")
    Lease(a_request(), fleet.model(model), "client", facts, reader).open()
    return reader, facts


def with_context(config: Config, tokens: int) -> Config:
    """*config* with other instances of its model."""
    return replace(config, models={"m": replace(config.models["m"], context_tokens=tokens)})


async def serving(house, config=None):
    fleet = house.build(config or house.config())
    fleet.start()
    await house.until("ready")
    return fleet


async def test_a_model_that_is_added_loads_and_is_served(house):
    fleet = await serving(house)
    fleet.follow(house.config("m", "n"))
    _, facts = asked = ask(fleet, "n")
    await asked[0].answer()
    assert facts.instance_id == "n#0"
    assert list(fleet.snapshot().models) == ["m", "n"]


async def test_a_model_that_is_removed_serves_what_it_has_and_is_unloaded(house):
    house.script.answer = holding = Holding()
    fleet = await serving(house, house.config("m", "n"))
    running = [ask(fleet) for _ in range(2)]
    queued, _ = ask(fleet)
    fleet.follow(house.config("n"))
    with pytest.raises(ModelNotFound):
        fleet.model("m")
    (leaving,) = fleet.snapshot().leaving
    assert (leaving.id, leaving.state, leaving.reason) == ("m#0", "draining", "the model is not configured any more")
    await asyncio.sleep(0.01)
    assert not house.script.instances[0].unloads
    holding.may_end.set()
    for reader, _ in (*running, (queued, None)):
        await reader.answer()
    await turn_until(lambda: not fleet.snapshot().leaving)
    assert house.script.instances[0].unloads


async def test_a_request_that_waits_for_a_model_that_goes_is_told_why(house):
    house.script.may_load.clear()
    fleet = house.build(house.config("m", "n"))
    fleet.start()
    reader, _ = ask(fleet)
    fleet.follow(house.config("n"))
    with pytest.raises(InstanceUnavailable, match="not configured any more"):
        await reader.answer()
    await turn_until(lambda: not fleet.snapshot().leaving)


async def test_another_instance_comes_beside_the_one_that_serves_which_ends_when_its_requests_do(house):
    house.script.answer = holding = Holding()
    fleet = await serving(house)
    running, facts = ask(fleet)
    await turn_until(lambda: facts.has_delta)
    house.script.may_load.clear()
    fleet.follow(with_context(house.config(), 256))
    during, of_former = ask(fleet)
    await turn_until(lambda: len(house.script.placements) == 2)
    assert of_former.instance_id == "m#0"  # it serves until the other one does
    house.script.may_load.set()
    await turn_until(lambda: bool(fleet.snapshot().leaving))
    after, of_new = ask(fleet)
    assert (of_new.instance_id, facts.instance_id) == ("m#1", "m#0")
    assert house.script.placements[1].context_tokens == 256
    holding.may_end.set()
    for reader in (running, during, after):
        assert isinstance((await reader.answer())[-1], Finished)
    await turn_until(lambda: not fleet.snapshot().leaving)
    assert [instance.unloads for instance in house.script.instances] == [1, 0]


async def test_an_instance_that_cannot_load_ends_none_that_serves(house, logs):
    fleet = await serving(house)
    house.script.load_errors = [LoadFailed("no room", retryable=False)]
    fleet.follow(with_context(house.config(), 256))
    await turn_until(lambda: any(line["event"] == "new instance not ready" for line in logs))
    reader, facts = ask(fleet)
    await reader.answer()
    assert facts.instance_id == "m#0"
    assert [one.state for one in fleet.snapshot().models["m"].instances] == ["failed", "ready"]
    fleet.follow(with_context(house.config(), 128))  # a later change mends it
    await turn_until(lambda: [one.id for one in fleet.snapshot().models["m"].instances] == ["m#2"])


async def test_requests_that_wait_for_a_load_wait_for_the_other_one(house):
    house.script.may_load.clear()
    fleet = house.build()
    fleet.start()
    reader, facts = ask(fleet)
    await turn_until(lambda: len(house.script.placements) == 1)
    fleet.follow(with_context(house.config(), 256))
    await turn_until(lambda: len(house.script.placements) == 2)
    house.script.may_load.set()
    await reader.answer()
    assert facts.instance_id == "m#1"


async def test_what_instances_take_as_it_is_makes_no_other_ones(house):
    fleet = await serving(house)
    model = replace(
        house.config().models["m"], max_queue=3, queue_timeout_s=2.0, defaults=Defaults(seed=1), description="x"
    )
    fleet.follow(replace(house.config(), models={"m": model}), {"other": {"temperature": 0.5}})
    hosted = house.hosted
    assert (hosted.id, hosted.gate.max_queue, hosted.gate.queue_timeout_s) == ("m#0", 3, 2.0)
    assert hosted.defaults.by_profile["other"].values["temperature"].value == 0.5
    assert fleet.snapshot().models["m"].config.description == "x"
    assert len(house.script.instances) == 1


async def test_a_model_that_is_to_load_at_the_start_now_loads(house):
    fleet = house.build(house.config(load="first_request"))
    fleet.start()
    assert house.hosted.state == "unloaded"
    fleet.follow(house.config())
    await house.until("ready")


async def test_a_model_that_comes_again_has_instances_of_new_names(house):
    fleet = await serving(house, house.config("m", "n"))
    fleet.follow(house.config("n"))
    fleet.follow(house.config("m", "n"))
    assert [one.id for one in fleet.snapshot().models["m"].instances] == ["m#1"]


async def test_the_end_of_the_router_ends_what_leaves_and_what_comes(house):
    house.script.answer = Holding()
    fleet = await serving(house)
    _, facts = ask(fleet)
    await turn_until(lambda: facts.has_delta)
    fleet.follow(with_context(house.config(), 256))
    await turn_until(lambda: bool(fleet.snapshot().leaving))
    fleet.follow(with_context(house.config(), 128))
    await fleet.close(0.01)
    assert not fleet.snapshot().leaving
    assert all(instance.unloads for instance in house.script.instances)
