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
         [("cuda:0", "cuda:1"), ("cuda:2", "cuda:0"), ("cuda:0", "cuda:1")]),
        (PlacementConfig(backend="llamacpp", source="s"), (CPU,), [("cpu",)] * 3),
        (PlacementConfig(backend="remote", source="http://x"), (CPU,), [()] * 3),
    ],
)  # fmt: skip
def test_instances_of_a_model_take_different_devices_where_there_are_enough(placement, devices, taken):
    made = plan([placement, placement], devices, count=3)
    assert [planned.id for planned in made.instances] == ["m#0", "m#1", "m#2"]
    assert [planned.device_ids for planned in made.instances] == taken
    assert [rejected.reason for rejected in made.rejected] == ["placement 0 comes first"]


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
