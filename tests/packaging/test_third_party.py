from __future__ import annotations

import json
import shlex
import shutil
import subprocess
import sys
import venv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.docs.fenced import blocks

from .conftest import ROOT, Environment, clean_environment, serving


@pytest.fixture(scope="module")
def installed(environment: Environment) -> Environment:
    """The guide's commands, run in the project's folder: the first installs the tutorial's plugin."""
    (block,) = [block for block in blocks("docs/plugins.md") if (block.kind, block.value) == ("run", "installed")]
    for line in block.text.splitlines():
        environment.run(*line.removeprefix("$ ").split(), cwd=ROOT)
    return environment


def test_a_plugin_that_was_installed_is_there(installed: Environment) -> None:
    listing = json.loads(installed.run("enginehouse", "plugins", "--json"))
    assert "markov" in [plugin["name"] for plugin in listing["loaded"]]
    assert listing["quarantined"] == []


def test_it_is_served_without_any_change_to_the_router(installed: Environment) -> None:
    """One body and a stream with the same seed say the same; a field that it does not honour is refused by name."""
    body: dict[str, Any] = {
        "model": "parrot",
        "messages": [{"role": "user", "content": "Once upon a time a fox"}],
        "seed": 7,
        "max_tokens": 12,
    }
    config = str(ROOT / "examples/markov.toml")
    with serving(installed, "--config", config) as url, httpx.Client(base_url=f"{url}/v1", timeout=60) as client:
        assert [model["id"] for model in client.get("/models").json()["data"]] == ["parrot"]
        answer = client.post("/chat/completions", json=body).json()
        text = answer["choices"][0]["message"]["content"]
        assert text
        assert answer["usage"]["prompt_tokens"] == 6
        streamed = ""
        with client.stream("POST", "/chat/completions", json={**body, "stream": True}) as reply:
            lines = [line.removeprefix("data: ") for line in reply.iter_lines() if line.startswith("data: ")]
        assert lines[-1] == "[DONE]"
        for line in lines[:-1]:
            for choice in json.loads(line)["choices"]:
                streamed += choice["delta"].get("content") or ""
        assert streamed == text
        refused = client.post("/chat/completions", json={**body, "logprobs": True})
        assert (refused.status_code, refused.json()["error"]["param"]) == (400, "logprobs")
        asks_for_much = client.post("/chat/completions", json={**body, "max_tokens": 9999})
        assert asks_for_much.status_code == 200, asks_for_much.text
        long = [{"role": "user", "content": "The fox " * 9999}]
        too_long = client.post("/chat/completions", json={**body, "messages": long})
        assert too_long.json()["error"]["code"] == "context_length_exceeded"
        chat = installed.run("enginehouse", "chat", "--url", url, "--max-tokens", "5", "The fox")
        assert chat.strip()


def test_an_author_proves_it_without_a_router(wheels: Mapping[str, Path], tmp_path: Path) -> None:
    """The guide's commands, in an environment that holds the contract, the suite and the plugin."""
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    alone = Environment(tmp_path / "environment", tmp_path / "examples/tutorial-plugin")
    venv.create(tmp_path / "environment", with_pip=True)
    (block,) = [block for block in blocks("docs/plugins.md") if (block.kind, block.value) == ("run", "alone")]
    install, test = [shlex.split(line.removeprefix("$ ")) for line in block.text.splitlines()]
    ours = [str(wheels[name]) for name in ("plugins/contract", "conformance")]  # not published while they are tested
    alone.run(*install, "--quiet", "--disable-pip-version-check", *ours)
    said = alone.run(*test, "-k", "S1 or LEN1 or SSE6 or STOP1 or lead_nowhere", "-rA")
    assert {
        f"PASSED tests/test_conformance.py::TestConformance::test_rule[{rule}]" for rule in ("S1", "LEN1", "SSE6")
    } <= set(said.splitlines())
    assert "unsupported: declared absent and refused: stop" in said
    assert (
        "No module named 'enginehouse'"
        in subprocess.run(
            [alone.bin / "python", "-c", "import enginehouse"], env=alone.variables, capture_output=True, text=True
        ).stderr
    )


CLIENTS = ROOT / "examples/clients"


def test_the_client_examples_stream_an_answer(installed: Environment, tmp_path: Path) -> None:
    """curl, the Python SDK and the Node SDK, each as its example has it."""
    node_modules = ROOT / "tests/integration/node/node_modules"
    assert node_modules.is_dir(), "the Node SDK is not installed: run 'make setup'"
    (tmp_path / "node_modules").symlink_to(node_modules)
    shutil.copy(CLIENTS / "chat.mjs", tmp_path)
    node = Path(sys.executable).with_name("node")
    commands = {
        "chat.sh": ["sh", str(CLIENTS / "chat.sh")],
        "chat.py": [sys.executable, str(CLIENTS / "chat.py")],
        "chat.mjs": [str(node if node.exists() else "node"), str(tmp_path / "chat.mjs")],
    }
    with serving(installed, "--config", str(ROOT / "examples/markov.toml")) as url:
        variables = clean_environment(OPENAI_BASE_URL=f"{url}/v1", OPENAI_API_KEY="none", MODEL="parrot")
        for name, command in commands.items():
            done = subprocess.run(command, env=variables, capture_output=True, text=True, timeout=120)
            assert done.returncode == 0, f"{name}: {done.stderr}"
            assert len(done.stdout) > 3, name
            assert ("data: [DONE]" in done.stdout) == (name == "chat.sh"), "only curl shows the events themselves"


def test_an_author_installs_contract_kit_and_suite_from_a_checkout(tmp_path: Path) -> None:
    """The guide's commands, as they stand, in a folder that has the checkout in it."""
    (tmp_path / "enginehouse").symlink_to(ROOT)
    (block,) = [block for block in blocks("docs/plugins.md") if (block.kind, block.value) == ("run", "checkout")]
    for line in block.text.splitlines():
        command = shlex.split(line.removeprefix("$ "))
        program = sys.executable if command[0] == "python" else str(tmp_path / command[0])
        subprocess.run([program, *command[1:]], cwd=tmp_path, env=clean_environment(), check=True, capture_output=True)
    python = str(tmp_path / ".venv/bin/python")
    code = "import enginehouse_plugin, enginehouse_kit.http.openai, enginehouse_conformance"
    subprocess.run([python, "-c", code], cwd=tmp_path, env=clean_environment(), check=True)
