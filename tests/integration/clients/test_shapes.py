"""What clients send that are too large to be started here: by the code of each, with the library that it uses.

Home Assistant: `homeassistant/components/ollama/entity.py` of its core, on the `ollama` package, and
`openai_conversation/entity.py`, on OpenAI's SDK. n8n: `nodes/llms/LMChatOpenAi/LmChatOpenAi.node.ts`, on LangChain's.
"""

from __future__ import annotations

import json
import shutil
from typing import Any

import ollama
from openai import OpenAI
from tests.integration.served import MODEL, Served

from .conftest import KEY, SCRIPTED, Client, needs
from .shown import AGENT, FOLDER, INSTALLED, SHAPES

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


def test_home_assistant_comes_back_with_a_call_before_its_reasoning(house: Served) -> None:
    """By Responses, nothing kept: what it heard of reasoning stands behind the call in the next request."""
    said: list[Any] = [
        {"type": "message", "role": "developer", "content": "You are a voice assistant."},
        {"type": "message", "role": "user", "content": QUESTION["content"]},
    ]
    tool = {"type": "function", "strict": False, **TOOLS[0]["function"]}
    asked: dict[str, Any] = {
        "model": SCRIPTED,
        "max_output_tokens": 3000,
        "user": "01K0",
        "store": False,
        "stream": True,
        "tools": [tool],
        "reasoning": {"effort": "low", "summary": "auto"},
        "include": ["reasoning.encrypted_content"],
    }
    with OpenAI(base_url=f"{house.url}/v1", api_key=KEY, max_retries=0) as client:
        events = list(client.responses.create(input=said, **asked))
        reasoning, call = (event.item for event in events if event.type == "response.output_item.done")
        assert (call.name, json.loads(call.arguments)) == ("get_lights", {"area": "Paris"})
        said += [
            {"type": "function_call", "name": call.name, "arguments": call.arguments, "call_id": call.call_id},
            {
                "type": "reasoning",
                "id": reasoning.id,
                "summary": [{"type": "summary_text", "text": "Step 0."}],
                "encrypted_content": reasoning.encrypted_content,
            },
            {"type": "function_call_output", "call_id": call.call_id, "output": '"all of them"'},
        ]
        events = list(client.responses.create(input=said, **asked))
    assert "all of them" in "".join(event.delta for event in events if event.type == "response.output_text.delta")
    assert events[-1].type == "response.completed"


def test_n8n_does_what_its_node_does(client: Client) -> None:
    package = INSTALLED / "all/node_modules/@langchain/openai"
    needs("n8n", package.exists())
    (client.work / "node_modules").symlink_to(INSTALLED / "all/node_modules")
    shutil.copy(FOLDER / "shapes/n8n.mjs", client.work)
    told = {"url": f"{client.house.url}/v1", "key": KEY, "model": MODEL, "scripted": SCRIPTED}
    for by_responses in (True, False):
        said = client.run("node n8n.mjs", json.dumps({**told, "byResponses": by_responses}))
        shown = SHAPES["n8n"] if by_responses else AGENT  # without Responses the node has `json_object` alone
        assert set(json.loads(said.splitlines()[-1])) == shown
        assert client.requests("responses" if by_responses else "chat")
