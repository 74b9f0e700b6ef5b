"""Which of the known engines can run on a host, what each lacks, and what hides hardware."""

from __future__ import annotations

import msgspec
import pytest

from enginehouse.cli.commands import doctor
from enginehouse.cli.shared.engines import engine_checks
from enginehouse.config import absent_backends
from enginehouse.hardware import Survey, Trouble
from enginehouse.plugins import Plugins
from enginehouse_plugin import API_VERSION, Backend, BackendType, Device, ProbeReport, hookimpl

from .conftest import Run

GPU = Device(id="cuda:0", kind="cuda", name="GPU", memory_bytes=1 << 34)
APPLE = Device(id="apple", kind="apple", name="Mac", memory_bytes=1 << 34)
CPU = Device(id="cpu", kind="cpu", name="CPU", memory_bytes=1 << 34)


class Options(msgspec.Struct, frozen=True):
    """None."""


class Probed(Backend):
    """Says what the test wants; of an interpreter that a placement names, that it is there."""

    def __init__(self, report: ProbeReport) -> None:
        self.report = report

    async def probe(self, python: str | None = None) -> ProbeReport:
        if python is not None:
            return ProbeReport(available=True, engine=self.report.engine, detail=python)
        return self.report

    async def load(self, placement, devices, progress):
        raise NotImplementedError


class Plugin:
    """A plugin of one backend."""

    enginehouse_api = API_VERSION

    def __init__(self, name: str, kinds, **report) -> None:
        found = ProbeReport(engine=f"The {name}", **{"available": True, **report})
        self.kind = BackendType(
            name=name, version="1", create=lambda: Probed(found), options=Options, kinds=tuple(kinds)
        )

    @hookimpl
    def enginehouse_backends(self):
        return [self.kind]


def checked(devices, *offered: Plugin, used=()):
    plugins = Plugins()
    for plugin in offered:
        plugins.add(plugin, plugin.kind.name)
    assert plugins.quarantined == []
    return {check.name: check for check in engine_checks(plugins, devices, used)}


def test_every_known_engine_is_told_of_without_its_plugin():
    found = checked((GPU, CPU))
    assert list(found) == ["llamacpp", "mlx", "vllm", "upstream"]
    assert found["vllm"].detail == "vLLM could run on cuda:0, cpu; its plugin is not installed"
    assert found["vllm"].fix.endswith(" -m pip install 'enginehouse-vllm'")
    assert found["llamacpp"].fix.endswith(" -m pip install 'enginehouse-llamacpp[engine]'")
    assert {check.verdict for check in found.values()} == {"note"}


def test_an_engine_whose_hardware_is_not_here_gets_no_command():
    found = checked((APPLE,), Plugin("mlx", ("apple",)), Plugin("steam", ("cuda",), available=False, fix="buy steam"))
    assert found["vllm"].detail == "vLLM: it cannot run here: it needs cuda or cpu, and this host has apple"
    assert found["vllm"].fix is None
    assert found["steam"].detail == "The steam; it cannot run here: it needs cuda, and this host has apple"
    assert found["steam"].fix is None


def test_an_engine_that_is_here_says_where_it_can_run():
    check = checked((CPU, GPU), Plugin("vllm", ("cuda", "cpu"), engine_version="0.32.0"))["vllm"]
    assert (check.verdict, check.detail) == ("ok", "The vllm 0.32.0, runs on cuda:0, cpu")


def test_an_engine_that_tells_its_devices_is_told_with_them():
    seen = Device(id="vulkan:0", kind="vulkan", name="Radeon 780M", memory_bytes=1 << 34)
    check = checked((seen, CPU), Plugin("llamacpp", ("vulkan", "cpu"), devices=(seen,)))["llamacpp"]
    assert check.detail == "The llamacpp, runs on vulkan:0, cpu; this build sees vulkan:0 (Radeon 780M)"


def test_an_engine_that_is_missing_comes_with_its_command():
    lacking = Plugin("mlx", ("apple",), available=False, detail="no module mlx", fix="pip install mlx")
    check = checked((APPLE, CPU), lacking)["mlx"]
    assert (check.verdict, check.detail, check.fix) == ("note", "The mlx: no module mlx", "pip install mlx")
    assert checked((APPLE, CPU), lacking, used={("mlx", None)})["mlx"].verdict == "missing"


def test_an_engine_is_looked_for_where_its_placement_says():
    lacking = Plugin("mlx", ("apple",), available=False, detail="no module mlx", fix="pip install mlx")
    plugins = Plugins()
    plugins.add(lacking, "mlx")
    told = [
        [(check.verdict, check.detail) for check in engine_checks(plugins, (APPLE,), used) if check.name == "mlx"]
        for used in ({("mlx", "/its/python")}, {("mlx", "/its/python"), ("mlx", None)})
    ]
    there = ("ok", "The mlx: /its/python, runs on apple")
    assert told == [[there], [("missing", "The mlx: no module mlx"), there]]


def test_a_probe_that_breaks_is_told_as_such():
    class Broken(Probed):
        async def probe(self):  # of a plugin that knows of no other interpreter
            raise ValueError("no such thing")

    plugin = Plugin("mlx", ("apple",))
    plugin.kind = msgspec.structs.replace(plugin.kind, create=lambda: Broken(ProbeReport(available=True, engine="x")))
    assert checked((APPLE,), plugin)["mlx"].detail == "mlx: its plugin broke: ValueError: no such thing"
    plugins = Plugins()
    plugins.add(plugin, "mlx")
    named = [
        check.detail for check in engine_checks(plugins, (APPLE,), {("mlx", "/its/python")}) if check.name == "mlx"
    ]
    assert len(named) == 1
    assert "its plugin broke: TypeError" in named[0]


def test_what_hides_hardware_is_told_with_the_fix(enginehouse: Run, monkeypatch):
    trouble = Trouble(name="cuda", problem="the driver is not loaded", fix="modprobe nvidia")
    monkeypatch.setattr(doctor, "survey", lambda: Survey(troubles=(trouble,)))
    done = enginehouse("doctor")
    assert "note    device  cuda: the driver is not loaded\n                fix: modprobe nvidia\n" in done.out


@pytest.mark.parametrize("name", sorted(absent_backends()))
def test_what_is_known_of_an_engine_is_what_its_plugin_offers(name):
    backends = Plugins.load().backends
    if name not in backends:
        pytest.skip(f"needs the plugin: pip install -e plugins/{name}")
    assert backends[name].kinds == absent_backends()[name].kinds
