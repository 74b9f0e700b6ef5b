"""What README tells to type is typed: only the address is another."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.docs.fenced import ROOT, blocks

from .served import Served
from .test_sdk_node import FOLDER, node

pytestmark = pytest.mark.engine

ADDRESS = "http://127.0.0.1:8000"
PAGE = "README.md"
COMMANDS = [
    command
    for block in blocks(PAGE)
    if block.language == "sh"
    for command in re.split(r"\n(?=curl )", block.text.strip())
]


def typed(text: str, server: Served) -> str:
    assert ADDRESS in text
    return text.replace(ADDRESS, server.url)


def answers(server: Served, word: str) -> Any:
    """The answer to the one command that holds *word*: JSON, or a stream's data."""
    (command,) = [command for command in COMMANDS if word in command]
    text = curl(server, command)
    if "-N" not in command:
        return json.loads(text)
    assert text.endswith("\n\n")
    return [line.removeprefix("data: ") for line in text.split("\n\n") if line.startswith("data: ")]


def curl(server: Served, command: str) -> str:
    done = subprocess.run(
        [*shlex.split(typed(command, server)), "--silent", "--show-error", "--max-time", "60"],
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


def test_there_is_a_command_for_everything_that_is_promised() -> None:
    assert shutil.which("curl"), "these tests need curl"
    assert len(COMMANDS) == 7


def test_the_conversation(server: Served) -> None:
    answer = answers(server, "What is gravity?")
    assert answer["choices"][0]["message"]["content"]
    assert answer["usage"]["completion_tokens"] > 0


def test_the_stream(server: Served) -> None:
    *chunks, done = answers(server, '"stream": true')
    assert done == "[DONE]"
    parsed = [json.loads(chunk) for chunk in chunks]
    assert "".join(choice["delta"].get("content") or "" for chunk in parsed for choice in chunk["choices"])
    assert parsed[-1]["usage"]["completion_tokens"] <= 64


def test_the_schema(server: Served) -> None:
    pet = json.loads(answers(server, "json_schema")["choices"][0]["message"]["content"])
    assert set(pet) == {"name", "mood"}
    assert pet["mood"] in ("hungry", "asleep")


def test_the_tool_call(server: Served) -> None:
    call = answers(server, "tool_choice")["choices"][0]["message"]["tool_calls"][0]["function"]
    assert call["name"] == "get_weather"
    assert set(json.loads(call["arguments"])) == {"city"}


def test_the_refusal(server: Served) -> None:
    error = answers(server, "temprature")["error"]
    assert (error["param"], error["code"]) == ("temprature", "unknown_parameter")


def test_the_models(server: Served) -> None:
    listed, one = (json.loads(curl(server, command)) for command in COMMANDS if "models" in command)
    assert one["id"] == "smollm2-135m"
    assert one in listed["data"]


@pytest.mark.parametrize("language", ["python", "js"])
def test_a_program_prints_an_answer(server: Served, language: str, tmp_path: Path) -> None:
    (block,) = [block for block in blocks(PAGE) if block.language == language]
    if language == "python":
        command = [sys.executable, "-W", "error", "-c", typed(block.text, server)]
    else:
        command = [node(), "--input-type=module", "--eval", typed(block.text, server)]
    done = subprocess.run(command, cwd=FOLDER, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


def test_every_link_leads_somewhere() -> None:
    for page in [ROOT / PAGE, *sorted((ROOT / "docs").glob("*.md"))]:
        for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text()):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_the_two_commands_are_targets_of_the_makefile() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"^make (\w+)", (ROOT / PAGE).read_text(), re.MULTILINE):
        assert f"\n{target}:" in makefile
