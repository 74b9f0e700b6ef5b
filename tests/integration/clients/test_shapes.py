"""What clients send that are too large to be started here: by the code of each, with the library that it uses.

Home Assistant: `homeassistant/components/ollama/entity.py` of its core, on the `ollama` package.
"""

from __future__ import annotations

from typing import Any

import ollama
from tests.integration.served import Served

from .conftest import KEY, SCRIPTED
from .shown import SHAPES

QUESTION = {"role": "user", "content": "Which lights are on?"}
PARAMETERS = {"type": "object", "properties": {"area": {"type": "string"}}, "required": ["area"]}
TOOLS = [{"type": "function", "function": {"name": "get_lights", "parameters": PARAMETERS, "description": "Lights."}}]


def asked(house: Served, messages: list[Any], **fields: Any) -> list[ollama.ChatResponse]:
    key = {"Authorization": f"Bearer {KEY}"}
    common = {"tools": None, "think": False, "format": None, "keep_alive": -1, "options": {"num_ctx": 8192}}
    with ollama.Client(host=f"{house.url}/ollama", headers=key, trust_env=False) as client:
        return list(client.chat(model=SCRIPTED, messages=messages, stream=True, **{**common, **fields}))


def test_home_assistant_chats_and_its_tool_results_have_no_name(house: Served) -> None:
    """A result names no tool: its place says which call it answers."""
    system = ollama.Message(role="system", content="You are a voice assistant.")
    said = asked(house, [system, QUESTION])
    assert "".join(chunk.message.content or "" for chunk in said).startswith("All 0 steps are done")
    assert said[-1].done
    chunks = asked(house, [system, QUESTION], tools=TOOLS)
    (call,) = [call for chunk in chunks for call in chunk.message.tool_calls or ()]
    assert (call.function.name, call.function.arguments) == ("get_lights", {"area": "Paris"})
    thinking = "".join(chunk.message.thinking or "" for chunk in chunks)
    before = ollama.Message(role="assistant", content="", thinking=thinking or None, tool_calls=[call])
    result = ollama.Message(role="tool", content='{"data": "all of them", "error": null}')
    last = asked(house, [system, QUESTION, before, result], tools=TOOLS)
    assert "all of them" in "".join(chunk.message.content or "" for chunk in last)
    assert SHAPES["home-assistant"] == {"chat", "stream", "tools"}
