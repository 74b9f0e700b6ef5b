"""What is shown of each client, and with which version. The tests of this folder hold it; docs/clients.md prints it."""

from __future__ import annotations

import json
import re
from pathlib import Path

FOLDER = Path(__file__).parent
INSTALLED = FOLDER.parents[2] / ".cache/clients"
ABILITIES = ("chat", "stream", "tools", "structured output")

AGENT = frozenset({"chat", "stream", "tools"})
ALL = frozenset(ABILITIES)
SHOWN: dict[str, frozenset[str]] = {
    "ai-sdk": ALL,
    "aider": AGENT - {"tools"},
    "claude": AGENT,
    "cline": AGENT,
    "codex": AGENT,
    "continue": AGENT,
    "instructor": ALL - {"tools"},
    "langchain": ALL,
    "llama-index": ALL,
    "llm": ALL,
    "open-webui": frozenset({"chat", "stream", "structured output"}),
    "openai-agents": ALL,
    "openai-node": ALL,
    "openai-python": ALL,
    "opencode": AGENT,
    "pydantic-ai": ALL,
    "qwen": AGENT,
}
"""By the name of the client's recipe. An agent's one task on files is all three of its abilities."""
SHAPES: dict[str, frozenset[str]] = {"home-assistant": AGENT, "n8n": ALL}
"""Of clients that are not started: what they send, and get, is tested."""
ENVIRONMENTS = {"llama-index": "llama-index"} | dict.fromkeys(
    ("instructor", "langchain", "openai-agents", "openai-python", "pydantic-ai"), "libraries"
)
"""Which environment of Python a library is in."""


def versions() -> dict[str, str]:
    """The pinned version of each package, as a recipe writes it: `npm: NAME`, `PyPI: NAME`."""
    found = {}
    for file in (*FOLDER.glob("**/package.json"), FOLDER.parent / "node/package.json"):
        found |= {f"npm: {name}": of for name, of in json.loads(file.read_text())["dependencies"].items()}
    for file in FOLDER.glob("python/*.txt"):  # of those `.without.txt` no line has a version
        found |= {
            f"PyPI: {name}": of for name, of in re.findall(r"^([\w.-]+)(?:\[.*\])?==(\S+)", file.read_text(), re.M)
        }
    return found
