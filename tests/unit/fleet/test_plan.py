"""Which placement of a model is chosen on which host, and why the others are not."""

from __future__ import annotations

import msgspec
import pytest

from enginehouse.config import ModelConfig, PlacementConfig
from enginehouse.fleet import Experience, InstancePlan, ModelPlan, plan_model
from enginehouse_plugin import BackendType, Device


class Options(msgspec.Struct, frozen=True):
    """None."""


def a_backend(name: str, *kinds: str) -> BackendType:
    return BackendType(name=name, version="1", create=lambda: None, options=Options, kinds=kinds)


BACKENDS = {
    "vllm": a_backend("vllm", "cuda", "cpu"),
    "mlx": a_backend("mlx", "apple"),
    "llamacpp": a_backend("llamacpp", "cuda", "apple", "cpu"),
    "remote": a_backend("remote"),
}
CUDA = Device(id="cuda:0", kind="cuda", name="Test GPU", memory_bytes=1 << 30)
APPLE = Device(id="apple", kind="apple", name="Test Mac", memory_bytes=1 << 30)
CPU = Device(id="cpu", kind="cpu", name="Test CPU", memory_bytes=1 << 30)
FLEET = (
    PlacementConfig(backend="vllm", source="s", requires=("cuda",)),
    PlacementConfig(backend="mlx", source="s", requires=("apple",)),
    PlacementConfig(backend="llamacpp", source="s", requires=("cpu",)),
)


def plan(placements, devices, backends=BACKENDS, **more) -> ModelPlan:
    return plan_model("m", ModelConfig(placements=tuple(placements)), devices, backends, **more)


def the_instance(*args, **more) -> InstancePlan:
    (planned,) = plan(*args, **more).instances
    return planned


@pytest.mark.parametrize(
    ("devices", "index", "device"), [((CUDA, CPU), 0, "cuda:0"), ((APPLE, CPU), 1, "apple"), ((CPU,), 2, "cpu")]
)
def test_one_file_serves_hosts_of_every_kind(devices, index, device):
    made = plan(FLEET, devices)
    (planned,) = made.instances
    assert (planned.id, planned.index, planned.device_ids) == ("m#0", index, (device,))
    assert device in planned.reason
    assert {rejected.index for rejected in made.rejected} == {0, 1, 2} - {index}


VULKAN = Device(id="vulkan:0", kind="vulkan", name="Test iGPU", memory_bytes=1 << 30)
FOUR = (
    PlacementConfig(backend="vllm", source="s", requires=("cuda",)),
    PlacementConfig(backend="mlx", source="s", requires=("apple",)),
    PlacementConfig(backend="llamacpp", source="s", requires=("vulkan",)),
    PlacementConfig(backend="llamacpp", source="s", requires=("cpu",)),
)


@pytest.mark.parametrize(
    ("devices", "index", "device", "reasons"),
    [
        ((CUDA, CPU), 0, "cuda:0", ["placement 0 comes first"] * 3),
        ((APPLE, CPU), 1, "apple", ["it needs cuda; this host has apple, cpu", *["placement 1 comes first"] * 2]),
        ((VULKAN, CPU), 2, "vulkan:0", ["it needs cuda; this host has vulkan, cpu",
         "it needs apple; this host has vulkan, cpu", "placement 2 comes first"]),
        ((CPU,), 3, "cpu", ["it needs cuda; this host has cpu", "it needs apple; this host has cpu",
         "it needs vulkan; this host has cpu"]),
        ((CUDA, VULKAN, CPU), 0, "cuda:0", ["placement 0 comes first"] * 3),
    ],
)  # fmt: skip
def test_one_file_with_four_placements_is_served_rightly_on_each_host(devices, index, device, reasons):
    backends = {**BACKENDS, "llamacpp": a_backend("llamacpp", "cuda", "apple", "vulkan", "cpu")}
    made = plan(FOUR, devices, backends)
    (planned,) = made.instances
    assert (planned.index, planned.device_ids) == (index, (device,))
    assert [rejected.reason for rejected in made.rejected] == reasons


def test_what_the_owner_leaves_of_a_device_is_all_that_an_instance_may_take():
    placement = PlacementConfig(backend="vllm", source="s")
    known = {"footprints": {(0, "cuda"): {"cuda:0": 700 << 20}}}
    assert the_instance([placement], (CUDA, CPU), experience=Experience(**known)).device_ids == ("cuda:0",)
    made = plan([placement], (CUDA,), experience=Experience(**known, room={"cuda:0": 512 << 20}))
    assert made.rejected[0].reason == (
        "it takes 700 MiB on cuda:0 (Test GPU), which has 1.00 GiB and may give instances 512 MiB"
    )


def test_every_rejected_placement_has_its_reason_in_words():
    assert [rejected.reason for rejected in plan(FLEET, (APPLE, CPU)).rejected] == [
        "it needs cuda; this host has apple, cpu",
        "placement 1 comes first",
    ]


def test_without_a_requirement_the_backends_first_kind_that_is_here_is_taken():
    placement = PlacementConfig(backend="llamacpp", source="s")
    for devices, wanted in (((CPU, CUDA), "cuda:0"), ((CPU, APPLE), "apple"), ((CPU,), "cpu")):
        assert the_instance([placement], devices).device_ids == (wanted,)


def test_the_order_of_the_requirement_goes_before_the_backends():
    placement = PlacementConfig(backend="llamacpp", source="s", requires=("cpu", "cuda"))
    assert the_instance([placement], (CUDA, CPU)).devices == (CPU,)


def test_with_overflow_the_next_placement_that_holds_is_spare():
    placements = (
        PlacementConfig(backend="llamacpp", source="s", requires=("cuda",)),
        PlacementConfig(backend="mlx", source="s"),
        PlacementConfig(backend="llamacpp", source="s", requires=("cpu",)),
        PlacementConfig(backend="llamacpp", source="t", requires=("cpu",)),
    )
    model = ModelConfig(placements=placements, overflow=True)
    made = plan_model("m", model, (CUDA, CPU), BACKENDS)
    assert [(one.id, one.index, one.is_spare) for one in made.instances] == [
        ("m#0", 0, False),
        ("m#spare", 2, True),
    ]
    assert made.instances[1].reason.endswith("it starts where the queue of placement 0 takes longer than that")
    assert [rejected.index for rejected in made.rejected] == [1, 3]
    footprints = {(0, "cuda"): {"cuda:0": 1 << 29, "cpu": 3 << 28}, (2, "cpu"): {"cpu": 1 << 29}}
    room = {"cuda:0": 1 << 30, "cpu": 1 << 30}
    short = plan_model("m", model, (CUDA, CPU), BACKENDS, Experience(footprints=footprints, room=room))
    assert [(one.id, one.index) for one in short.instances] == [("m#0", 0), ("m#spare", 3)], "it fits beside"
    assert "768 MiB" in next(rejected.reason for rejected in short.rejected if rejected.index == 2)


def test_remote_placements_that_hold_are_all_instances_in_their_order():
    urls = [PlacementConfig(backend="remote", source=f"http://{name}") for name in "abc"]
    bound = PlacementConfig(backend="remote", source="http://d", requires=("apple",))
    local = PlacementConfig(backend="llamacpp", source="s")
    assert [planned.index for planned in plan(urls[:2], (CPU,), count=3).instances] == [0, 0, 0, 1]
    made = plan([urls[0], bound, local, *urls[1:]], (CPU,))
    assert [(planned.id, planned.index) for planned in made.instances] == [("m#0", 0), ("m#1", 3), ("m#2", 4)]
    assert made.reasons == "1: it needs apple; this host has cpu; 2: placement 0 comes first"
    assert [planned.index for planned in plan([local, *urls], (CPU,)).instances] == [0]


def test_a_remote_backend_takes_no_device():
    assert the_instance([PlacementConfig(backend="remote", source="http://x")], (CPU,)).devices == ()


@pytest.mark.parametrize(
    ("placement", "reason"),
    [
        (PlacementConfig(backend="mlx", source="s", requires=("cuda",)),
         "it requires cuda, but the backend 'mlx' runs on apple"),
        (PlacementConfig(backend="vlm", source="s"), "no plugin offers the backend 'vlm'"),
        (PlacementConfig(backend="mlx", source="s"), "it needs apple; this host has cpu"),
        (PlacementConfig(backend="remote", source="s", requires=("apple", "cuda")),
         "it needs apple or cuda; this host has cpu"),
    ],
)  # fmt: skip
def test_a_placement_that_cannot_hold_is_rejected(placement, reason):
    made = plan([placement], (CPU,))
    assert made.instances == ()
    assert [rejected.reason for rejected in made.rejected] == [reason]
    assert made.reasons == f"0: {reason}"


def test_a_host_without_devices_says_so():
    assert plan(FLEET[:1], ()).rejected[0].reason == "it needs cuda; this host has no device"


GPUS = tuple(msgspec.structs.replace(CUDA, id=f"cuda:{at}") for at in range(3))


@pytest.mark.parametrize(
    ("placement", "devices", "taken"),
    [
        (PlacementConfig(backend="vllm", source="s"), GPUS, [("cuda:0",), ("cuda:1",), ("cuda:2",)]),
        (PlacementConfig(backend="vllm", source="s"), GPUS[:2], [("cuda:0",), ("cuda:1",), ("cuda:0",)]),
        (PlacementConfig(backend="vllm", source="s", devices=2), GPUS,
         [("cuda:0", "cuda:1"), ("cuda:2", "cuda:0"), ("cuda:1", "cuda:2")]),
        (PlacementConfig(backend="llamacpp", source="s"), (CPU,), [("cpu",)] * 3),
    ],
)  # fmt: skip
def test_instances_of_a_model_take_different_devices_where_there_are_enough(placement, devices, taken):
    made = plan([placement, placement], devices, count=3)
    assert [planned.id for planned in made.instances] == ["m#0", "m#1", "m#2"]
    assert [planned.device_ids for planned in made.instances] == taken
    assert [rejected.reason for rejected in made.rejected] == ["placement 0 comes first"]


def test_instances_share_a_device_as_long_as_they_fit_beside_each_other():
    known = Experience(footprints={(0, "cuda"): {"cuda:0": 400 << 20, "cuda:1": 400 << 20}})
    made = plan([PlacementConfig(backend="vllm", source="s")], (*GPUS[:2], CPU), experience=known, count=5)
    assert [planned.device_ids for planned in made.instances] == [("cuda:0",), ("cuda:1",), ("cuda:0",), ("cuda:1",)]
    assert made.rejected == ()
    assert made.short == (
        "4 of 5 replicas have a place: for one more it takes 400 MiB on cuda:0 (Test GPU), which has 1.00 GiB, of "
        "which its other instances take 800 MiB; it takes 400 MiB on cuda:1 (Test GPU), which has 1.00 GiB, of which "
        "its other instances take 800 MiB"
    )
    assert made.reasons == made.short


def test_what_stays_on_the_processor_is_counted_for_all_instances():
    known = Experience(footprints={(0, "cuda"): {"cuda:0": 1, "cuda:1": 1, "cpu": 600 << 20}})
    made = plan([PlacementConfig(backend="vllm", source="s")], (*GPUS[:2], CPU), experience=known, count=2)
    assert len(made.instances) == 1
    assert "on cpu (Test CPU), which has 1.00 GiB, of which its other instances take 600 MiB" in (made.short or "")


@pytest.mark.parametrize(
    ("placement", "devices", "taken"),
    [
        (PlacementConfig(backend="vllm", source="s"), (*GPUS, CPU), [("cuda:0",), ("cuda:1",), ("cuda:2",)]),
        (PlacementConfig(backend="vllm", source="s", devices=2), (*GPUS, CPU), [("cuda:0", "cuda:1")]),
        (PlacementConfig(backend="llamacpp", source="s"), (CPU,), [("cpu",)]),
        (PlacementConfig(backend="remote", source="http://x"), (CPU,), [()]),
    ],
)  # fmt: skip
def test_replicas_auto_is_one_on_each_device_that_holds_one(placement, devices, taken):
    made = plan([placement], devices, count="auto")
    assert [planned.device_ids for planned in made.instances] == taken
    assert made.short is None


def test_replicas_auto_leaves_out_a_device_that_is_too_small():
    known = Experience(footprints={(0, "cuda"): {"cuda:0": 1 << 20, "cuda:1": 2 << 30, "cuda:2": 1 << 20}})
    made = plan([PlacementConfig(backend="vllm", source="s")], (*GPUS, CPU), experience=known, count="auto")
    assert [planned.device_ids for planned in made.instances] == [("cuda:0",), ("cuda:2",)]


@pytest.mark.parametrize(
    ("experience", "device", "reasons"),
    [
        (Experience(), "cuda:0", "1: placement 0 comes first"),
        (Experience(footprints={(0, "cuda"): {"cuda:0": 2 << 30}}), "cpu", "1: placement 0 comes first"),
        (Experience(footprints={(1, "cuda"): {"cuda:0": 2 << 30}}), "cuda:0", "1: placement 0 comes first"),
        (Experience(unusable={(0, "cuda"): "it has no CUDA"}), "cpu", "1: placement 0 comes first"),
        (Experience(unusable={(0, "cuda"): "no CUDA", (0, "cpu"): "no AVX"}), "cuda:0", "0: no CUDA; no AVX"),
        (Experience(footprints={(0, "cuda"): {"cuda:0": 2 << 30}}, unusable={(0, "cpu"): "no AVX"}), "cuda:0",
         "0: it takes 2.00 GiB on cuda:0 (Test GPU), which has 1.00 GiB; no AVX"),
    ],
)  # fmt: skip
def test_what_loading_has_told_moves_the_plan(experience, device, reasons):
    made = plan([PlacementConfig(backend="vllm", source="s")] * 2, (CUDA, CPU), experience=experience)
    assert [planned.device_ids for planned in made.instances] == [(device,)]
    assert made.reasons == reasons


def test_a_plan_says_what_its_backend_is_asked_for():
    placement = PlacementConfig(backend="llamacpp", source="demo:x", python="/venv/bin/python", options=Options())
    made = plan_model("m", ModelConfig(placements=(placement,), context_tokens=99), (CPU,), BACKENDS)
    asked = made.instances[0].for_backend("/weights")
    assert (asked.model, asked.backend, asked.source, asked.path) == ("m", "llamacpp", "demo:x", "/weights")
    assert (asked.context_tokens, asked.python, asked.options) == (99, "/venv/bin/python", Options())
