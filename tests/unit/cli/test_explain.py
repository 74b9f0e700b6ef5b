"""`enginehouse explain` for this host and for others, whose devices lie in hosts/ as `doctor --json` prints them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from enginehouse import plugins
from tests.weights import tiny_gguf, tiny_hf

from .conftest import Run

HOSTS = Path(__file__).parent / "hosts"
MIXED = str(Path(__file__).parents[3] / "examples" / "mixed-fleet.toml")


def host(name: str) -> str:
    return str(HOSTS / f"{name}.json")


@pytest.fixture
def without(monkeypatch: pytest.MonkeyPatch):
    """`without("vllm")`: this host, as if that plugin were not installed."""

    def hide(*names: str) -> None:
        found = [point for point in plugins.entry_points(group=plugins.ENTRY_POINT_GROUP) if point.name not in names]
        monkeypatch.setattr(plugins, "entry_points", lambda group: found)

    return hide


def explained(enginehouse: Run, model: str, on: str, config: str = MIXED) -> list[dict[str, Any]]:
    listing = enginehouse("explain", model, "-c", config, "--devices", host(on), "--json").json
    (explanation,) = listing["models"]
    return explanation["placements"]


def the_chosen(rows: list[dict[str, Any]]) -> dict[str, Any]:
    (chosen,) = [row for row in rows if row["is_chosen"]]
    return chosen


# ---- one file, many hosts ----


@pytest.mark.parametrize(
    ("on", "backend", "devices"),
    [
        ("gpu-server", "vllm", ["cuda:0"]),
        ("mac", "mlx", ["apple"]),
        ("laptop", "llamacpp", ["cpu"]),
        ("old-gpu", "llamacpp", ["cpu"]),
        ("small-gpu", "llamacpp", ["cpu"]),
    ],
)
def test_one_file_chooses_for_each_host_of_a_mixed_fleet(enginehouse: Run, on, backend, devices) -> None:
    chosen = the_chosen(explained(enginehouse, "assistant", on))
    assert (chosen["backend"], chosen["devices"]) == (backend, devices)


@pytest.mark.parametrize(
    ("on", "reasons"),
    [
        ("gpu-server", {1: "placement 0 comes first", 2: "placement 0 comes first"}),
        ("mac", {0: "it needs cuda; this host has apple, cpu", 2: "placement 1 comes first"}),
        ("laptop", {0: "it needs cuda; this host has cpu", 1: "it needs apple; this host has cpu"}),
        ("old-gpu", {0: "cuda:0 (Tesla P100-PCIE-16GB) has compute capability 6.0, and at least 8.0 is required",
                     1: "it needs apple; this host has cuda, cpu"}),
        ("small-gpu", {0: "cuda:0 (NVIDIA GeForce RTX 3050) has 6.00 GiB of memory, and at least 7.45 GiB is required",
                       1: "it needs apple; this host has cuda, cpu"}),
    ],
)  # fmt: skip
def test_each_host_is_told_why_the_other_placements_are_not_used(enginehouse: Run, on, reasons) -> None:
    rows = explained(enginehouse, "assistant", on)
    assert {row["index"]: row["reason"] for row in rows if not row["is_chosen"]} == reasons


def test_two_devices_serve_an_instance_where_there_are_two(enginehouse: Run) -> None:
    chosen = the_chosen(explained(enginehouse, "assistant/large", "gpu-server"))
    assert chosen["devices"] == ["cuda:0", "cuda:1"]
    (row,) = explained(enginehouse, "assistant/large", "small-gpu")
    assert row["reason"].startswith("it takes 2 cuda devices at once, and 0 of this host would do")


def test_a_host_without_the_plugin_takes_the_next_placement_and_says_what_to_install(enginehouse: Run, without) -> None:
    without("vllm")
    rows = explained(enginehouse, "assistant", "gpu-server")
    assert the_chosen(rows)["backend"] == "llamacpp"
    assert rows[0]["reason"] == "no plugin offers the backend 'vllm' here; to add it: pip install 'enginehouse-vllm'"
    assert rows[1]["reason"] == "it needs apple; this host has cuda, cpu"


def test_models_lists_placements_whose_plugin_is_not_here(enginehouse: Run, without) -> None:
    without("vllm", "mlx")
    listing = enginehouse("models", "-c", MIXED, "--json").json
    states = [row["weights"] for row in listing[0]["placements"]]
    assert states[:2] == ["no plugin", "no plugin"]


# ---- what does not fit ----


@pytest.fixture(scope="module")
def weights() -> Path:
    """Found before a test names a cache of its own."""
    return tiny_gguf()


@pytest.fixture
def tiny(weights: Path, tmp_path: Path) -> str:
    file = tmp_path / "tiny.toml"
    file.write_text(f'[[models.tiny.placements]]\nbackend = "llamacpp"\nsource = "{weights}"\nrequires = ["cpu"]\n')
    return str(file)


def test_what_an_engine_estimates_is_told_beside_what_the_host_has(enginehouse: Run, tiny: str) -> None:
    (fits,) = explained(enginehouse, "tiny", "laptop", tiny)
    assert fits["is_chosen"]
    assert fits["reason"].startswith("runs on cpu (Intel(R) Core(TM) Ultra 7 155H), takes ")
    assert fits["reason"].endswith(" MiB of 31.10 GiB")
    (too_large,) = explained(enginehouse, "tiny", "tiny-board", tiny)
    assert not too_large["is_chosen"]
    assert too_large["reason"].startswith("it takes ")
    assert too_large["reason"].endswith(" MiB on cpu (ARMv7 Processor rev 5 (v7l)), which has 16 MiB")


@pytest.fixture(scope="module")
def folder() -> Path:
    """Found before a test names a cache of its own."""
    return tiny_hf()


@pytest.mark.parametrize(
    ("on", "backend", "device"),
    [
        ("gpu-server", "vllm", "cuda:0 (NVIDIA H200)"),
        ("mac", "mlx", "apple (Apple M4 Max)"),
        ("laptop", "llamacpp", "cpu (Intel(R) Core(TM) Ultra 7 155H)"),
    ],
)
def test_every_engine_weighs_the_same_model_for_its_host(
    enginehouse: Run, weights: Path, folder: Path, tmp_path: Path, on, backend, device
) -> None:
    file = tmp_path / "tiny.toml"
    file.write_text(f"""
        [models.tiny]
        context_tokens = 512
        placements = [
          {{ backend = "vllm", source = "{folder}", requires = ["cuda"] }},
          {{ backend = "mlx", source = "{folder}", requires = ["apple"] }},
          {{ backend = "llamacpp", source = "{weights}", requires = ["cpu"] }},
        ]
    """)
    chosen = the_chosen(explained(enginehouse, "tiny", on, str(file)))
    assert chosen["backend"] == backend
    assert re.fullmatch(rf"runs on {re.escape(device)}, takes [\d.]+ [MG]iB of [\d.]+ GiB", chosen["reason"])


def test_weights_that_are_not_here_leave_the_choice_and_are_told(enginehouse: Run) -> None:
    chosen = the_chosen(explained(enginehouse, "assistant", "laptop"))
    assert chosen["reason"].endswith("whether it fits is not known: its weights are not here yet")


def test_a_file_of_weights_that_is_not_there_is_named_and_not_passed_over(enginehouse: Run, tmp_path: Path) -> None:
    """Its owner would not hear of it, were the next placement taken in silence."""
    file = tmp_path / "lost.toml"
    file.write_text("""
        [models.lost]
        placements = [
          { backend = "llamacpp", source = "lost.gguf" },
          { backend = "llamacpp", source = "demo:smollm2-135m" },
        ]
    """)
    chosen = the_chosen(explained(enginehouse, "lost", "laptop", str(file)))
    assert chosen["index"] == 0
    assert f"whether it fits is not known: No weights at '{tmp_path / 'lost.gguf'}'" in chosen["reason"]


def test_a_file_for_other_hosts_alone_is_explained_here(enginehouse: Run, without, tmp_path: Path) -> None:
    """A laptop that has none of the fleet's plugins can still plan for the fleet."""
    without("vllm", "mlx")
    file = tmp_path / "fleet.toml"
    file.write_text("""
        [models.m]
        placements = [
          { backend = "vllm", source = "s", requires = ["cuda"] },
          { backend = "mlx", source = "s", requires = ["apple"] },
        ]
    """)
    reasons = [row["reason"] for row in explained(enginehouse, "m", "laptop", str(file))]
    assert reasons == ["it needs cuda; this host has cpu", "it needs apple; this host has cpu"]
    assert "pip install 'enginehouse-vllm'" in explained(enginehouse, "m", "gpu-server", str(file))[0]["reason"]


# ---- the command ----


def test_without_a_model_all_are_explained(enginehouse: Run) -> None:
    done = enginehouse("explain", "-c", MIXED, "--devices", host("mac"))
    assert done.code == 0
    assert done.out.startswith(f"Devices of {host('mac')}: apple (Apple M4 Max), cpu (Apple M4 Max)\n")
    assert "\nassistant\n  0. vllm with hub:" in done.out
    assert "\nassistant/large: no place\n" in done.out


def test_a_model_without_a_place_on_the_other_host_is_an_error(enginehouse: Run) -> None:
    done = enginehouse("explain", "assistant/large", "-c", MIXED, "--devices", host("mac"))
    assert done.code == 1
    assert done.err == f"Error: 'assistant/large' has no place on the host of {host('mac')}.\n"


def test_what_doctor_prints_is_what_explain_reads(enginehouse: Run, tmp_path: Path) -> None:
    file = tmp_path / "here.json"
    file.write_text(enginehouse("doctor", "--json").out)
    here = enginehouse("explain", "--json").json
    there = enginehouse("explain", "--devices", str(file), "--json").json
    assert [device["id"] for device in there["devices"]] == [device["id"] for device in here["devices"]]
    assert there["models"][0]["placements"][0]["is_chosen"]
    file.write_text(json.dumps(there["devices"]))
    assert enginehouse("explain", "--devices", str(file), "--json").json["devices"] == there["devices"]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "it is not JSON"),
        ("{", "it is not JSON"),
        ("{}", "it has no list 'devices'"),
        ("7", "Expected `array`, got `int`"),
        ('[{"id": "cuda:0"}]', "Object missing required field `kind` - at `devices[0]`"),
        (
            '[{"id": "x", "kind": "TPU", "name": "x", "memory_bytes": 1}]',
            "Expected a kind of device, one word such as cuda, rocm, apple, vulkan, cpu - at `devices[0].kind`",
        ),
        ('[{"id": "x", "kind": "cpu", "name": "x", "memory_bytes": "1"}]', "at `devices[0].memory_bytes`"),
        (json.dumps([{"id": "x", "kind": "cpu", "name": "x", "memory_bytes": 1}] * 2), "two devices are called 'x'"),
        ('[{"id": "", "kind": "cpu", "name": "x", "memory_bytes": 1}]', "`devices[0].id` is empty"),
        ('[{"id": "x", "kind": "cpu", "name": "x", "memory_bytes": 0}]', "`devices[0].memory_bytes` is 0"),
        ('[{"id": "x", "kind": "cpu", "name": "x", "memory_bytes": -5}]', "`devices[0].memory_bytes` is -5"),
        ('[{"id": "x", "kind": "cpu", "name": "x", "memory_bytes": 1e60}]', "at `devices[0].memory_bytes`"),
        ('[{"id": "x", "kind": "cpu", "name": "x", "memory_bytes": 1, "free_bytes": -1}]', "`devices[0].free_bytes`"),
        ("[" * 100_000, "it is not JSON"),
    ],
)
def test_a_file_that_holds_no_devices_is_refused_with_the_place(
    enginehouse: Run, tmp_path: Path, text, problem
) -> None:
    file = tmp_path / "devices.json"
    file.write_text(text)
    done = enginehouse("explain", "--devices", str(file))
    assert done.code == 1
    assert done.err.startswith(f"Error: {file}: ")
    assert problem in done.err
    assert "enginehouse doctor --json" in done.err


def test_a_file_of_devices_that_is_not_there_is_told(enginehouse: Run, tmp_path: Path) -> None:
    done = enginehouse("explain", "--devices", str(tmp_path / "absent.json"))
    assert (done.code, "it cannot be read: No such file" in done.err) == (1, True)


def test_each_default_is_listed_with_where_it_is_from(enginehouse: Run, tmp_path: Path) -> None:
    folder = tmp_path / "weights"
    folder.mkdir()
    (folder / "generation_config.json").write_text('{"temperature": 0.6, "top_p": 0.8, "typical_p": 0.5}')
    file = tmp_path / "house.toml"
    file.write_text(
        '[models."m"]\ndefaults = { top_p = 0.9 }\nplacements = [{ backend = "mlx", source = "weights" }]\n'
    )
    on = ("--config", str(file), "--devices", host("laptop"))
    (line,) = [line for line in enginehouse("explain", "m", *on).out.splitlines() if "Defaults:" in line]
    assert "temperature 0.6 (weights), top_p 0.9 (configuration), top_k 0 (api)," in line
    assert "typical_p the weights recommend 0.5: the API has no such field" in line
    (model,) = enginehouse("explain", "m", *on, "--json").json["models"]
    assert {"field": "top_p", "value": 0.9, "origin": "configuration", "remark": ""} in model["defaults"]
