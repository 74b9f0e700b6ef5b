"""The OpenAI SDK for Python, unmodified, against the real model. Relations are asserted, never prose."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from openai import OpenAI
from openai.types.chat import ChatCompletionChunk

from .conftest import Serve
from .served import LAZY, MODEL, SLASHED, Served, locked

pytestmark = pytest.mark.engine

QUESTION: Any = [{"role": "user", "content": "What is the capital of France?"}]
WEATHER: Any = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Tells the weather in a city.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string", "maxLength": 20}},
            "required": ["city"],
            "additionalProperties": False,
        },
    },
}
CLOCK: Any = {
    "type": "function",
    "function": {
        "name": "get_time",
        "parameters": {
            "type": "object",
            "properties": {"zone": {"enum": ["utc", "cet"]}},
            "required": ["zone"],
            "additionalProperties": False,
        },
    },
}
PERSON: Any = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 12},
        "mood": {"enum": ["glad", "sad"]},
        "age": {"type": "integer", "minimum": 0, "maximum": 150},
    },
    "required": ["name", "mood", "age"],
    "additionalProperties": False,
}
PERSON_FORMAT: Any = {"type": "json_schema", "json_schema": {"name": "person", "schema": PERSON, "strict": True}}


@pytest.fixture
def client(server: Served) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{server.url}/v1", api_key="none needed", max_retries=0) as client:
        yield client


def ask(client: OpenAI, **fields: Any) -> Any:  # the SDK's overloads cannot be told from a dictionary
    # With a seed the engine leaves its prefix cache alone, which moves the last bits of quantised logits.
    common = {"model": MODEL, "messages": QUESTION, "max_completion_tokens": 24, "temperature": 0, "seed": 7}
    return client.chat.completions.create(**{**common, **fields})


def chunks(client: OpenAI, **fields: Any) -> list[ChatCompletionChunk]:
    with ask(client, stream=True, **fields) as stream:
        return list(stream)


def text_of(parts: list[ChatCompletionChunk], choice: int = 0) -> str:
    deltas = [item.delta for part in parts for item in part.choices if item.index == choice]
    return "".join(delta.content or "" for delta in deltas)


def is_person(text: str) -> bool:
    found = json.loads(text)
    return (
        set(found) == {"name", "mood", "age"}
        and isinstance(found["name"], str)
        and found["mood"] in ("glad", "sad")
        and 0 <= found["age"] <= 150
    )


# ---- conversations ----


def test_an_answer_holds_what_the_reference_promises(client: OpenAI) -> None:
    answer = ask(client)
    (choice,) = answer.choices
    assert answer.object == "chat.completion"
    assert answer.model == MODEL
    assert choice.message.role == "assistant"
    assert choice.message.content
    assert choice.finish_reason in ("stop", "length")
    usage = answer.usage
    assert 1 <= usage.completion_tokens <= 24
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens
    assert answer._request_id.startswith("req-")


def test_an_answer_goes_back_as_it_is_and_the_conversation_goes_on(client: OpenAI) -> None:
    first = ask(client)
    second = ask(client, messages=[*QUESTION, first.choices[0].message, {"role": "user", "content": "Are you sure?"}])
    assert second.choices[0].message.content
    assert second.usage.prompt_tokens > first.usage.prompt_tokens + first.usage.completion_tokens


def test_system_and_developer_messages_and_parts_are_read(client: OpenAI) -> None:
    parts = [{"type": "text", "text": "What is the capital "}, {"type": "text", "text": "of France?"}]
    for role in ("system", "developer"):
        rule = {"role": role, "content": "Answer in one word."}
        whole = ask(client, messages=[rule, *QUESTION])
        split = ask(client, messages=[rule, {"role": "user", "content": parts}])
        assert split.choices[0].message.content == whole.choices[0].message.content
        assert split.usage.prompt_tokens == whole.usage.prompt_tokens


def test_a_stream_says_what_the_whole_answer_says(client: OpenAI) -> None:
    whole = ask(client, max_completion_tokens=16)
    parts = chunks(client, max_completion_tokens=16, stream_options={"include_usage": True})
    assert {part.id for part in parts} == {parts[0].id}
    assert parts[0].choices[0].delta.role == "assistant"
    assert text_of(parts) == whole.choices[0].message.content
    reasons = [choice.finish_reason for part in parts for choice in part.choices if choice.finish_reason]
    assert reasons == [whole.choices[0].finish_reason]
    assert parts[-1].choices == []
    assert parts[-1].usage is not None
    assert parts[-1].usage.completion_tokens == whole.usage.completion_tokens
    assert parts[-1].usage.prompt_tokens == whole.usage.prompt_tokens
    assert all(part.usage is None for part in parts[:-1])


def test_usage_comes_in_a_stream_only_when_asked_for(client: OpenAI) -> None:
    parts = chunks(client, max_completion_tokens=4)
    assert all(part.usage is None and part.choices for part in parts)


async def test_the_asynchronous_client_streams_too(server: Served) -> None:
    async with (
        openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key="x", max_retries=0) as client,
        await client.chat.completions.create(
            model=MODEL, messages=QUESTION, max_completion_tokens=8, temperature=0, stream=True
        ) as stream,
    ):
        parts = [part async for part in stream]
    assert text_of(parts)


# ---- forms of the answer ----


def test_json_mode_gives_an_object(client: OpenAI) -> None:
    answer = ask(
        client,
        messages=[{"role": "user", "content": "Describe a cat as JSON with the keys name and age."}],
        response_format={"type": "json_object"},
        max_completion_tokens=400,
    )
    assert answer.choices[0].finish_reason == "stop"
    assert isinstance(json.loads(answer.choices[0].message.content), dict)


@pytest.mark.parametrize("stream", [False, True])
def test_a_schema_is_kept(client: OpenAI, stream: bool) -> None:
    fields: Any = {"response_format": PERSON_FORMAT, "max_completion_tokens": 120, "temperature": 1, "seed": 3}
    text = text_of(chunks(client, **fields)) if stream else ask(client, **fields).choices[0].message.content
    assert is_person(text)


# ---- tools ----


@pytest.mark.parametrize(
    ("choice", "names"),
    [
        ("required", {"get_weather", "get_time"}),
        ({"type": "function", "function": {"name": "get_time"}}, {"get_time"}),
        ({"type": "function", "function": {"name": "get_weather"}}, {"get_weather"}),
    ],
    ids=["required", "named get_time", "named get_weather"],
)
def test_a_forced_call_is_one_of_those_allowed_and_its_arguments_fit(
    client: OpenAI, choice: Any, names: set[str]
) -> None:
    answer = ask(client, tools=[WEATHER, CLOCK], tool_choice=choice, max_completion_tokens=100)
    (first, *_) = answer.choices[0].message.tool_calls
    assert answer.choices[0].message.content is None
    # The reference answers a named choice with "stop": the model did not choose to call.
    assert answer.choices[0].finish_reason in ("tool_calls", "stop")
    assert first.type == "function"
    assert first.function.name in names
    arguments = json.loads(first.function.arguments)
    key = {"get_weather": "city", "get_time": "zone"}[first.function.name]
    assert set(arguments) == {key}


def test_a_forced_call_streams_in_pieces_that_make_a_whole(client: OpenAI) -> None:
    parts = chunks(client, tools=[WEATHER], tool_choice="required", parallel_tool_calls=False,
                   max_completion_tokens=100)  # fmt: skip
    deltas = [call for part in parts for choice in part.choices for call in choice.delta.tool_calls or ()]
    assert {delta.index for delta in deltas} == {0}
    assert [delta.id for delta in deltas if delta.id] == [deltas[0].id]
    assert deltas[0].function is not None
    assert deltas[0].function.name == "get_weather"
    arguments = "".join(delta.function.arguments or "" for delta in deltas if delta.function)
    assert set(json.loads(arguments)) == {"city"}


def test_the_choice_none_gives_text(client: OpenAI) -> None:
    answer = ask(client, tools=[WEATHER], tool_choice="none")
    assert answer.choices[0].message.content
    assert not answer.choices[0].message.tool_calls


def test_the_choice_auto_gives_text_or_calls_and_either_goes_back(client: OpenAI) -> None:
    """Whether so small a model calls is its own affair; what it says must be usable."""
    message = ask(client, tools=[WEATHER], tool_choice="auto", max_completion_tokens=60).choices[0].message
    results = [
        {"role": "tool", "tool_call_id": call.id, "content": "It rains."} for call in message.tool_calls or ()
    ] or [{"role": "user", "content": "Thank you."}]
    assert message.content or message.tool_calls
    assert ask(client, messages=[*QUESTION, message, *results], tools=[WEATHER]).usage.completion_tokens >= 1


@pytest.mark.parametrize("stream", [False, True])
def test_a_call_and_its_result_are_answered(client: OpenAI, stream: bool) -> None:
    call = ask(client, tools=[WEATHER], tool_choice="required", parallel_tool_calls=False, max_completion_tokens=100)
    message = call.choices[0].message
    result = {"role": "tool", "tool_call_id": message.tool_calls[0].id, "content": '{"sky": "clear"}'}
    fields: Any = {"messages": [*QUESTION, message, result], "tools": [WEATHER], "tool_choice": "none"}
    if stream:
        assert text_of(chunks(client, **fields))
    else:
        assert ask(client, **fields).choices[0].message.content


# ---- sampling ----


def test_n_gives_n_choices_and_usage_counts_them_all(client: OpenAI) -> None:
    answer = ask(client, n=3, max_completion_tokens=5, temperature=1)
    assert [choice.index for choice in answer.choices] == [0, 1, 2]
    assert 3 <= answer.usage.completion_tokens <= 15
    parts = chunks(client, n=2, max_completion_tokens=5)
    assert {choice.index for part in parts for choice in part.choices} == {0, 1}


def test_logprobs_are_of_the_text_and_the_alternatives_descend(client: OpenAI) -> None:
    choice = ask(client, logprobs=True, top_logprobs=3, max_completion_tokens=6).choices[0]
    tokens = choice.logprobs.content
    assert b"".join(bytes(token.bytes) for token in tokens).decode() == choice.message.content
    for token in tokens:
        alternatives = [other.logprob for other in token.top_logprobs]
        assert len(alternatives) == 3
        assert alternatives == sorted(alternatives, reverse=True)
        assert token.logprob <= 0
        assert token.token == token.top_logprobs[0].token  # the choice was greedy


def test_a_stop_string_ends_the_answer_and_is_not_in_it(client: OpenAI) -> None:
    free = ask(client).choices[0].message.content
    stop = free[5:8]
    stopped = ask(client, stop=stop).choices[0]
    assert stopped.finish_reason == "stop"
    assert stopped.message.content == free[: free.index(stop)]
    assert text_of(chunks(client, stop=[stop])) == stopped.message.content


def test_the_same_seed_gives_the_same_answer_and_another_seed_another(client: OpenAI) -> None:
    def said(seed: int) -> str:
        answer = ask(client, seed=seed, temperature=1.5, max_completion_tokens=12)
        return str(answer.choices[0].message.content)

    assert said(7) == said(7)
    assert len({said(seed) for seed in range(4)}) > 1


def test_a_bias_of_100_makes_a_token_certain(client: OpenAI) -> None:
    free = ask(client, logprobs=True, max_completion_tokens=3).choices[0].logprobs.content
    certain = ask(client, logit_bias={"28": 100}, max_completion_tokens=3, logprobs=True).choices[0].logprobs.content
    assert len({token.token for token in free}) > 1
    assert len({token.token for token in certain}) == 1


# ---- errors ----


def test_a_wrong_value_is_a_bad_request(client: OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        ask(client, temperature=3)
    assert caught.value.param == "temperature"
    assert caught.value.code == "decimal_above_max_value"
    assert caught.value.type == "invalid_request_error"
    assert caught.value.request_id


def test_a_prompt_that_does_not_fit_names_both_numbers(client: OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        ask(client, messages=[{"role": "user", "content": "word " * 3000}])
    assert caught.value.code == "context_length_exceeded"
    prompt, limit = sorted(map(int, re.findall(r"\d{4,}", caught.value.message)), reverse=True)
    assert prompt > 3000
    assert limit == 2048


def test_an_unknown_model_is_not_found(client: OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        ask(client, model="gpt-x")
    assert (caught.value.param, caught.value.code) == ("model", "model_not_found")
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("nobody/nothing")


def test_an_error_comes_before_a_stream_begins(client: OpenAI) -> None:
    with pytest.raises(openai.BadRequestError):
        chunks(client, top_p=2)


def test_models_are_listed_and_retrieved_with_slashes_in_their_ids(client: OpenAI) -> None:
    assert {model.id for model in client.models.list()} == {MODEL, SLASHED}
    assert client.models.retrieve(MODEL).owned_by == "enginehouse"
    assert client.models.retrieve(SLASHED).id == SLASHED


def test_keys_are_checked_and_a_model_that_cannot_load_is_503(serve: Serve) -> None:
    key = "a key of ours"
    broken = '[models.broken]\nload = "first_request"\nplacements = [{ backend = "llamacpp", source = "not.gguf" }]\n'
    served = serve(locked(key, LAZY + broken), ready=False)
    for wrong in ("another", "x"):
        with OpenAI(base_url=f"{served.url}/v1", api_key=wrong, max_retries=0) as client:
            with pytest.raises(openai.AuthenticationError) as caught:
                client.models.list()
            assert caught.value.code in ("invalid_api_key", "missing_api_key")
            with pytest.raises(openai.AuthenticationError):
                ask(client)
    with OpenAI(base_url=f"{served.url}/v1", api_key=key, max_retries=0) as client:
        assert MODEL in {model.id for model in client.models.list()}
        with pytest.raises(openai.InternalServerError) as failed:
            ask(client, model="broken")
        assert failed.value.status_code == 503
        assert int(failed.value.response.headers["retry-after"]) >= 1
    assert key not in served.text()
