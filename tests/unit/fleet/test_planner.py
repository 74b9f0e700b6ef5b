"""A backend is asked whether a placement fits before it loads; what does not fit is passed over."""

from __future__ import annotations

import msgspec
import pytest
from tests.unit.conftest import Guest, Reader, a_request

from enginehouse.accounts import Facts
from enginehouse.config import BudgetConfig, Config, ModelConfig, PlacementConfig
from enginehouse.fleet import InstancePlan, Lease, NotFetched, Planner
from enginehouse_plugin import Backend, BackendType, Device, Fit, ProbeReport
from enginehouse_plugin.errors import LoadFailed, SourceNotFound

GIB = 1024**3
GPU = Device(id="cuda:0", kind="cuda", name="GPU", memory_bytes=16 * GIB)
CPU = Device(id="cpu", kind="cpu", name="CPU", memory_bytes=8 * GIB)
SIZES = {"small": GIB, "middle": 12 * GIB, "large": 20 * GIB}


class Options(msgspec.Struct, frozen=True):
    """None."""


class Weighing(Backend):
    """Takes as many bytes as its source says, on each device; keeps what it was asked."""

    asked: list[tuple[str, str | None, tuple[str, ...]]]

    def __init__(self, asked) -> None:
        self.asked = asked

    async def probe(self) -> ProbeReport:
        return ProbeReport(available=True, engine="scales")

    async def fit(self, placement, devices) -> Fit:
        self.asked.append((placement.source, placement.path, tuple(device.id for device in devices)))
        if placement.source == "broken":
            raise ZeroDivisionError("no scales")
        if placement.source == "lost":
            raise SourceNotFound("lost", fix="Look for it.")
        if placement.source == "half":  # as an engine that fills what it gets, and needs 7 GiB to begin
            return Fit(footprint_bytes={device.id: max(7 * GIB, device.memory_bytes // 2) for device in devices})
        if placement.source not in SIZES:
            return Fit(footprint_bytes={})
        return Fit(footprint_bytes={device.id: SIZES[placement.source] for device in devices})

    async def load(self, placement, devices, progress):
        raise NotImplementedError


@pytest.fixture
def weigh():
    """`await weigh(*sources, here=…)`: a model with a placement for each source, on a GPU or else the CPU."""

    async def run(*sources: str, devices=(GPU, CPU), absent=(), needs_weights=True, at_once=1, count=1):
        asked: list = []
        kind = BackendType(
            name="scales", version="1", create=lambda: Weighing(asked), options=Options,
            kinds=("cuda", "cpu"), needs_weights=needs_weights,
        )  # fmt: skip
        placements = tuple(PlacementConfig(backend="scales", source=source, devices=at_once) for source in sources)

        async def find(planned: InstancePlan) -> str | None:
            if planned.placement.source in absent:
                raise NotFetched
            return f"/weights/{planned.placement.source}"

        planner = Planner({"m": ModelConfig(placements=placements)}, devices, {"scales": kind})
        for _ in range(1, count):
            planner.add("m")
        plan = await planner.settle("m", find)
        assert planner.plans["m"] is plan
        return plan, asked

    return run


async def test_the_first_that_fits_is_chosen_and_the_others_say_both_numbers(weigh):
    plan, asked = await weigh("large", "middle", "small")
    assert plan.instances[0].fault is None
    assert plan.instances[0].index == 1
    assert plan.instances[0].reason == "runs on cuda:0 (GPU), takes 12.00 GiB of 16.00 GiB"
    assert [rejected.reason for rejected in plan.rejected] == [
        "it takes 20.00 GiB on cuda:0 (GPU), which has 16.00 GiB; it takes 20.00 GiB on cpu (CPU), which has 8.00 GiB",
        "placement 1 comes first",
    ]
    assert asked == [
        ("large", "/weights/large", ("cuda:0",)),
        ("large", "/weights/large", ("cpu",)),
        ("middle", "/weights/middle", ("cuda:0",)),
    ]


# ---- several devices of one kind ----

SMALL = msgspec.structs.replace(GPU, id="cuda:1", name="small GPU", memory_bytes=6 * GIB)
LARGE = msgspec.structs.replace(GPU, id="cuda:2", name="large GPU", memory_bytes=48 * GIB)


async def test_each_device_of_a_kind_is_weighed_by_itself(weigh):
    """What an engine takes is told for the device that it takes it on."""
    plan, asked = await weigh("half", devices=(SMALL, GPU, LARGE))
    assert plan.instances[0].devices == (GPU,)
    assert plan.instances[0].reason == "runs on cuda:0 (GPU), takes 8.00 GiB of 16.00 GiB"
    assert [devices for _, _, devices in asked] == [("cuda:1",), ("cuda:0",)]


async def test_devices_of_different_size_work_together_where_each_holds_its_own_share(weigh):
    plan, _ = await weigh("half", devices=(GPU, LARGE), at_once=2)
    assert plan.instances[0].reason == (
        "runs on cuda:0 and cuda:2 (GPU, large GPU), "
        "takes 8.00 GiB of 16.00 GiB on cuda:0 and 24.00 GiB of 48.00 GiB on cuda:2"
    )
    plan, asked = await weigh("half", devices=(SMALL, GPU, LARGE), at_once=2)
    assert [device.id for device in plan.instances[0].devices] == ["cuda:0", "cuda:2"]
    assert [devices for _, _, devices in asked] == [("cuda:1", "cuda:0"), ("cuda:0", "cuda:2")]


async def test_where_nothing_fits_there_is_no_place(weigh):
    plan, _ = await weigh("large", "middle", devices=(CPU,))
    assert plan.instances == ()
    assert len(plan.rejected) == 2


async def test_a_backend_that_cannot_tell_is_taken_at_its_word(weigh):
    plan, asked = await weigh("unknown")
    assert len(asked) == 1
    assert plan.instances[0].explanation == "runs on cuda:0 (GPU)"
    assert plan.instances[0].fault is None


async def test_weights_that_are_not_here_yet_leave_the_choice_and_are_told(weigh):
    plan, asked = await weigh("large", "small", absent=("large",))
    assert asked == []
    assert plan.instances[0].index == 0
    assert plan.instances[0].explanation.endswith("whether it fits is not known: its weights are not here yet")


@pytest.mark.parametrize(("source", "told"), [("lost", "lost"), ("broken", "ZeroDivisionError: no scales")])
async def test_weights_that_cannot_be_read_are_a_fault_and_not_passed_over(weigh, source, told):
    plan, _ = await weigh("large", source, "small")
    assert plan.instances[0].index == 1
    assert told in plan.instances[0].fault.message
    assert told in plan.instances[0].explanation
    assert "it takes 20.00 GiB" in plan.rejected[0].reason


async def test_a_second_instance_is_weighed_on_its_own_device(weigh):
    plan, asked = await weigh("half", devices=(GPU, LARGE), count=2)
    assert [planned.reason for planned in plan.instances] == [
        "runs on cuda:0 (GPU), takes 8.00 GiB of 16.00 GiB",
        "runs on cuda:2 (large GPU), takes 24.00 GiB of 48.00 GiB",
    ]
    assert [devices for _, _, devices in asked] == [("cuda:0",), ("cuda:2",)]


# ---- when an instance loads ----


@pytest.fixture
def two_placements(house):
    """A fleet whose model needs *first* bytes, or *second* where that does not fit; the CPU has 8 GiB."""

    def build(first: int, second: int, **model):
        async def fit(placement, devices):
            return Fit(footprint_bytes={"cpu": {"first": first, "second": second}[placement.source]})

        house.script.fit = fit
        options = house.config().models["m"].placements[0].options
        placements = tuple(
            PlacementConfig(backend="scripted", source=source, options=options) for source in ("first", "second")
        )
        return house.build(Config(models={"m": ModelConfig(placements=placements, **model)}))

    return build


async def test_a_placement_that_does_not_fit_is_passed_over_before_it_loads(house, two_placements, logs):
    fleet = two_placements(9 * GIB, GIB)
    fleet.start()
    await house.until("ready")
    assert [placement.source for placement in house.script.placements] == ["second"]
    assert fleet.planner.plans["m"].instances[0].index == 1
    (line,) = [line for line in logs if line["event"] == "placement passed over"]
    assert (line["placement"], line["instead"]) == (0, 1)
    assert line["reason"] == "it takes 9.00 GiB on cpu (Test CPU), which has 8.00 GiB"


async def test_an_engine_that_cannot_use_its_device_leaves_the_next_one(house, logs):
    """First the other kinds of the same placement, then the next placement; each is tried once."""
    house.script.load_errors += [LoadFailed("no CUDA in this build", retryable=False, code="engine_without_gpu")]
    house.build(kinds=("cuda", "cpu"), devices=(GPU, CPU)).start()
    await house.until("ready")
    assert [device.id for device in house.hosted.planned.devices] == ["cpu"]
    assert len(house.script.placements) == 2
    (line,) = [line for line in logs if line["event"] == "engine cannot use its device"]
    assert (line["device"], line["reason"]) == ("cuda", "no CUDA in this build")


async def test_an_engine_that_can_use_no_device_says_so_once(house):
    house.script.load_errors += [LoadFailed("no CUDA in this build", retryable=False, code="engine_without_gpu")]
    house.build(kinds=("cuda",), devices=(GPU, CPU)).start()
    await house.until("failed")
    assert house.hosted.reason == "no placement of it fits on this host (0: no CUDA in this build)"
    assert len(house.script.placements) == 1


async def test_where_no_placement_fits_nothing_loads_and_the_reason_is_told(house, two_placements):
    two_placements(9 * GIB, 10 * GIB).start()
    await house.until("failed")
    assert house.script.placements == []
    assert "no placement of it fits on this host (0: it takes 9.00 GiB" in house.hosted.reason
    assert "1: it takes 10.00 GiB" in house.hosted.reason


# ---- replicas ----


async def test_as_many_instances_load_as_replicas_are_asked_for_and_fit(house, eventually):
    async def fit(placement, devices):
        return Fit(footprint_bytes={"cpu": 3 * GIB})

    house.script.fit = fit
    fleet = house.build(house.config(replicas=3))
    fleet.start()
    instances = list(fleet.instances())
    await eventually(lambda: all(hosted.state in ("ready", "failed") for hosted in instances))
    assert {hosted.id: hosted.state for hosted in instances} == {"m#0": "ready", "m#1": "ready", "m#2": "failed"}
    assert "2 of 3 replicas have a place" in instances[2].reason
    assert "of which its other instances take 6.00 GiB" in instances[2].reason
    assert fleet.snapshot().state == "ready"


async def test_an_instance_more_than_fit_is_refused_and_the_others_stay(house, eventually):
    async def fit(placement, devices):
        return Fit(footprint_bytes={"cpu": 5 * GIB})

    house.script.fit = fit
    fleet = house.build()
    fleet.start()
    await house.until("ready")
    fleet.add_instance("m").wake()
    second = list(fleet.instances())[1]
    await house.until("failed", second)
    assert "1 of 2 replicas have a place" in second.reason
    assert house.hosted.state == "ready"


# ---- the longest context ----


@pytest.mark.parametrize(
    ("room_gib", "trained", "tokens"),
    [
        (10, 131_072, 131_072),
        (8, 131_072, 114_688),
        (4, 131_072, 49_152),
        (1.2, 131_072, 3_072),
        (8, 2_048, 2_048),
        (0.5, 131_072, None),
    ],
)
async def test_the_longest_context_that_fits_is_found_and_said(house, room_gib, trained, tokens):
    """An engine of 1 GiB that takes 64 KiB for each token, and cannot have more than it was *trained* for."""
    asked: list[int | None] = []

    async def fit(placement, devices):
        asked.append(placement.context_tokens)
        if (placement.context_tokens or 0) > trained:
            raise LoadFailed("too long", retryable=False)
        return Fit(footprint_bytes={"cpu": GIB + (placement.context_tokens or 512) * 65_536})

    house.script.fit = fit
    budget = BudgetConfig(limits={"cpu": f"{room_gib}GiB"}, reserve={"cpu": "0"})
    device = msgspec.structs.replace(CPU, memory_bytes=32 * GIB)
    fleet = house.build(msgspec.structs.replace(house.config(context_tokens="auto"), budget=budget), devices=(device,))
    fleet.start()
    await house.until("failed" if tokens is None else "ready")
    assert len(asked) < 40
    if tokens is None:
        assert (
            "it takes 1.03 GiB on cpu (CPU), which has 32.00 GiB and may give instances 512 MiB" in house.hosted.reason
        )
    else:
        assert house.script.placements[0].context_tokens == tokens
        told = f"with a context of {tokens:,} tokens, the longest that fits"
        assert told in fleet.snapshot().models["m"].instances[0].planned.reason


async def test_replicas_on_one_device_share_what_their_contexts_may_take(house, eventually):
    async def fit(placement, devices):
        return Fit(footprint_bytes={"cpu": GIB + (placement.context_tokens or 512) * 65_536})

    house.script.fit = fit
    budget = BudgetConfig(reserve={"cpu": "0"})
    fleet = house.build(msgspec.structs.replace(house.config(context_tokens="auto", replicas=2), budget=budget))
    fleet.start()
    await eventually(lambda: all(hosted.state == "ready" for hosted in fleet.instances()))
    assert [placement.context_tokens for placement in house.script.placements] == [49_152, 49_152]


# ---- the fastest ----


async def test_each_placement_is_measured_once_and_then_the_fastest_is_taken(house, two_placements):
    fleet = two_placements(GIB, GIB)
    wanted = msgspec.structs.replace(fleet.models["m"].config, prefer="fastest")
    fleet.planner.put("m", wanted)
    assert fleet.planner.plans["m"].instances[0].index == 0
    first = fleet.planner.plans["m"].instances[0]
    fleet.planner.note_speed(first, 5.0)
    plan = await fleet.planner.settle("m", lambda _: eventually_none())
    assert plan.instances[0].index == 1
    assert plan.rejected[0].reason == "placement 1 comes first: it has not been measured yet"
    fleet.planner.note_speed(plan.instances[0], 2.5)
    plan = await fleet.planner.settle("m", lambda _: eventually_none())
    assert plan.instances[0].index == 0
    assert plan.rejected[0].reason == "placement 0 is faster: 5.0 tokens a second, and 2.5 here"


async def eventually_none() -> None:
    return None


async def test_what_overflow_goes_to_loads_only_for_a_queue_and_is_weighed_then(house, two_placements):
    fleet = two_placements(GIB, GIB, overflow=True)
    asked: list[str] = []
    fit = house.script.fit

    async def noted(placement, devices):
        asked.append(placement.source)
        return await fit(placement, devices)

    house.script.fit = noted
    fleet.start()
    first, spare = fleet.instances()
    await house.until("ready", first)
    assert (spare.id, spare.state, asked) == ("m#spare", "unloaded", ["first"])
    assert fleet.snapshot().state == "ready"
    first.residence.load_s = 0.001
    busy = Guest(first.gate, weight=2)
    reader, facts = Reader(), Facts("r")
    Lease(a_request(), fleet.model("m"), "c", facts, reader).open()
    await reader.answer()
    assert (facts.instance_id, spare.state, "second" in asked) == ("m#spare", "ready", True)
    busy.gate.leave(2)
    assert fleet.add_instance("m").id == "m#1"
