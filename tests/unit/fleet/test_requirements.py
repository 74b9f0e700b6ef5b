"""What a placement requires of a host's devices, and what is said where they have less."""

from __future__ import annotations

import msgspec
import pytest

from enginehouse.config import ModelConfig, PlacementConfig
from enginehouse.fleet import Experience, InstancePlan, ModelPlan, plan_model
from enginehouse_plugin import BackendType, Device

GB = 1000**3
GIB = 1024**3


class Options(msgspec.Struct, frozen=True):
    """None."""


def a_backend(name: str, *kinds: str) -> BackendType:
    return BackendType(name=name, version="1", create=lambda: None, options=Options, kinds=kinds)


BACKENDS = {
    "vllm": a_backend("vllm", "cuda", "cpu"),
    "llamacpp": a_backend("llamacpp", "cuda", "apple", "cpu"),
    "remote": a_backend("remote"),
}


def cuda(index: int, name: str = "NVIDIA A100", gib: float = 40, capability=(8, 0), **more) -> Device:
    return Device(
        id=f"cuda:{index}", kind="cuda", name=name, memory_bytes=int(gib * GIB), compute_capability=capability, **more
    )


CPU = Device(id="cpu", kind="cpu", name="CPU", memory_bytes=32 * GIB)
T4 = cuda(0, "Tesla T4", 15, (7, 5))


def vllm(**requires) -> PlacementConfig:
    return PlacementConfig(backend="vllm", source="s", **{"requires": ("cuda",), **requires})


def plan(placement: PlacementConfig, *devices: Device, backends=BACKENDS, **experience) -> ModelPlan:
    return plan_model("m", ModelConfig(placements=(placement,)), devices, backends, Experience(**experience))


def the_chosen(placement: PlacementConfig, *devices: Device, **more) -> InstancePlan:
    (planned,) = plan(placement, *devices, **more).instances
    return planned


def the_reason(placement: PlacementConfig, *devices: Device, **more) -> str:
    made = plan(placement, *devices, **more)
    assert made.instances == ()
    return made.rejected[0].reason


# ---- what a device must have ----


def test_a_device_with_too_little_memory_is_told_with_both_numbers():
    card = cuda(0, "NVIDIA GeForce RTX 4090", 23.99)
    reason = "cuda:0 (NVIDIA GeForce RTX 4090) has 23.99 GiB of memory, and at least 24.00 GiB is required"
    assert the_reason(vllm(min_memory="24GiB"), card) == reason
    assert the_chosen(vllm(min_memory="24GB"), card).devices == (card,)


def test_a_device_that_is_too_old_is_told_with_both_versions():
    reason = "cuda:0 (Tesla T4) has compute capability 7.5, and at least 8.0 is required"
    assert the_reason(vllm(min_compute_capability=8.0), T4, CPU) == reason
    assert the_chosen(vllm(min_compute_capability=7.5), T4).devices == (T4,)


def test_versions_are_compared_as_numbers():
    blackwell = cuda(0, capability=(12, 0))
    assert the_chosen(vllm(min_compute_capability=8.9), blackwell).devices == (blackwell,)
    assert "8.0" in the_reason(vllm(min_compute_capability=8.9), cuda(0, capability=(8, 0)))


def test_a_device_that_does_not_tell_its_capability_does_not_meet_one():
    assert "has no compute capability" in the_reason(vllm(min_compute_capability=8.0), cuda(0, capability=None))


def test_a_capability_without_requires_leaves_only_cuda_devices():
    placement = PlacementConfig(backend="llamacpp", source="s", min_compute_capability=8.0)
    assert "cpu (CPU) has no compute capability" in the_reason(placement, CPU)
    assert the_chosen(placement, cuda(0), CPU).devices[0].id == "cuda:0"


def test_of_several_devices_the_first_that_has_what_is_required_is_taken():
    assert the_chosen(vllm(min_memory="30GB"), T4, cuda(1), cuda(2)).devices[0].id == "cuda:1"


def test_every_device_that_falls_short_is_told():
    reason = the_reason(vllm(min_memory="80GB", min_compute_capability=8.0), T4, cuda(1), CPU)
    assert "cuda:0 (Tesla T4) has compute capability 7.5" in reason
    assert "cuda:1 (NVIDIA A100) has 40.00 GiB of memory" in reason


def test_where_no_kind_is_enough_each_is_told():
    placement = PlacementConfig(backend="llamacpp", source="s", requires=("cuda", "cpu"), min_memory="64GiB")
    reason = the_reason(placement, cuda(0), CPU)
    assert reason.startswith("cuda:0 (NVIDIA A100) has 40.00 GiB")
    assert reason.endswith("cpu (CPU) has 32.00 GiB of memory, and at least 64.00 GiB is required")


def test_a_remote_backend_may_ask_for_a_host_and_takes_none_of_it():
    placement = PlacementConfig(backend="remote", source="https://x", min_memory="16GiB")
    assert the_chosen(placement, CPU).devices == ()
    assert "at least 64.00 GiB" in the_reason(msgspec.structs.replace(placement, min_memory="64GiB"), CPU)


# ---- several devices ----


def test_two_devices_serve_one_instance_together():
    chosen = the_chosen(vllm(devices=2), cuda(0), cuda(1), cuda(2), CPU)
    assert [device.id for device in chosen.devices] == ["cuda:0", "cuda:1"]
    assert chosen.reason == "runs on cuda:0 and cuda:1 (NVIDIA A100)"


def test_devices_that_work_together_are_of_one_model_where_there_are_enough():
    chosen = the_chosen(vllm(devices=2), T4, cuda(1), cuda(2))
    assert [device.id for device in chosen.devices] == ["cuda:1", "cuda:2"]
    assert len(the_chosen(vllm(devices=2), T4, cuda(1)).devices) == 2


def test_too_few_devices_are_told_with_their_number():
    assert the_reason(vllm(devices=4), cuda(0), cuda(1)) == (
        "it takes 4 cuda devices at once, and 2 of this host would do"
    )
    reason = the_reason(vllm(devices=2, min_compute_capability=8.0), T4, cuda(1))
    assert reason == (
        "it takes 2 cuda devices at once, and 1 of this host would do; "
        "cuda:0 (Tesla T4) has compute capability 7.5, and at least 8.0 is required"
    )


def test_parts_of_a_divided_device_do_not_work_together():
    parts = [cuda(at, "NVIDIA A100 MIG 3g.20gb", 20, uuid=f"MIG-{at}") for at in range(2)]
    assert "a part of a device" in the_reason(vllm(devices=2), *parts)
    assert the_chosen(vllm(), *parts).devices == (parts[0],)


# ---- what the backend estimates ----


def test_what_does_not_fit_is_told_with_both_numbers():
    footprints = {(0, "cuda"): {"cuda:0": 43 * GIB}}
    reason = the_reason(vllm(), cuda(0), CPU, footprints=footprints)
    assert reason == "it takes 43.00 GiB on cuda:0 (NVIDIA A100), which has 40.00 GiB"


def test_what_fits_is_told_with_both_numbers_too():
    footprints = {(0, "cuda"): {"cuda:0": 10 * GIB}}
    assert the_chosen(vllm(), cuda(0), footprints=footprints).reason == (
        "runs on cuda:0 (NVIDIA A100), takes 10.00 GiB of 40.00 GiB"
    )
    busy = cuda(0, free_bytes=5 * GIB)
    assert the_chosen(vllm(), busy, footprints=footprints).reason.endswith(
        "(of which only 5.00 GiB is free at the moment)"
    )


def test_devices_that_take_different_shares_are_told_one_by_one():
    footprints = {(0, "cuda"): {"cuda:0": 10 * GIB, "cuda:1": 20 * GIB}}
    assert the_chosen(vllm(devices=2), cuda(0), cuda(1, free_bytes=GIB), footprints=footprints).reason == (
        "runs on cuda:0 and cuda:1 (NVIDIA A100), takes 10.00 GiB of 40.00 GiB on cuda:0 and "
        "20.00 GiB of 40.00 GiB (of which only 1.00 GiB is free at the moment) on cuda:1"
    )
    alike = {(0, "cuda"): {"cuda:0": 10 * GIB, "cuda:1": 10 * GIB}}
    reason = the_chosen(vllm(devices=2), cuda(0), cuda(1), footprints=alike).reason
    assert reason == "runs on cuda:0 and cuda:1 (NVIDIA A100), takes 10.00 GiB of 40.00 GiB on each"


def test_a_larger_device_is_taken_where_the_first_is_too_small():
    chosen = the_chosen(vllm(), T4, cuda(1), footprints={(0, "cuda"): {"cuda:0": 20 * GIB}})
    assert chosen.devices[0].id == "cuda:1"


def test_within_one_placement_the_next_kind_is_tried_with_its_own_size():
    placement = PlacementConfig(backend="llamacpp", source="s", requires=("cuda", "cpu"))
    known = {(0, "cuda"): {"cuda:0": 20 * GIB}}
    assert the_chosen(placement, T4, CPU, footprints=known).devices == (CPU,)
    both = {**known, (0, "cpu"): {"cpu": 33 * GIB}}
    assert "it takes 33.00 GiB on cpu (CPU), which has 32.00 GiB" in the_reason(placement, T4, CPU, footprints=both)


def test_what_stays_on_the_processor_must_fit_there():
    footprints = {(0, "cuda"): {"cuda:0": 10 * GIB, "cpu": 40 * GIB}}
    assert "it takes 40.00 GiB on cpu (CPU)" in the_reason(vllm(), cuda(0), CPU, footprints=footprints)


def test_what_does_not_fit_leaves_the_next_placement():
    placements = (vllm(), PlacementConfig(backend="llamacpp", source="s", requires=("cpu",)))
    known = Experience(footprints={(0, "cuda"): {"cuda:0": 20 * GIB}})
    made = plan_model("m", ModelConfig(placements=placements), (T4, CPU), BACKENDS, known)
    assert [planned.index for planned in made.instances] == [1]
    assert "it takes 20.00 GiB" in made.rejected[0].reason


# ---- plugins that are not here ----


@pytest.mark.parametrize(
    ("placement", "reason"),
    [
        (vllm(), "no plugin offers the backend 'vllm' here; to add it: pip install 'enginehouse-vllm'"),
        (vllm(requires=()),
         "no plugin offers the backend 'vllm' here; to add it: pip install 'enginehouse-vllm'"),
        (vllm(min_memory="80GB"), "cuda:0 (NVIDIA A100) has 40.00 GiB of memory, and at least 74.51 GiB is required"),
        (PlacementConfig(backend="mlx", source="s", requires=("apple",)), "it needs apple; this host has cuda, cpu"),
        (PlacementConfig(backend="own", source="s", requires=("apple",)), "it needs apple; this host has cuda, cpu"),
        (PlacementConfig(backend="own", source="s"), "no plugin offers the backend 'own'"),
        (PlacementConfig(backend="mlx", source="s", requires=("cuda",)),
         "it requires cuda, but the backend 'mlx' runs on apple or cpu"),
    ],
)  # fmt: skip
def test_hardware_that_is_missing_is_told_before_a_plugin_that_would_not_help(placement, reason):
    assert the_reason(placement, cuda(0), CPU, backends={}) == reason
