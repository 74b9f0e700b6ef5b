"""Coding agents, unmodified, create, read and edit a file. The engine is scripted, the rest real."""

from __future__ import annotations

from typing import NamedTuple

import pytest

from .conftest import SCRIPTED, Client, needs, program
from .shown import AGENT, SHOWN


class Agent(NamedTuple):
    """How an agent is told to do one task without asking, and what it asks the model on."""

    arguments: tuple[str, ...]
    endpoint: str = "chat"
    reasons: bool = False
    """Whether it sends the model's reasoning back."""
    program: str = ""


AGENTS = {
    "claude": Agent(("-p", "--dangerously-skip-permissions"), "messages", True),
    "cline": Agent((), reasons=True),
    "codex": Agent(("exec", "--skip-git-repo-check", "--dangerously-bypass-approvals-and-sandbox"), "responses", True),
    "continue": Agent(("-p", "--auto"), program="cn"),
    "opencode": Agent(("run", "--auto"), reasons=True),
    "qwen": Agent(("--yolo",), reasons=True),
}


def test_each_agent_that_is_shown_has_its_task() -> None:
    assert {name for name, abilities in SHOWN.items() if abilities == AGENT} == set(AGENTS)


@pytest.mark.parametrize("name", AGENTS)
def test_an_agent_creates_reads_and_edits_a_file(client: Client, name: str) -> None:
    agent, made = AGENTS[name], client.work / "made.txt"
    needs(name, program(agent.program or name))
    before = len(client.requests(agent.endpoint))
    said = client.run(client.connect(name, SCRIPTED).run, *agent.arguments, f"Create {made}, read it, edit it.")
    assert made.read_text().strip() == "two", said
    assert f"All 3 steps are done; reasoning came back: {agent.reasons}." in said
    asked = client.requests(agent.endpoint)[before:]
    assert [line["status"] for line in asked] == [200] * len(asked)
    assert sum(line["finish"] == "tool_calls" for line in asked) == 3
    assert all(line["stream"] for line in asked)


def test_aider_creates_and_edits_a_file(client: Client) -> None:
    """It has no tools: the model writes whole files into its answers."""
    needs("aider", program("aider"))
    line = client.connect("aider", SCRIPTED).run
    quiet = ("--yes-always", "--no-git", "--no-check-update", "--analytics-disable", "--no-show-model-warnings")
    for text in ("one", "two"):
        said = client.run(line, *quiet, "--message", f"Write {text} into made.txt.")
        assert (client.work / "made.txt").read_text() == f"{text}\n", said
    assert all(line["stream"] and line["status"] == 200 for line in client.requests("chat"))
