"""`POST /tokenize` and `/detokenize`: what an instance is asked, what is answered, and what is refused by name."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from msgspec.structs import replace
from tests.unit.conftest import CPU, House

from enginehouse.assembly import build
from enginehouse.config import AgentConfig
from enginehouse.plugins import Plugins
from enginehouse_plugin import API_VERSION, Chat, SystemMessage, Text, Tokenized, TokenizeRequest, hookimpl
from enginehouse_plugin.errors import EngineDied

USER = {"role": "user", "content": "hi"}
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
BAD_TOKENIZE: list[tuple[dict[str, Any], str]] = [
    ({"model": None}, "model"),
    ({"model": ""}, "model"),
    ({"model": 1}, "model"),
    ({}, "prompt"),
    ({"prompt": None}, "prompt"),
    ({"prompt": 1}, "prompt"),
    ({"prompt": ["a"]}, "prompt"),
    ({"prompt": [1, 2]}, "prompt"),
    ({"prompt": {}}, "prompt"),
    ({"prompt": "a", "messages": [USER]}, "messages"),
    ({"messages": []}, "messages"),
    ({"messages": "hi"}, "messages"),
    ({"messages": [1]}, "messages[0]"),
    ({"messages": [{"role": "nobody", "content": "a"}]}, "messages[0].role"),
    ({"messages": [{"role": "user"}]}, "messages[0].content"),
    ({"messages": [{**USER, "unheard": 1}]}, "messages[0].unheard"),
    ({"messages": [{"role": "tool", "content": "a", "tool_call_id": "x"}]}, "messages[0].tool_call_id"),
    ({"messages": [USER], "add_special_tokens": True}, "add_special_tokens"),
    ({"prompt": "a", "add_special_tokens": 1}, "add_special_tokens"),
    ({"prompt": "a", "add_special_tokens": "true"}, "add_special_tokens"),
    ({"prompt": "a", "return_token_strs": 0}, "return_token_strs"),
    ({"prompt": "a", "return_token_strs": []}, "return_token_strs"),
    ({"prompt": "a", "tools": [TOOL]}, "tools"),
    ({"prompt": "a", "chat_template_kwargs": {}}, "chat_template_kwargs"),
    ({"messages": [USER], "tools": TOOL}, "tools"),
    ({"messages": [USER], "tools": [{}]}, "tools[0].type"),
    ({"messages": [USER], "tools": [TOOL, TOOL]}, "tools[1].function.name"),
    ({"messages": [USER], "tools": [TOOL]}, "tools"),  # the scripted model has no such feature
    ({"messages": [USER], "tools": [{"type": "custom", "custom": {}}]}, "tools[0].type"),
    ({"messages": [USER], "chat_template_kwargs": []}, "chat_template_kwargs"),
    ({"prompt": "a", "chat_template": "{{ messages }}"}, "chat_template"),
    ({"prompt": "a", "mm_processor_kwargs": {}}, "mm_processor_kwargs"),
    ({"prompt": "a", "unheard": 1}, "unheard"),
]
BAD_DETOKENIZE: list[tuple[dict[str, Any], str]] = [
    ({"model": None, "tokens": [1]}, "model"),
    ({}, "tokens"),
    ({"tokens": None}, "tokens"),
    ({"tokens": 1}, "tokens"),
    ({"tokens": "1"}, "tokens"),
    ({"tokens": {"0": 1}}, "tokens"),
    ({"tokens": [-1]}, "tokens[0]"),
    ({"tokens": [1, "2"]}, "tokens[1]"),
    ({"tokens": [1, None]}, "tokens[1]"),
    ({"tokens": [True]}, "tokens[0]"),
    ({"tokens": [1.5]}, "tokens[0]"),
    ({"tokens": [[1]]}, "tokens[0]"),
    ({"tokens": [1, 2**63]}, "tokens[1]"),
    ({"tokens": [1, 9]}, "tokens[1]"),  # the scripted model has nine
    ({"tokens": [0] * 65_537}, "tokens"),
    ({"tokens": [1], "prompt": "a"}, "prompt"),
]


@pytest.fixture
async def client(house: House) -> AsyncIterator[httpx.AsyncClient]:
    class Plugin:
        enginehouse_api = API_VERSION

        @hookimpl
        def enginehouse_backends(self) -> Any:
            return [house.script.type()]

    plugins = Plugins()
    plugins.add(Plugin(), "scripted")
    agents = {"kind": AgentConfig(model="m", instructions="Be kind.")}
    built = build(replace(house.config(), agents=agents), plugins, devices=(CPU,))
    built.fleet.start()
    try:
        transport = httpx.ASGITransport(built.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost", timeout=20) as client:
            yield client
    finally:
        await built.fleet.close()
        built.close()


async def test_a_text_that_is_too_long_is_refused_before_it_is_tokenized(
    house: House, client: httpx.AsyncClient
) -> None:
    asked: list[int] = []

    def tokenizes(wanted: TokenizeRequest) -> Tokenized:
        asked.append(len(wanted.request.prompt.text))  # type: ignore[union-attr]  # it is a text
        return Tokenized(token_ids=(3,))

    house.script.tokenizes = tokenizes
    longest = "é" * (512 * 1024)
    said = await client.post("/tokenize", json={"model": "m", "prompt": longest + "e"})
    assert (said.status_code, said.json()["error"]["param"]) == (400, "prompt")
    assert "1048577 bytes" in said.json()["error"]["message"]
    assert asked == []
    assert (await client.post("/tokenize", json={"model": "m", "prompt": longest})).status_code == 200
    assert asked == [len(longest)]


async def test_a_text_and_a_conversation_are_told_in_tokens(house: House, client: httpx.AsyncClient) -> None:
    asked: list[TokenizeRequest] = []

    def tokenizes(wanted: TokenizeRequest) -> Tokenized:
        asked.append(wanted)
        return Tokenized(token_ids=(3, 1), texts=("a", "\ufffd") if wanted.texts else None)

    house.script.tokenizes = tokenizes
    said = (await client.post("/tokenize", json={"model": "m", "prompt": "One"})).json()
    assert said == {"count": 2, "max_model_len": 512, "tokens": [3, 1], "token_strs": None}
    more = {"add_special_tokens": False, "return_token_strs": True}
    said = (await client.post("/tokenize", json={"model": "m", "prompt": "", **more})).json()
    assert said["token_strs"] == ["a", "\ufffd"]
    assert (await client.post("/tokenize", json={"model": "m", "messages": [USER]})).status_code == 200
    assert [(each.request.prompt, each.special, each.texts) for each in asked[:2]] == [
        (Text("One"), True, False),
        (Text(""), False, True),
    ]
    assert isinstance(asked[2].request.prompt, Chat)
    assert house.script.requests == [], "nothing is generated"


async def test_an_agents_instructions_count(house: House, client: httpx.AsyncClient) -> None:
    asked: list[TokenizeRequest] = []
    house.script.tokenizes = lambda wanted: asked.append(wanted) or Tokenized(token_ids=(1,))  # type: ignore[func-returns-value]
    assert (await client.post("/tokenize", json={"model": "kind", "messages": [USER]})).status_code == 200
    prompt = asked[0].request.prompt
    assert isinstance(prompt, Chat)
    assert prompt.messages[0] == SystemMessage("Be kind.")


async def test_tokens_are_told_as_text(client: httpx.AsyncClient) -> None:
    for tokens, text in (([1, 8], "1 8"), ([], "")):
        said = await client.post("/detokenize", json={"model": "m", "tokens": tokens})
        assert (said.status_code, said.json()) == (200, {"prompt": text})


@pytest.mark.parametrize(("path", "table"), [("/tokenize", BAD_TOKENIZE), ("/detokenize", BAD_DETOKENIZE)])
async def test_what_is_wrong_is_named(client: httpx.AsyncClient, path: str, table: list[tuple[Any, str]]) -> None:
    for fields, param in table:
        refused = await client.post(path, json={"model": "m", **fields})
        assert (refused.status_code, refused.json()["error"]["param"]) == (400, param), fields
    missing = await client.post(path, json=_of(path))
    assert (missing.status_code, missing.json()["error"]["code"]) == (404, "model_not_found")


def _of(path: str) -> dict[str, Any]:
    return {"model": "nobody", "prompt": "a"} if path == "/tokenize" else {"model": "nobody", "tokens": [1]}


async def test_a_failure_of_the_engine_is_its_own_status(house: House, client: httpx.AsyncClient) -> None:
    def dies(_: TokenizeRequest) -> Tokenized:
        raise EngineDied("It ended.")

    house.script.tokenizes = dies
    failed = await client.post("/tokenize", json={"model": "m", "prompt": "a"})
    assert (failed.status_code, failed.json()["error"]["code"]) == (503, "engine_died")
