"""Places on a cluster: one node for one instance, what runs stays, and a node without the engine is told apart."""

from __future__ import annotations

import random

import msgspec
import pytest

from enginehouse.config import BudgetConfig, ModelConfig, PlacementConfig
from enginehouse.fleet import Experience, ModelPlan, Planner, budgets, plan_model
from enginehouse.fleet.nodes import Ranking, Stay, node_of
from enginehouse_plugin import BackendType, Device

GIB = 1 << 30


class Options(msgspec.Struct, frozen=True):
    """None."""


def a_backend(name: str, *kinds: str) -> BackendType:
    return BackendType(name=name, version="1", create=lambda: None, options=Options, kinds=kinds)


BACKENDS = {
    "vllm": a_backend("vllm", "cuda"),
    "llamacpp": a_backend("llamacpp", "cuda", "cpu"),
    "far": a_backend("far"),
}


def cpu(node: str) -> Device:
    return Device(id=f"{node}/cpu", kind="cpu", name="CPU", memory_bytes=GIB)


def cuda(node: str, number: int = 0) -> Device:
    return Device(id=f"{node}/cuda:{number}", kind="cuda", name="GPU", memory_bytes=GIB)


def plan(backend: str, on: list[Device], count=1, **more) -> ModelPlan:
    known = {name: more.pop(name) for name in list(more) if name in Experience.__struct_fields__}
    model = ModelConfig(placements=(PlacementConfig(backend=backend, source="s", **more),))
    return plan_model("m", model, on, BACKENDS, Experience(**known), count)


def where(made: ModelPlan) -> dict[str, tuple[str, ...]]:
    return {one.id: one.device_ids for one in made.instances}


def test_a_device_says_its_node():
    assert node_of("box/cuda:0") == "box"
    assert node_of("cuda:0") == ""
    (made,) = plan("llamacpp", [cpu("box")]).instances
    assert made.node == "box"
    (remote,) = plan("far", [cpu("box")]).instances
    assert remote.node == ""


def test_replicas_take_different_nodes_and_share_them_where_there_are_fewer():
    three = [cpu("a"), cpu("b"), cpu("c")]
    assert where(plan("llamacpp", three, 3)) == {"m#0": ("a/cpu",), "m#1": ("b/cpu",), "m#2": ("c/cpu",)}
    assert where(plan("llamacpp", three[:1], 2)) == {"m#0": ("a/cpu",), "m#1": ("a/cpu",)}
    assert len(plan("llamacpp", three, "auto").instances) == 3


def test_replicas_on_gpus_spread_over_nodes_before_they_share_one():
    """Each node has a processor, too, which none of them is on."""
    three = [device for node in "abc" for device in (cpu(node), cuda(node), cuda(node, 1))]
    made = plan("llamacpp", three, 4, requires=("cuda",))
    assert [one.device_ids for one in made.instances] == [("a/cuda:0",), ("b/cuda:0",), ("c/cuda:0",), ("a/cuda:1",)]


def test_a_gpu_that_nobody_uses_goes_before_another_node():
    alone = [cuda("a"), cuda("b"), cuda("b", 1)]
    made = plan("vllm", alone, 2, busy={"a/cuda:0": 1})
    assert [one.device_ids for one in made.instances] == [("b/cuda:0",), ("b/cuda:1",)]


def test_a_kind_that_is_asked_for_and_of_no_use_to_the_backend_is_passed_over():
    mac = Device(id="mac/apple", kind="apple", name="M", memory_bytes=GIB)
    assert where(plan("llamacpp", [mac, cpu("box")], requires=("apple", "cpu"))) == {"m#0": ("box/cpu",)}
    (rejected,) = plan("llamacpp", [mac, cpu("box")], requires=("apple",)).rejected
    assert "the backend 'llamacpp' runs on cuda or cpu" in rejected.reason


@pytest.mark.parametrize("seed", range(20))
def test_the_order_of_nodes_is_kept_as_instances_come_and_go(seed):
    draw = random.Random(seed)
    devices = [cuda(f"n{node}", number) for node in range(12) for number in range(draw.randint(1, 3))]
    busy = {device.id: draw.randrange(3) for device in devices}
    running = {number: Stay((draw.choice(devices).id,)) for number in range(8)}
    kept = Ranking(devices, running, busy)
    list(kept.with_kind("cuda", ()))
    for number in list(running):
        gone, further = running.pop(number).devices, draw.sample(devices, 2)
        kept.release(gone)
        kept.take([device.id for device in further])
        running[number + 100] = Stay(tuple(device.id for device in further))
        anew = Ranking(devices, running, busy)
        assert list(kept.with_kind("cuda", ())) == list(anew.with_kind("cuda", ()))
        assert [kept.on(node) for node in kept.nodes] == [anew.on(node) for node in anew.nodes]


def test_devices_of_one_instance_are_on_one_node():
    spread = [cuda("a"), cuda("b")]
    made = plan("vllm", spread, devices=2)
    assert made.instances == ()
    assert "on 'a': it takes 2 cuda devices at once" in made.rejected[0].reason
    assert where(plan("vllm", [*spread, cuda("b", 1)], devices=2)) == {"m#0": ("b/cuda:0", "b/cuda:1")}


def test_the_better_kind_of_device_goes_before_the_nearer_node():
    assert where(plan("llamacpp", [cpu("a"), cpu("b"), cuda("b")])) == {"m#0": ("b/cuda:0",)}


def test_a_node_that_lacks_the_engine_is_told_apart_from_one_that_is_full():
    lacking = {"a": {"llamacpp": "llama.cpp is not installed there"}}
    assert where(plan("llamacpp", [cpu("a"), cpu("b")], lacking=lacking)) == {"m#0": ("b/cpu",)}
    footprints = {(0, "cpu"): {"b/cpu": 2 * GIB}}
    (rejected,) = plan("llamacpp", [cpu("a"), cpu("b")], lacking=lacking, footprints=footprints).rejected
    assert "on 'a': llama.cpp is not installed there" in rejected.reason
    assert "on 'b': it takes 2.00 GiB on b/cpu (CPU), which has 1.00 GiB" in rejected.reason


def test_memory_of_one_node_is_none_of_anothers():
    """What stays on the processor beside a GPU counts at the GPU's node alone."""
    footprints = {(0, "cuda"): {"a/cuda:0": GIB // 2, "a/cpu": 2 * GIB, "b/cuda:0": GIB // 2, "b/cpu": GIB // 2}}
    (made,) = plan("vllm", [cuda("a"), cpu("a"), cuda("b"), cpu("b")], footprints=footprints).instances
    assert made.footprint_bytes == {"b/cuda:0": GIB // 2, "b/cpu": GIB // 2}


@pytest.mark.parametrize("count", [3, "auto"])
def test_what_runs_stays_when_a_node_goes_and_the_lost_one_moves(count):
    running = {0: Stay(("a/cpu",)), 1: Stay(("b/cpu",)), 2: Stay(("c/cpu",))}
    left = where(plan("llamacpp", [cpu("a"), cpu("c")], count, running=running))
    assert {key: left[key] for key in ("m#0", "m#2")} == {"m#0": ("a/cpu",), "m#2": ("c/cpu",)}
    assert left.get("m#1") == (("a/cpu",) if count == 3 else None)
    with_new = where(plan("llamacpp", [cpu("a"), cpu("c"), cpu("d")], count, running=running))
    assert with_new == {"m#0": ("a/cpu",), "m#2": ("c/cpu",), "m#1": ("d/cpu",)}


def test_a_further_replica_goes_where_nothing_runs():
    running = {1: Stay(("a/cpu",))}
    assert where(plan("llamacpp", [cpu("a"), cpu("b")], 2, running=running)) == {"m#1": ("a/cpu",), "m#0": ("b/cpu",)}


def test_what_runs_on_a_processor_stays_there_when_a_gpu_joins():
    """Its replicas are of its kind, and the GPU is free for others."""
    running = {0: Stay(("a/cpu",))}
    joined = [cpu("a"), cpu("b"), cuda("b")]
    assert where(plan("llamacpp", joined, running=running)) == {"m#0": ("a/cpu",)}
    assert where(plan("llamacpp", joined, 2, running=running)) == {"m#0": ("a/cpu",), "m#1": ("b/cpu",)}
    assert where(plan("llamacpp", joined)) == {"m#0": ("b/cuda:0",)}


def test_a_placement_of_which_something_runs_goes_before_better_ones():
    gpu, processor = (PlacementConfig(backend=name, source="s") for name in ("vllm", "llamacpp"))
    model = ModelConfig(placements=(gpu, processor))
    experience = Experience(running={0: Stay(("a/cpu",), index=1)})
    made = plan_model("m", model, [cpu("a"), cuda("b")], BACKENDS, experience)
    assert [(one.id, one.index, one.device_ids) for one in made.instances] == [("m#0", 1, ("a/cpu",))]
    assert [(one.index, one.reason) for one in made.rejected] == [
        (0, "placement 1 has instances that run, and stay where they are")
    ]
    gone = plan_model("m", model, [cpu("c"), cuda("b")], BACKENDS, experience)
    assert [(one.index, one.device_ids) for one in gone.instances] == [(0, ("b/cuda:0",))]


def test_models_spread_over_nodes_beside_each_other():
    """The first node is not everybody's."""
    models = {name: ModelConfig(placements=(PlacementConfig(backend="llamacpp", source="s"),)) for name in "xyz"}
    planner = Planner(models, (), BACKENDS)
    planner.follow_nodes([cpu("a"), cpu("b"), cpu("c")], {}, lambda _: {}, BudgetConfig())
    assert {name: planner.plans[name].instances[0].node for name in models} == {"x": "a", "y": "b", "z": "c"}


def test_unified_memory_of_a_node_counts_once():
    mac = Device(id="mac/apple", kind="apple", name="M", memory_bytes=GIB)
    shown = budgets([mac, cpu("mac"), cpu("box")], BudgetConfig(), {}, ())
    assert [one.shares for one in shown] == ["mac/cpu", None, None]
