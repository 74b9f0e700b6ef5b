"""`enginehouse serve MODEL…` and `chat MODEL`: models that stand in no file."""

from __future__ import annotations

import contextlib
import shlex
import tomllib
from pathlib import Path
from typing import Any

import pytest
from tests.docs.fenced import ROOT

from enginehouse import assembly
from enginehouse.cli.commands import chat
from enginehouse.cli.shared import named as named_module
from enginehouse.config import Config
from enginehouse.weights import hub
from enginehouse_plugin import ProbeReport

from .conftest import Run, Scripted


@pytest.fixture
def gguf(tmp_path: Path) -> str:
    """A file that looks like weights: nothing here loads them."""
    file = tmp_path / "tiny-f32.gguf"
    file.write_bytes(b"GGUF")
    return str(file)


@pytest.fixture
def folder(tmp_path: Path) -> str:
    """A folder that looks like weights."""
    made = tmp_path / "tiny"
    made.mkdir()
    (made / "model.safetensors").touch()
    return str(made)


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[Config]:
    """Configurations that would have been served."""
    configs: list[Config] = []
    monkeypatch.setattr(assembly, "serve", lambda config, *_: configs.append(config))
    return configs


@pytest.fixture
def engines(monkeypatch: pytest.MonkeyPatch):
    """`engines("vllm")`: as if the engines of these backends were here, and no others."""

    def here(*names: str) -> None:
        async def probe_all(asked: Any) -> list[ProbeReport]:
            return [
                ProbeReport(available=backend.name in names, engine=backend.name, detail="absent", fix="get it")
                for backend, _ in asked
            ]

        monkeypatch.setattr(named_module, "probe_all", probe_all)

    return here


def the_placement(config: Config, model: str) -> Any:
    (placement,) = config.models[model].placements
    return placement


def test_models_of_every_format_are_served_by_an_engine_that_loads_them(
    enginehouse: Run, served: list[Config], engines, gguf: str, folder: str
) -> None:
    engines("vllm")
    done = enginehouse("serve", gguf, folder, "--name", "a", "--name", "org/b", "--context", "512", "--device", "cpu")
    assert done.code == 0, done.err
    (config,) = served
    assert [(name, the_placement(config, name).backend) for name in config.models] == [
        ("a", "llamacpp"),
        ("org/b", "vllm"),
    ]
    assert the_placement(config, "a").source == gguf
    assert all(model.context_tokens == 512 for model in config.models.values())
    assert the_placement(config, "a").requires == ("cpu",)


def test_without_names_models_are_called_as_their_weights(
    enginehouse: Run, served: list[Config], tmp_path: Path
) -> None:
    (tmp_path / "Some.Q4_1.gguf").write_bytes(b"GGUF")
    assert enginehouse("serve", str(tmp_path / "Some.Q4_1.gguf"), "demo:smollm2-135m").code == 0
    assert list(served[0].models) == ["Some.Q4_1", "smollm2-135m"]


def test_options_of_the_backend_are_values_of_toml_or_text(enginehouse: Run, served: list[Config], gguf: str) -> None:
    settings = ("--set", "slots=2", "--set", "prefix_cache=false", "--set", "cache_type_k=f32", "--set", 'start="auto"')
    assert enginehouse("serve", gguf, *settings).code == 0
    options = the_placement(served[0], "tiny-f32").options
    assert (options.slots, options.prefix_cache, options.cache_type_k, options.start) == (2, False, "f32", "auto")


def test_the_printed_file_serves_the_same(
    enginehouse: Run, served: list[Config], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "m.gguf").write_bytes(b"GGUF")
    (tmp_path / "here" / "t.jinja").write_text("{{ messages }}")
    monkeypatch.chdir(tmp_path / "here")
    options = ("--name", 'odd "name"', "--context", "99", "--port", "8123", "--log-level", "error", "--device", "cpu")
    settings = ("--set", "chat_template_file=t.jinja", "--set", "slots=2")
    line = ("serve", "m.gguf", *options, *settings)
    printed = enginehouse(*line, "--print-config")
    assert (printed.code, served) == (0, [])
    assert enginehouse(*line).code == 0
    monkeypatch.chdir(tmp_path)
    (tmp_path / "house.toml").write_text(printed.out)
    assert enginehouse("serve", "-c", "house.toml").code == 0
    named, read = served
    assert (read.models, read.server, read.log) == (named.models, named.server, named.log)
    assert set(tomllib.loads(printed.out)) == {"server", "log", "models"}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("GGUF", "GGUF"), "Two models would be called 'tiny-f32'"),
        (("GGUF", "--name", "a", "--name", "b"), "There are 1 models and 2 names"),
        (("GGUF", "--config", "house.toml"), "Give models or --config, not both"),
        (("--context", "5"), "--context is for a model that is named here"),
        (("--print-config",), "--print-config goes with MODEL"),
        (("GGUF", "--set", "slots"), "write OPTION=VALUE"),
        (("GGUF", "--set", "slotz=1"), "Did you mean 'slots'?"),
        (("GGUF", "--backend", "mlx"), "the backend 'mlx' loads safetensors"),
        (("GGUF", "--backend", "lamacpp"), "Did you mean 'llamacpp'?"),
    ],
)
def test_what_does_not_go_together_is_wrong_usage(
    enginehouse: Run, served: list[Config], gguf: str, arguments: tuple[str, ...], words: str
) -> None:
    done = enginehouse("serve", *(gguf if word == "GGUF" else word for word in arguments))
    assert (done.code, served) == (2, [])
    assert words in done.err


def test_the_commands_of_the_documentation_serve_what_they_say(
    enginehouse: Run, served: list[Config], engines, scripted: Scripted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engines("mlx")
    (tmp_path / "weights" / "folder").mkdir(parents=True)
    (tmp_path / "weights" / "model.gguf").write_bytes(b"GGUF")
    (tmp_path / "weights" / "folder" / "model.safetensors").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(hub, "listed", lambda _: ("1" * 40, ["m-Q4_K_M.gguf", "m-Q8_0.gguf"]))
    monkeypatch.setattr(chat, "serving", lambda _: contextlib.nullcontext(scripted.url))
    scripted.says("It pulls.")
    for line in commands_of("Without a file"):
        program, *arguments = shlex.split(line.partition(" > ")[0])
        assert program == "enginehouse"
        done = enginehouse(*arguments)
        assert done.code == 0, done.err
        if " > " in line:
            assert tomllib.loads(done.out)["models"]["model"]["placements"][0]["backend"] == "llamacpp"
    assert [list(config.models) for config in served] == [["model"], ["small", "big"], ["m-Q4_K_M"]]
    assert the_placement(served[2], "m-Q4_K_M").options.slots == 2


def commands_of(heading: str) -> list[str]:
    """The lines that the configuration's page says to type under *heading*."""
    section = (ROOT / "docs/configuration.md").read_text().split(f"\n## {heading}\n")[1].split("\n## ")[0]
    return section.split("```sh\n")[1].split("```")[0].splitlines()


def test_where_no_engine_can_run_the_ways_to_get_one_are_told(
    enginehouse: Run, served: list[Config], engines, folder: str
) -> None:
    engines()
    done = enginehouse("serve", folder)
    assert (done.code, served) == (2, [])
    assert "No engine that loads safetensors weights can run here." in done.err
    assert "mlx: absent. get it" in done.err


@pytest.mark.parametrize("detail", ["It is absent. Get it.", "It is absent"])
def test_a_way_to_get_an_engine_is_told_once(detail: str) -> None:
    report = ProbeReport(available=False, engine="mlx", detail=detail, fix="Get it.")
    assert named_module._lack(report).rstrip(".") == "It is absent. Get it"


def test_a_configuration_in_the_environment_gives_way_to_models(
    enginehouse: Run, served: list[Config], gguf: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ENGINEHOUSE_CONFIG", "lost.toml")
    assert enginehouse("serve", gguf).code == 0
    assert list(served[0].models) == ["tiny-f32"]


def test_a_model_that_is_named_is_talked_to_without_a_server(
    enginehouse: Run, scripted: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []

    @contextlib.contextmanager
    def own(named: Any):
        asked.append(named)
        yield scripted.url

    monkeypatch.setattr(chat, "serving", own)
    scripted.says("Paris")
    done = enginehouse("chat", "lost.gguf", "--context", "64", "What", "is", "it?")
    assert (done.code, done.out) == (0, "Paris\n")
    assert scripted.asked[0]["messages"][-1]["content"] == "What is it?"
    assert asked[0].arguments == ["--context=64", "--", "lost.gguf"]
    assert enginehouse("chat", "lost.gguf", "--url", scripted.url, "x").code == 2


def test_why_a_model_cannot_be_talked_to_is_told(enginehouse: Run, tmp_path: Path) -> None:
    (tmp_path / "bad.gguf").write_bytes(b"GGUF" + bytes(40))
    done = enginehouse("chat", str(tmp_path / "bad.gguf"), "Hi")
    assert done.code == 1
    assert "bad.gguf' is not a GGUF file" in done.err
