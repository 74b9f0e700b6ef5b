"""Coding agents, unmodified, create, read and edit a file. The engine is scripted, the rest real."""

from __future__ import annotations

from typing import NamedTuple

import pytest

from .conftest import Connected
from .shown import AGENT, SHOWN


class Agent(NamedTuple):
    """How an agent is told to do one task without asking, and which of its own tools it does it with."""

    arguments: tuple[str, ...]
    endpoint: str
    reasons: bool
    """Whether it sends the model's reasoning back."""


AGENTS = {
    "claude": Agent(("-p", "--dangerously-skip-permissions"), "messages", True),
    "codex": Agent(("exec", "--skip-git-repo-check", "--dangerously-bypass-approvals-and-sandbox"), "responses", True),
}


def test_each_agent_that_is_shown_has_its_task() -> None:
    assert {name for name, abilities in SHOWN.items() if abilities == AGENT} == set(AGENTS)


@pytest.mark.parametrize("name", AGENTS)
def test_an_agent_creates_reads_and_edits_a_file(connected: Connected, name: str) -> None:
    client, agent = connected(name), AGENTS[name]
    made = client.work / "made.txt"
    before = len(client.requests(agent.endpoint))
    said = client.run(*agent.arguments, f"Create {made}, read it, edit it.")
    assert made.read_text().strip() == "two", said
    assert f"All 3 steps are done; reasoning came back: {agent.reasons}." in said
    asked = client.requests(agent.endpoint)[before:]
    assert [line["status"] for line in asked] == [200] * len(asked)
    assert sum(line["finish"] == "tool_calls" for line in asked) == 3
    assert all(line["stream"] for line in asked)
