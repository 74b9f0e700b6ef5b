"""The Anthropic SDK for Python, unmodified, against the real model. Relations are asserted, never prose."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import anthropic
import httpx
import pytest
from anthropic import Anthropic

from .conftest import Serve
from .served import MODEL, Served, locked

pytestmark = pytest.mark.engine

QUESTION: Any = [{"role": "user", "content": "What is the capital of France?"}]
WEATHER: Any = {
    "name": "get_weather",
    "description": "Tells the weather in a city.",
    "input_schema": {
        "type": "object",
        "properties": {"city": {"type": "string", "maxLength": 20}},
        "required": ["city"],
        "additionalProperties": False,
    },
}


@pytest.fixture
def client(server: Served) -> Iterator[Anthropic]:
    with Anthropic(base_url=server.url, api_key="none needed", max_retries=0) as client:
        yield client


def ask(client: Anthropic, **fields: Any) -> Any:  # the SDK's overloads cannot be told from a dictionary
    common = {"model": MODEL, "messages": QUESTION, "max_tokens": 24, "extra_body": {"temperature": 0}}
    return client.messages.create(**{**common, **fields})


def test_an_answer_holds_what_the_reference_promises(client: Anthropic) -> None:
    answer = ask(client)
    (block,) = answer.content
    assert (answer.type, answer.role, answer.model, block.type) == ("message", "assistant", MODEL, "text")
    assert block.text
    assert answer.stop_reason in ("end_turn", "max_tokens")
    assert answer.id.startswith("msg_")
    assert answer._request_id.startswith("req-")
    usage = answer.usage
    assert usage.input_tokens + usage.cache_read_input_tokens > 10
    assert 1 <= usage.output_tokens <= 24


def test_a_stream_says_the_same_as_a_whole_answer(client: Anthropic) -> None:
    whole = ask(client)
    with client.messages.stream(model=MODEL, messages=QUESTION, max_tokens=24, extra_body={"temperature": 0}) as stream:
        kinds = [event.type for event in stream]
        last = stream.get_final_message()
    assert last.content[0].text == whole.content[0].text
    assert (last.stop_reason, last.usage.output_tokens) == (whole.stop_reason, whole.usage.output_tokens)
    raw = [kind for kind in kinds if kind not in ("text", "ping")]
    assert raw[:2] == ["message_start", "content_block_start"]
    assert raw[-3:] == ["content_block_stop", "message_delta", "message_stop"]


def test_chat_and_messages_give_the_same_text_and_counts(client: Anthropic, http: httpx.Client) -> None:
    for system in (None, "Answer in one word."):
        told = [{"role": "system", "content": system}] if system else []
        body = {"model": MODEL, "messages": [*told, *QUESTION], "max_tokens": 24, "temperature": 0}
        chat = http.post("/v1/chat/completions", json=body).json()
        answer = ask(client, **({"system": system} if system else {}))
        assert answer.content[0].text == chat["choices"][0]["message"]["content"]
        usage = answer.usage
        assert usage.input_tokens + usage.cache_read_input_tokens == chat["usage"]["prompt_tokens"]
        assert usage.output_tokens == chat["usage"]["completion_tokens"]


def test_a_count_is_the_number_of_tokens_that_the_answer_tells(client: Anthropic) -> None:
    for fields in ({}, {"system": [{"type": "text", "text": "Be brief."}]}, {"tools": [WEATHER]}):
        counted = client.messages.count_tokens(model=MODEL, messages=QUESTION, **fields).input_tokens
        usage = ask(client, max_tokens=1, **fields).usage
        assert counted == usage.input_tokens + usage.cache_read_input_tokens


def test_a_forced_call_and_its_result_go_round(client: Anthropic) -> None:
    choice = {"type": "tool", "name": "get_weather"}
    first = ask(client, tools=[WEATHER], tool_choice=choice, max_tokens=64)
    (call,) = first.content
    assert (call.type, call.name, first.stop_reason) == ("tool_use", "get_weather", "tool_use")
    assert set(call.input) == {"city"}
    result = {"type": "tool_result", "tool_use_id": call.id, "content": [{"type": "text", "text": "12 degrees"}]}
    turns = [*QUESTION, {"role": "assistant", "content": first.content}, {"role": "user", "content": [result]}]
    second = ask(client, messages=turns, tools=[WEATHER])
    assert second.usage.input_tokens + second.usage.cache_read_input_tokens > (
        first.usage.input_tokens + first.usage.cache_read_input_tokens
    )


def test_a_forced_call_is_streamed_as_json(client: Anthropic) -> None:
    with client.messages.stream(
        model=MODEL, messages=QUESTION, max_tokens=64, tools=[WEATHER], tool_choice={"type": "any"}
    ) as stream:
        parts = [event.partial_json for event in stream if event.type == "input_json"]
        last = stream.get_final_message()
    assert json.loads("".join(parts)) == last.content[0].input
    assert last.stop_reason == "tool_use"


def test_a_stop_sequence_is_told(client: Anthropic) -> None:
    text = ask(client).content[0].text
    stop = text.split()[1]
    answer = ask(client, stop_sequences=["never said", stop])
    assert (answer.stop_reason, answer.stop_sequence) == ("stop_sequence", stop)
    assert answer.content[0].text == text[: text.index(stop)]


def test_a_schema_is_enforced(client: Anthropic) -> None:
    schema = {"type": "object", "properties": {"n": {"enum": [1, 2]}}, "required": ["n"], "additionalProperties": False}
    answer = ask(client, output_config={"format": {"type": "json_schema", "schema": schema}}, max_tokens=64)
    assert json.loads(answer.content[0].text)["n"] in (1, 2)


def test_a_second_turn_reads_the_prefix_from_the_cache(client: Anthropic) -> None:
    system = "You are a careful assistant. " * 40
    first = ask(client, system=system)
    turns = [*QUESTION, {"role": "assistant", "content": first.content}, {"role": "user", "content": "Are you sure?"}]
    second = ask(client, system=system, messages=turns)
    assert second.usage.cache_read_input_tokens >= first.usage.input_tokens * 0.8


def test_a_line_that_changes_costs_no_prefix(client: Anthropic) -> None:
    """Claude Code puts such a line at the head of its system prompt; here it stands behind what is stable."""
    system = "You are a patient assistant. " * 40
    read = []
    for nonce in ("a1b2", "c3d4"):
        line = {"type": "text", "text": f"x-anthropic-billing-header: cc_version=2.1.0; cch={nonce};"}
        raw = client.messages.with_raw_response.create(
            model=MODEL, messages=QUESTION, max_tokens=2, system=[line, {"type": "text", "text": system}]
        )
        assert "moved" in raw.headers["x-enginehouse-ignored"]
        read.append(raw.parse().usage.cache_read_input_tokens)
    assert read[1] > 200


def test_what_only_a_cloud_has_is_left_out_and_named(client: Anthropic) -> None:
    raw = client.messages.with_raw_response.create(
        model=MODEL,
        messages=QUESTION,
        max_tokens=2,
        tools=[{"type": "web_search_20250305", "name": "web_search", "max_uses": 2}],
        extra_headers={"anthropic-beta": "context-management-2025-06-27"},
        extra_body={"context_management": {"edits": []}, "unheard_of": 1},
    )
    named = raw.headers["x-enginehouse-ignored"]
    assert all(word in named for word in ("tools%5B0%5D", "context_management", "unheard_of"))


def test_errors_are_the_sdks_own(client: Anthropic, serve: Serve) -> None:
    with pytest.raises(anthropic.NotFoundError) as missing:
        ask(client, model="nobody")
    assert missing.value.body["error"]["type"] == "not_found_error"
    assert missing.value.body["request_id"] == missing.value.request_id
    with pytest.raises(anthropic.BadRequestError, match="max_tokens"):
        ask(client, max_tokens=0)
    served = serve(locked("sk-right"), ready=False)
    with Anthropic(base_url=served.url, api_key="sk-wrong", max_retries=0) as stranger:
        with pytest.raises(anthropic.AuthenticationError) as refused:
            stranger.messages.count_tokens(model=MODEL, messages=QUESTION)
        assert refused.value.body["error"]["type"] == "authentication_error"
    with Anthropic(base_url=served.url, api_key="sk-right") as friend:
        assert friend.messages.count_tokens(model=MODEL, messages=QUESTION).input_tokens > 10


def test_models_are_listed_page_by_page_and_shown(client: Anthropic) -> None:
    listed = list(client.models.list(limit=1))  # the SDK asks for page after page
    assert MODEL in {model.id for model in listed}
    shown = client.models.retrieve(MODEL)
    assert (shown.id, shown.type, shown.lifecycle) == (MODEL, "model", "active")
    with pytest.raises(anthropic.BadRequestError, match="limit"):
        client.models.list(limit=0)
    with pytest.raises(anthropic.NotFoundError):
        client.models.retrieve("nobody")


def test_the_root_answers_whoever_looks_whether_a_server_is_there(http: httpx.Client) -> None:
    assert http.head("/").status_code == 200
