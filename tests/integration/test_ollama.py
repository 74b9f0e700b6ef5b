"""Ollama's own client for Python, unmodified, against the real model. Relations are asserted, never prose."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import ollama
import pytest

from .served import EMBEDDED, MODEL, Served

pytestmark = pytest.mark.engine

QUESTION = [{"role": "user", "content": "What is the capital of France?"}]
GREEDY = {"temperature": 0, "num_predict": 12, "repeat_penalty": 1.0}
COLOUR: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "pick",
        "description": "Picks a colour.",
        "parameters": {"type": "object", "properties": {"colour": {"enum": ["red", "blue"]}}, "required": ["colour"]},
    },
}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    text = EMBEDDED + '\n[[mounts]]\nprofile = "ollama"\npath = "/"\n'
    served = Served(text, tmp_path_factory.mktemp("server"))
    try:
        yield served.wait_ready()
    finally:
        served.close()


@pytest.fixture
def client(served: Served) -> Iterator[ollama.Client]:
    with ollama.Client(host=served.url, timeout=120, trust_env=False) as made:
        yield made


def test_models_are_listed_shown_and_running(client: ollama.Client, served: Served) -> None:
    listed = {one.model: one for one in client.list().models}
    assert listed[MODEL].digest
    shown = client.show(MODEL + ":latest")
    assert "completion" in (shown.capabilities or [])
    assert httpx.post(f"{served.url}/api/show", json={"model": MODEL}, trust_env=False).status_code == 200
    assert (shown.modelinfo or {})["enginehouse.context_length"] > 0
    running = {one.model for one in client.ps().models}
    assert MODEL in running <= set(listed)
    asked = httpx.post(f"{served.url}/api/show", json={"model": MODEL}, trust_env=False)
    assert asked.status_code == 200
    with pytest.raises(ollama.ResponseError) as missing:
        client.show("absent")
    assert missing.value.status_code == 404


def test_a_chat_whole_and_streamed_is_the_same(client: ollama.Client, served: Served) -> None:
    whole = client.chat(MODEL, QUESTION, options=GREEDY)
    pieces = list(client.chat(MODEL, QUESTION, options=GREEDY, stream=True))
    assert whole.message.content
    assert "".join(piece.message.content or "" for piece in pieces) == whole.message.content
    assert [piece.done for piece in pieces] == [False] * (len(pieces) - 1) + [True]
    assert (pieces[-1].eval_count, pieces[-1].done_reason) == (whole.eval_count, whole.done_reason)
    body = {"model": MODEL, "messages": QUESTION, "temperature": 0, "max_tokens": 12, "top_p": 0.9}
    other = httpx.post(f"{served.url}/v1/chat/completions", json=body, timeout=120, trust_env=False).json()
    assert other["choices"][0]["message"]["content"] == whole.message.content
    assert other["usage"]["prompt_tokens"] == whole.prompt_eval_count
    assert other["usage"]["completion_tokens"] == whole.eval_count


def test_a_prompt_with_and_without_the_template(client: ollama.Client) -> None:
    plain = client.generate(MODEL, QUESTION[0]["content"], options=GREEDY)
    raw = client.generate(MODEL, QUESTION[0]["content"], raw=True, options=GREEDY)
    assert plain.response
    assert (plain.prompt_eval_count or 0) > (raw.prompt_eval_count or 0) > 0
    pieces = client.generate(MODEL, QUESTION[0]["content"], options=GREEDY, stream=True)
    assert "".join(piece.response for piece in pieces) == plain.response


def test_a_schema_is_enforced(client: ollama.Client) -> None:
    schema = {"type": "object", "properties": {"sum": {"type": "integer", "minimum": 0, "maximum": 9}}}
    schema |= {"required": ["sum"], "additionalProperties": False}
    answer = client.chat(MODEL, QUESTION, format=schema, options={"temperature": 1, "num_predict": 40})
    assert json.loads(answer.message.content or "")["sum"] in range(10)


def test_a_history_with_a_call_is_read(client: ollama.Client) -> None:
    history: list[dict[str, Any]] = [
        *QUESTION,
        {"role": "assistant", "content": "", "tool_calls": [
            {"function": {"name": "pick", "arguments": {"colour": "red"}}}
        ]},
        {"role": "tool", "tool_name": "pick", "content": "red it is"},
    ]  # fmt: skip
    short = client.chat(MODEL, QUESTION, options=GREEDY)
    answer = client.chat(MODEL, history, tools=[COLOUR], options=GREEDY)
    assert (answer.prompt_eval_count or 0) > (short.prompt_eval_count or 0)


def test_what_is_left_out_is_named_and_bad_values_are_refused(client: ollama.Client, served: Served) -> None:
    body = {"model": MODEL, "messages": QUESTION, "options": {**GREEDY, "mirostat": 1}, "stream": False}
    answer = httpx.post(f"{served.url}/api/chat", json=body, timeout=120, trust_env=False)
    assert (answer.status_code, answer.headers["x-enginehouse-ignored"]) == (200, "options.mirostat")
    with pytest.raises(ollama.ResponseError, match=r"options\.temperature") as refused:
        client.chat(MODEL, QUESTION, options={"temperature": 9})
    assert refused.value.status_code == 400


def test_the_routes_are_not_there_without_a_mount(server: Served) -> None:
    assert httpx.get(f"{server.url}/api/tags", trust_env=False).status_code == 404
