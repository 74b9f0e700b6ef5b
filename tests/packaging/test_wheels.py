from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path

import httpx
import pytest

from .conftest import Environment, clean_environment, fill, serving

OF_THE_TREE = ("tests", "plugins", "router", "examples", "docs")


@pytest.mark.parametrize(
    ("distribution", "package"),
    [
        (".", "enginehouse"),
        ("plugins/contract", "enginehouse_plugin"),
        ("plugins/kit", "enginehouse_kit"),
        ("plugins/llamacpp", "enginehouse_llamacpp"),
        ("plugins/mlx", "enginehouse_mlx"),
        ("plugins/upstream", "enginehouse_upstream"),
        ("plugins/vllm", "enginehouse_vllm"),
        ("conformance", "enginehouse_conformance"),
        ("examples/tutorial-plugin", "enginehouse_markov.py"),
    ],
)
def test_a_wheel_holds_its_package_and_nothing_else(
    wheels: Mapping[str, Path], distribution: str, package: str
) -> None:
    with zipfile.ZipFile(wheels[distribution]) as wheel:
        names = wheel.namelist()
    tops = {name.partition("/")[0] for name in names if ".dist-info/" not in name}
    assert tops == {package}
    if not package.endswith(".py"):
        assert f"{package}/py.typed" in names
    assert not [name for name in names if "__pycache__" in name]


@pytest.mark.parametrize("name", OF_THE_TREE)
def test_folders_of_the_tree_are_not_importable(environment: Environment, name: str) -> None:
    """Neither from the wheels nor from an editable installation."""
    script = f"import importlib.util, sys; sys.exit(importlib.util.find_spec('{name}') is not None)"
    environment.run("python", "-c", script)
    done = subprocess.run([sys.executable, "-c", script], cwd=environment.away, env=clean_environment())
    assert done.returncode == 0, f"'{name}' is importable where the tests run"


def test_every_module_of_the_wheels_imports(environment: Environment) -> None:
    script = """
import importlib, pkgutil
EXTRA = ("enginehouse.telemetry.otlp", "enginehouse.telemetry.spans")  # OpenTelemetry's packages; MLX's are one, too
for part in ("", "_plugin", "_kit", "_llamacpp", "_mlx", "_upstream", "_vllm", "_conformance"):
    name = "enginehouse" + part
    for module in pkgutil.walk_packages(importlib.import_module(name).__path__, name + "."):
        is_for_others = module.name.endswith((".__main__", ".migrations.env"))  # which others run
        needs_extra = module.name.startswith("enginehouse_mlx.engine") or module.name in EXTRA
        if not is_for_others and not needs_extra:
            importlib.import_module(module.name)
"""
    environment.run("python", "-W", "error", "-c", script)


def test_the_command_and_the_plugins_are_found(environment: Environment) -> None:
    assert environment.run("enginehouse", "--version").startswith("enginehouse, version ")
    listing = json.loads(environment.run("enginehouse", "plugins", "--json"))
    assert {"llamacpp", "vllm"} <= {plugin["name"] for plugin in listing["loaded"]}
    assert listing["quarantined"] == []


def test_the_contract_needs_nothing_of_the_router(wheels: Mapping[str, Path], tmp_path: Path) -> None:
    """An engine's own environment holds the contract, msgspec and pluggy."""
    fill("--python", sys.executable, "--target", str(tmp_path), str(wheels["plugins/contract"]))
    script = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import enginehouse_plugin"
    subprocess.run([sys.executable, "-I", "-S", "-c", script], check=True)


def ask(url: str, model: str, **fields: object) -> dict[str, object]:
    body = {"model": model, "messages": [{"role": "user", "content": "Once upon a time a fox"}], **fields}
    reply = httpx.post(f"{url}/v1/chat/completions", json=body, timeout=120)
    assert reply.status_code == 200, reply.text
    answer: dict[str, object] = reply.json()
    return answer


@pytest.mark.engine
def test_the_wheels_serve_the_embedded_model(environment: Environment) -> None:
    with serving(environment) as url:
        answer = ask(url, "smollm2-135m", max_tokens=8)
    assert answer["usage"]["completion_tokens"] in range(1, 9)  # type: ignore[index]
