"""How the engine would be started."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from enginehouse_llamacpp import gguf, start
from enginehouse_llamacpp.options import LlamaCppOptions
from enginehouse_plugin import Device, Placement
from enginehouse_plugin.errors import EngineMissing, LoadFailed

GPUS = tuple(Device(id=f"cuda:{at}", kind="cuda", name="gpu", memory_bytes=1 << 34) for at in (1, 3))
METAL = Device(id="apple", kind="apple", name="apple", memory_bytes=1 << 34)
HEADER = gguf.Gguf({"general.architecture": "llama", "llama.context_length": 32768}, 1000)

Place = Callable[..., Placement]


@pytest.fixture
def place() -> Place:
    def make(**fields: Any) -> Placement:
        options = LlamaCppOptions(**fields.pop("options", {}))
        return Placement(
            **{"model": "m", "backend": "llamacpp", "source": "s", "path": "/w.gguf", "options": options, **fields}
        )

    return make


def settings_of(placement: Placement, devices: tuple[Device, ...] = ()) -> dict[str, Any]:
    command = start.launch(placement, devices, placement.options, HEADER).argv("/s.sock")
    settings: dict[str, Any] = json.loads(command[2])
    return settings


def test_the_embedded_engine_gets_all_it_is_asked_for(place: Place) -> None:
    settings = settings_of(place(context_tokens=1000, options={"slots": 3, "threads": 5, "cache_type_k": "q8_0"}))
    assert settings["socket"] == "/s.sock"
    assert settings["model"] == "/w.gguf"
    assert (settings["slots"], settings["context_tokens"], settings["threads"]) == (3, 1000, 5)
    assert settings["cache_type_k"] == "q8_0"
    assert settings["gpu_layers"] == 0
    assert settings["http_threads"] > 3


def test_the_context_is_the_models_own_up_to_a_limit(place: Place) -> None:
    assert settings_of(place())["context_tokens"] == start.DEFAULT_CONTEXT_TOKENS
    small = gguf.Gguf({"general.architecture": "llama", "llama.context_length": 512}, 1000)
    assert start.context_tokens(place(), small) == 512
    assert start.context_tokens(place(context_tokens=400), small) == 400
    with pytest.raises(LoadFailed, match="context_tokens = 4000 is more than the 512 tokens"):
        start.context_tokens(place(context_tokens=4000), small)


@pytest.mark.parametrize("devices", [GPUS, (METAL,)])
def test_a_gpu_gets_all_layers_unless_told_otherwise(place: Place, devices: tuple[Device, ...]) -> None:
    assert settings_of(place(), devices)["gpu_layers"] > 500
    assert settings_of(place(options={"gpu_layers": 7}), devices)["gpu_layers"] == 7
    assert settings_of(place(options={"reproducible": True}))["batch_tokens"] == 60


def test_only_the_chosen_cuda_devices_are_visible(place: Place) -> None:
    placement = place()
    assert start.launch(placement, GPUS, placement.options, HEADER).env["CUDA_VISIBLE_DEVICES"] == "1,3"
    assert "CUDA_VISIBLE_DEVICES" not in start.launch(placement, (METAL,), placement.options, HEADER).env


def test_what_an_engine_runs_best_with_gives_way_to_the_routers_own_environment(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    placement = place()
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    monkeypatch.setenv("MALLOC_ARENA_MAX", "7")
    env = start.launch(placement, (), placement.options, HEADER).env
    assert (env["OMP_WAIT_POLICY"], env["MALLOC_ARENA_MAX"]) == ("passive", "7")
    monkeypatch.delenv("MALLOC_ARENA_MAX")
    assert start.launch(placement, (), placement.options, HEADER).env["MALLOC_ARENA_MAX"] == "2"


def test_another_interpreter_is_used_where_one_is_named(place: Place) -> None:
    placement = place(python="/other/python")
    assert start.launch(placement, (), placement.options, HEADER).argv("/s.sock")[0] == "/other/python"


@pytest.fixture
def program(tmp_path: Path) -> Path:
    path = tmp_path / "llama-server"
    path.write_text("#!/bin/sh\necho 'version: 9999 (abc)' >&2\n")
    path.chmod(0o755)
    return path


def test_a_program_gets_the_same_as_arguments(place: Place, program: Path) -> None:
    placement = place(
        context_tokens=1000,
        options={"binary": str(program), "slots": 2, "chat_template": "{{ x }}", "extra_arguments": ("--verbose",)},
    )
    command = list(start.launch(placement, (), placement.options, HEADER).argv("/s.sock"))
    assert command[0] == str(program)
    for name, value in (
        ("--host", "/s.sock"),
        ("--ctx-size", "2000"),
        ("--parallel", "2"),
        ("--chat-template", "{{ x }}"),
    ):
        assert command[command.index(name) + 1] == value
    for flag in (
        "--no-prefill-assistant",
        "--no-context-shift",
        "--no-kv-unified",
        "--metrics",
        "--slots",
        "--jinja",
        "--no-webui",
    ):
        assert flag in command
    assert command[-1] == "--verbose"


async def test_a_program_tells_its_version(program: Path) -> None:
    assert await start.binary_version(str(program)) == "9999 (abc)"


def test_without_xllamacpp_the_program_on_the_path_is_found(
    place: Place, program: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(start, "embedded_version", lambda: None)
    monkeypatch.setenv("PATH", str(program.parent))
    placement = place()
    assert start.launch(placement, (), placement.options, HEADER).argv("/s")[0] == str(program)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(EngineMissing, match="pip install"):
        start.launch(placement, (), placement.options, HEADER)
    embedded = place(options={"start": "embedded"})
    with pytest.raises(EngineMissing, match="xllamacpp"):
        start.launch(embedded, (), embedded.options, HEADER)


def test_arguments_that_nobody_would_get_are_refused(place: Place) -> None:
    placement = place(options={"extra_arguments": ("--verbose",)})
    with pytest.raises(LoadFailed, match="extra_arguments"):
        start.launch(placement, (), placement.options, HEADER)


def test_a_template_file_is_read_and_its_absence_named(place: Place, tmp_path: Path) -> None:
    file = tmp_path / "template.jinja"
    file.write_text("{{ é }}", encoding="utf-8")
    assert settings_of(place(options={"chat_template_file": str(file)}))["chat_template"] == "{{ é }}"
    with pytest.raises(LoadFailed, match="chat_template_file"):
        settings_of(place(options={"chat_template_file": str(tmp_path / "none")}))


@pytest.mark.parametrize(
    "options",
    [
        {"slots": 0},
        {"slotz": 1},
        {"start": "somehow"},
        {"cache_type_k": "q3"},
        {"load_timeout_s": 0},
        {"chat_template": "a", "chat_template_file": "b"},
        {"start": "embedded", "binary": "x"},
        {"start": "embedded", "extra_arguments": ["--x"]},
        {"cache_type_v": "q8_0", "flash_attention": "off"},
        {"cache_type_k": "f32", "flash_attention": "on"},
        {"cache_type_k": "f32", "cache_type_v": "q8_0"},
    ],
)
def test_options_are_strict(options: dict[str, Any]) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(options, LlamaCppOptions)


def test_a_cache_in_f32_turns_flash_attention_off() -> None:
    """It would have no effect beside it."""
    assert LlamaCppOptions(cache_type_k="f32").flash == LlamaCppOptions(cache_type_v="f32").flash == "off"
    assert LlamaCppOptions().flash == "auto"


def test_every_option_says_what_it_is_for() -> None:
    source = Path(start.__file__).with_name("options.py").read_text(encoding="utf-8")
    for field in LlamaCppOptions.__struct_fields__:
        assert '"""' in source.partition(f"    {field}: ")[2].partition("\n")[2].lstrip()[:3], field


def test_the_readme_names_every_option_and_no_other() -> None:
    readme = Path(start.__file__).parent.parent.joinpath("README.md").read_text(encoding="utf-8")
    table = readme.partition("## Options")[2].partition("\n## ")[0]
    named = {
        name
        for row in table.splitlines()
        if row.startswith("| `")
        for name in re.findall(r"`(\w+)`", row.split("|")[1])
    }
    assert named == set(LlamaCppOptions.__struct_fields__)
