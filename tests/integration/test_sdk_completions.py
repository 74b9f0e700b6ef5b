"""Completions by the OpenAI SDK for Python, unmodified, against the real model."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from openai import BadRequestError, OpenAI

from .served import MODEL, Served

pytestmark = pytest.mark.engine

PROMPT = "One, two, three, four,"


@pytest.fixture
def client(server: Served) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{server.url}/v1", api_key="none needed", max_retries=0) as client:
        yield client


def ask(client: OpenAI, **fields: Any) -> Any:  # the SDK's overloads cannot be told from a dictionary
    common = {"model": MODEL, "prompt": PROMPT, "max_tokens": 8, "temperature": 0, "seed": 7}
    return client.completions.create(**{**common, **fields})


def test_text_goes_on_whole_and_streamed(client: OpenAI) -> None:
    whole = ask(client)
    assert whole.choices[0].text.strip().startswith("five")
    parts = list(ask(client, stream=True, stream_options={"include_usage": True}))
    assert "".join(part.choices[0].text for part in parts if part.choices) == whole.choices[0].text
    assert parts[-1].usage.total_tokens == whole.usage.total_tokens


def test_no_template_is_applied_and_echo_puts_the_prompt_first(client: OpenAI, http: httpx.Client) -> None:
    chat = http.post(
        "/v1/chat/completions",
        json={"model": MODEL, "messages": [{"role": "user", "content": PROMPT}], "max_tokens": 1},
    ).json()
    answer = ask(client, echo=True)
    assert answer.usage.prompt_tokens < chat["usage"]["prompt_tokens"]
    assert answer.choices[0].text == PROMPT + ask(client).choices[0].text


def test_logprobs_choices_and_stops(client: OpenAI) -> None:
    answer = ask(client, logprobs=2, n=2, temperature=1.0)
    for choice in answer.choices:
        assert "".join(choice.logprobs.tokens) == choice.text
        assert all(len(top) == 2 for top in choice.logprobs.top_logprobs)
    assert "," not in ask(client, stop=[","]).choices[0].text


def test_several_prompts_are_answered_as_each_alone_is(client: OpenAI) -> None:
    prompts = [PROMPT, "Monday, Tuesday, Wednesday,", "a b c d"]
    alone = [ask(client, prompt=prompt) for prompt in prompts]
    together = ask(client, prompt=prompts)
    assert [choice.index for choice in together.choices] == [0, 1, 2]
    assert together.choices[0].text == alone[0].choices[0].text
    assert together.usage.prompt_tokens == sum(each.usage.prompt_tokens for each in alone)
    parts = [part for part in ask(client, prompt=prompts, n=2, stream=True) if part.choices]
    assert {choice.index for part in parts for choice in part.choices} == set(range(6))


def test_the_best_of_several_is_the_likeliest(client: OpenAI) -> None:
    best = ask(client, best_of=3, logprobs=0, temperature=1.0, seed=3).choices
    made = ask(client, n=3, logprobs=0, temperature=1.0, seed=3).choices

    def mean(choice: Any) -> float:
        return float(sum(choice.logprobs.token_logprobs) / len(choice.logprobs.token_logprobs))

    assert [choice.index for choice in best] == [0]
    assert best[0].text == max(made, key=mean).text


def test_a_prompts_tokens_are_told_and_make_the_prompt_again(client: OpenAI, http: httpx.Client) -> None:
    told = http.post("/tokenize", json={"model": MODEL, "prompt": PROMPT, "return_token_strs": True}).json()
    assert told["count"] == len(told["tokens"]) == ask(client, max_tokens=1).usage.prompt_tokens
    assert "".join(told["token_strs"]) == PROMPT
    assert http.post("/detokenize", json={"model": MODEL, "tokens": told["tokens"]}).json() == {"prompt": PROMPT}
    assert ask(client, prompt=told["tokens"]).choices[0].text == ask(client).choices[0].text


def test_a_suffix_is_refused_by_name(client: OpenAI) -> None:
    with pytest.raises(BadRequestError, match="suffix"):
        ask(client, suffix="the end")
