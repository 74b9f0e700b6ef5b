"""Which placement of a model is chosen on which host, and why the others are not."""

from __future__ import annotations

import msgspec
import pytest

from enginehouse.config import PlacementConfig
from enginehouse.fleet import place
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


@pytest.mark.parametrize(
    ("devices", "index", "device"), [((CUDA, CPU), 0, "cuda:0"), ((APPLE, CPU), 1, "apple"), ((CPU,), 2, "cpu")]
)
def test_one_file_serves_hosts_of_every_kind(devices, index, device):
    decision = place(FLEET, devices, BACKENDS)
    assert decision.chosen is not None
    assert decision.chosen.index == index
    assert [found.id for found in decision.chosen.devices] == [device]
    assert device in decision.chosen.reason
    assert {rejected.index for rejected in decision.rejected} == {0, 1, 2} - {index}


def test_every_rejected_placement_has_its_reason_in_words():
    decision = place(FLEET, (APPLE, CPU), BACKENDS)
    assert [rejected.reason for rejected in decision.rejected] == [
        "it needs cuda; this host has apple, cpu",
        "placement 1 comes first",
    ]


def test_without_a_requirement_the_backends_first_kind_that_is_here_is_taken():
    placement = PlacementConfig(backend="llamacpp", source="s")
    for devices, wanted in (((CPU, CUDA), "cuda:0"), ((CPU, APPLE), "apple"), ((CPU,), "cpu")):
        chosen = place((placement,), devices, BACKENDS).chosen
        assert chosen is not None
        assert chosen.devices[0].id == wanted


def test_the_order_of_the_requirement_goes_before_the_backends():
    placement = PlacementConfig(backend="llamacpp", source="s", requires=("cpu", "cuda"))
    chosen = place((placement,), (CUDA, CPU), BACKENDS).chosen
    assert chosen is not None
    assert chosen.devices == (CPU,)


def test_a_remote_backend_takes_no_device():
    chosen = place((PlacementConfig(backend="remote", source="http://x"),), (CPU,), BACKENDS).chosen
    assert chosen is not None
    assert chosen.devices == ()


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
    decision = place((placement,), (CPU,), BACKENDS)
    assert decision.chosen is None
    assert [rejected.reason for rejected in decision.rejected] == [reason]


def test_a_host_without_devices_says_so():
    assert place(FLEET[:1], (), BACKENDS).rejected[0].reason == "it needs cuda; this host has no device"
