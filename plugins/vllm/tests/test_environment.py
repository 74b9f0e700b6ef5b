import sys
from pathlib import Path

import pytest

from enginehouse_plugin.errors import EngineMissing, LoadFailed, SourceNotFound
from enginehouse_vllm import environment
from enginehouse_vllm.backend import VllmBackend
from enginehouse_vllm.environment import PYTHON_VARIABLE, Installed

from .conftest import CPU, Place
from .test_start import GPUS


@pytest.fixture
def without_vllm(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Neither the variable nor the PATH names one."""
    monkeypatch.delenv(PYTHON_VARIABLE, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))


def a_python_that_says(folder: Path, answer: str) -> str:
    program = folder / "python"
    program.write_text(f"#!/bin/sh\necho '{answer}'\n")
    program.chmod(0o755)
    return str(program)


async def test_an_interpreter_tells_its_vllm_without_importing_it(tmp_path: Path) -> None:
    answer = '{"vllm": "0.32.0+cpu", "torch": "2.13.0+cpu", "xgrammar": "0.2.8"}'
    found = await environment.find(a_python_that_says(tmp_path, answer))
    assert (found.vllm, found.torch, found.xgrammar) == ("0.32.0+cpu", "2.13.0+cpu", "0.2.8")
    assert found.is_for_cpu
    assert found.doubt is None


@pytest.mark.parametrize("answer", ['{"vllm": null}', "no json", ""])
async def test_an_interpreter_without_vllm_is_refused_with_the_fix(tmp_path: Path, answer: str) -> None:
    with pytest.raises(EngineMissing, match=r"has no package vllm. Install vLLM into an environment of its own"):
        await environment.find(a_python_that_says(tmp_path, answer))


@pytest.mark.parametrize("content", [b"#!/nowhere/python\n", b"\x7fELF for another processor"])
async def test_an_interpreter_that_cannot_run_is_one_without_vllm(tmp_path: Path, content: bytes) -> None:
    program = tmp_path / "python"
    program.write_bytes(content)
    program.chmod(0o755)
    report = await VllmBackend().probe(str(program))
    assert not report.available
    assert "has no package vllm" in (report.fix or "")


async def test_the_variable_names_the_interpreter_where_the_placement_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(PYTHON_VARIABLE, a_python_that_says(tmp_path, '{"vllm": "0.30.1"}'))
    found = await environment.find()
    assert (found.vllm, found.is_for_cpu) == ("0.30.1", False)


@pytest.mark.usefixtures("without_vllm")
async def test_a_probe_without_vllm_tells_how_to_get_it() -> None:
    report = await VllmBackend().probe()
    assert not report.available
    assert report.fix is not None
    assert "pip install vllm" in report.fix


async def test_a_probe_finds_vllm_and_imports_nothing_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PYTHON_VARIABLE, a_python_that_says(tmp_path, '{"vllm": "0.99.0", "torch": "3.0"}'))
    report = await VllmBackend().probe()
    assert report.available
    assert (report.engine, report.engine_version) == ("vLLM", "0.99.0")
    assert "untested" in report.detail
    assert not {"vllm", "torch"} & set(sys.modules)


@pytest.mark.parametrize(
    ("version", "is_doubted"),
    [("0.25.1", False), ("0.32.0+cpu", False), ("0.33.0", False), ("0.24.0", True), ("1.0.0", True), ("dev", False)],
)
def test_a_version_that_the_plugin_is_not_made_for_is_doubted(version: str, is_doubted: bool) -> None:
    assert (Installed(python="p", vllm=version).doubt is not None) is is_doubted


def test_the_package_and_its_page_name_the_same_versions() -> None:
    folder = Path(__file__).parents[1]
    (oldest, newest) = (".".join(map(str, version)) for version in (environment.OLDEST, environment.NEWEST))
    above = f"{environment.NEWEST[0]}.{environment.NEWEST[1] + 1}"
    assert f"vllm>={oldest},<{above};" in (folder / "pyproject.toml").read_text()
    assert f"vLLM {oldest} to {newest};" in (folder / "README.md").read_text()


async def test_a_placement_without_a_model_is_refused_before_vllm_is_looked_for(
    placement: Place, tmp_path: Path
) -> None:
    with pytest.raises(SourceNotFound, match=r"config.json and \*.safetensors"):
        await VllmBackend().load(placement(tmp_path / "nothing"), (CPU,), lambda _: None)
    with pytest.raises(LoadFailed, match=r"has no config.json") as caught:
        await VllmBackend().load(placement(tmp_path), (CPU,), lambda _: None)
    assert caught.value.code == "bad_weights"


@pytest.fixture
def without_template(tiny: Path, tmp_path: Path) -> Path:
    """The tiny model without its chat template."""
    for file in tiny.iterdir():
        if file.name not in ("chat_template.jinja", "tokenizer_config.json"):
            (tmp_path / file.name).symlink_to(file)
    return tmp_path


async def test_a_model_without_a_template_is_refused(placement: Place, without_template: Path) -> None:
    with pytest.raises(LoadFailed, match=r"no chat template. Name one with chat_template_file"):
        await VllmBackend().load(placement(without_template), (CPU,), lambda _: None)


async def test_the_estimate_counts_weights_and_cache_on_each_device(placement: Place) -> None:
    backend = VllmBackend()
    on_cpu = (await backend.fit(placement(), (CPU,))).footprint_bytes
    more = (await backend.fit(placement(cache_gib=3), (CPU,))).footprint_bytes
    assert more["cpu"] - on_cpu["cpu"] == 2 << 30
    on_gpus = (await backend.fit(placement(cache_gib=1), GPUS)).footprint_bytes
    assert set(on_gpus) == {"cuda:0", "cuda:1"}
    assert on_gpus["cuda:0"] == on_gpus["cuda:1"] > 1 << 30
    filled = (await backend.fit(placement(cache_gib=None, memory_share=0.5), GPUS)).footprint_bytes
    assert filled["cuda:0"] == GPUS[0].memory_bytes // 2
    on_one = (await backend.fit(placement(cache_gib=1, tensor_parallel=1), GPUS)).footprint_bytes
    assert set(on_one) == {"cuda:0"}
