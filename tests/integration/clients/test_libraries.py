"""SDKs and frameworks, unmodified: a small program on each shows what it can, with the client that `connect` writes.

The embedded model answers; where a tool is to be called, a scripted engine does.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from tests.integration.served import MODEL

from .conftest import SCRIPTED, Client, needs
from .shown import ENVIRONMENTS, FOLDER, INSTALLED, SHOWN

pytestmark = pytest.mark.engine

PYTHON = sorted(path.stem for path in FOLDER.glob("programs/*.py"))
NODE = {"ai-sdk": INSTALLED / "node_modules/ai", "openai-node": FOLDER.parent / "node/node_modules/openai"}
"""Where each package lies."""


def run(client: Client, name: str, runs: str, program: Path) -> None:
    client.connect(name, MODEL)
    client.connect(name, SCRIPTED, "scripted")
    shutil.copy(program, client.work / f"program{program.suffix}")
    said = client.run(f"{runs} program{program.suffix}")
    assert set(json.loads(said.splitlines()[-1])) == SHOWN[name]


@pytest.mark.parametrize("name", PYTHON)
def test_a_library_of_python(client: Client, name: str) -> None:
    python = INSTALLED / "python" / ENVIRONMENTS[name] / "bin/python"
    needs(name, python.exists())
    run(client, name, f"'{python}'", FOLDER / f"programs/{name}.py")


@pytest.mark.parametrize("name", NODE)
def test_a_library_of_node(client: Client, name: str) -> None:
    needs(name, NODE[name].exists())
    (client.work / "node_modules").symlink_to(NODE[name].parent)
    run(client, name, "node", FOLDER / f"programs/{name}.mjs")


def test_each_program_is_tested() -> None:
    assert {path.stem for path in FOLDER.glob("programs/*.*")} == {*PYTHON, *NODE}


def test_llm(client: Client) -> None:
    """`llm`, the command line: what it prints is the answer."""
    needs("llm", (INSTALLED / "python/libraries/bin/llm").exists())
    line = client.connect("llm", MODEL).run
    short = ("-o", "max_tokens", "16", "-o", "temperature", "0")
    whole = client.run(line, "--no-stream", *short, "What is the capital of France?")
    assert whole.strip()
    assert client.run(line, *short, "What is the capital of France?") == whole
    assert [each["stream"] for each in client.requests("chat")[-2:]] == [False, True]
    schema = {"type": "object", "properties": {"city": {"enum": ["Paris", "Rome"]}}, "required": ["city"]}
    formed = client.run(line, "--schema", json.dumps(schema), "What is the capital of France?")
    assert json.loads(formed)["city"] in ("Paris", "Rome")
    able = client.connect("llm", SCRIPTED).run
    assert "The last says: 0." in client.run(able, "-T", "llm_version", "Which version is this?")
