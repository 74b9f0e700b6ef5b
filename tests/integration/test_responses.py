"""Responses by the OpenAI SDK for Python, unmodified, against the real model. Relations are asserted, never prose."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any, Literal

import openai
import pytest
from openai import OpenAI
from pydantic import BaseModel

from .conftest import Serve
from .served import EMBEDDED, LAZY, MODEL, Served, locked

pytestmark = pytest.mark.engine

QUESTION = "What is the capital of France?"
WEATHER: Any = {
    "type": "function",
    "name": "get_weather",
    "description": "Tells the weather in a city.",
    "strict": True,
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string", "maxLength": 20}},
        "required": ["city"],
        "additionalProperties": False,
    },
}


class Verdict(BaseModel):
    verdict: Literal["yes", "no"]


@pytest.fixture
def client(server: Served) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{server.url}/v1", api_key="none needed", max_retries=0) as client:
        yield client


def ask(client: OpenAI, **fields: Any) -> Any:  # the SDK's overloads cannot be told from a dictionary
    common = {"model": MODEL, "input": QUESTION, "max_output_tokens": 24, "temperature": 0}
    return client.responses.create(**{**common, **fields})


def events_of(client: OpenAI, **fields: Any) -> list[Any]:
    with ask(client, stream=True, **fields) as stream:
        return list(stream)


def test_a_response_holds_what_the_reference_promises(client: OpenAI) -> None:
    answer = ask(client, metadata={"of": "a test"})
    assert answer.object == "response"
    assert answer.id.startswith("resp_")
    assert answer.model == MODEL
    assert answer.output_text
    assert answer.metadata == {"of": "a test"}
    (message,) = answer.output
    assert (message.type, message.role) == ("message", "assistant")
    usage = answer.usage
    assert 1 <= usage.output_tokens <= 24
    assert usage.total_tokens == usage.input_tokens + usage.output_tokens


def test_chat_and_responses_give_the_same_text_and_counts(client: OpenAI) -> None:
    chat = client.chat.completions.create(
        model=MODEL,
        messages=[{"role": "system", "content": "Be brief."}, {"role": "user", "content": QUESTION}],
        max_completion_tokens=24,
        temperature=0,
    )
    assert chat.usage is not None
    counts = (chat.usage.prompt_tokens, chat.usage.completion_tokens)
    reason = "completed" if chat.choices[0].finish_reason == "stop" else "incomplete"
    forms: list[Any] = [
        QUESTION,
        [{"role": "user", "content": QUESTION}],
        [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": QUESTION}]}],
    ]
    for given in forms:
        answer = ask(client, instructions="Be brief.", input=given)
        assert answer.output_text == chat.choices[0].message.content
        assert (answer.usage.input_tokens, answer.usage.output_tokens) == counts
        assert answer.status == reason
        streamed = events_of(client, instructions="Be brief.", input=given)
        assert streamed[-1].response.output_text == answer.output_text
        assert streamed[-1].response.usage.output_tokens == counts[1]


def test_a_stream_has_every_event_in_its_order(client: OpenAI) -> None:
    events = events_of(client)
    kinds = [event.type for event in events]
    assert kinds[:4] == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
    ]
    assert kinds[-4:-1] == ["response.output_text.done", "response.content_part.done", "response.output_item.done"]
    assert kinds[-1] in ("response.completed", "response.incomplete")
    assert set(kinds[4:-4]) == {"response.output_text.delta"}
    assert [event.sequence_number for event in events] == list(range(len(events)))
    text = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    assert text == events[-4].text == events[-1].response.output_text


def test_the_sdks_own_stream_gathers_the_response(client: OpenAI) -> None:
    with client.responses.stream(
        model=MODEL, input="Yes or no?", text_format=Verdict, max_output_tokens=60, temperature=0
    ) as stream:
        text = "".join(event.delta for event in stream if event.type == "response.output_text.delta")
        final = stream.get_final_response()
    assert final.output_text == text
    assert isinstance(final.output_parsed, Verdict)
    assert final.usage is not None


def test_few_tokens_make_an_incomplete_response(client: OpenAI) -> None:
    answer = ask(client, max_output_tokens=1)
    assert answer.status == "incomplete"
    assert answer.incomplete_details.reason == "max_output_tokens"
    assert answer.output[0].status == "incomplete"
    assert events_of(client, max_output_tokens=1)[-1].type == "response.incomplete"


def test_a_parsed_answer_is_of_its_class(client: OpenAI) -> None:
    answer = client.responses.parse(
        model=MODEL, input="Yes or no?", text_format=Verdict, max_output_tokens=60, temperature=0
    )
    assert answer.status == "completed"
    assert isinstance(answer.output_parsed, Verdict)


def test_a_forced_call_its_result_and_the_answer(client: OpenAI) -> None:
    forced = {"tools": [WEATHER], "tool_choice": {"type": "function", "name": "get_weather"}, "max_output_tokens": 100}
    first = ask(client, input="How is the weather in Lisbon?", **forced)
    (call,) = [item for item in first.output if item.type == "function_call"]
    assert set(json.loads(call.arguments)) == {"city"}
    events = events_of(client, input="How is the weather in Lisbon?", **forced)
    done = next(event for event in events if event.type == "response.function_call_arguments.done")
    assert done.arguments == call.arguments
    assert done.name == "get_weather"
    result = {"type": "function_call_output", "call_id": call.call_id, "output": "21 degrees"}
    # by the conversation as it is, and by what is kept
    by_hand = ask(
        client,
        input=[{"role": "user", "content": "How is the weather in Lisbon?"}, *first.output, result],
        tools=[WEATHER],
        tool_choice="none",
    )
    by_id = ask(client, previous_response_id=first.id, input=[result], tools=[WEATHER], tool_choice="none")
    assert by_hand.output_text == by_id.output_text
    assert by_hand.usage.input_tokens == by_id.usage.input_tokens


def test_a_custom_tool_is_called_with_plain_text(client: OpenAI) -> None:
    tool: Any = {"type": "custom", "name": "shout", "description": "Says it loudly."}
    answer = ask(
        client,
        input="Shout hello.",
        tools=[tool],
        tool_choice={"type": "custom", "name": "shout"},
        max_output_tokens=200,
    )
    (call,) = [item for item in answer.output if item.type == "custom_tool_call"]
    assert isinstance(call.input, str)
    result: Any = {"type": "custom_tool_call_output", "call_id": call.call_id, "output": "HELLO"}
    again = ask(client, previous_response_id=answer.id, input=[result], tools=[tool], tool_choice="none")
    assert again.output_text
    by_hand = ask(client, input=[{"role": "user", "content": "Shout hello."}, call, result])
    assert again.usage.input_tokens == by_hand.usage.input_tokens


def test_log_probabilities_are_in_the_text(client: OpenAI) -> None:
    answer = ask(client, include=["message.output_text.logprobs"], top_logprobs=2, max_output_tokens=3)
    part = answer.output[0].content[0]
    assert "".join(entry.token for entry in part.logprobs) == part.text
    assert all(len(entry.top_logprobs) == 2 for entry in part.logprobs)
    deltas = [
        event
        for event in events_of(client, include=["message.output_text.logprobs"], max_output_tokens=3)
        if event.type == "response.output_text.delta"
    ]
    assert "".join(entry.token for event in deltas for entry in event.logprobs) == part.text


def test_what_only_a_cloud_has_is_left_out_and_named(client: OpenAI) -> None:
    raw = client.responses.with_raw_response.create(
        model=MODEL,
        input=QUESTION,
        max_output_tokens=2,
        tools=[{"type": "web_search"}, WEATHER],
        tool_choice="none",
        truncation="auto",
        text={"verbosity": "low"},
        extra_body={"made_up": 1},
    )
    ignored = raw.headers["x-enginehouse-ignored"].split(", ")
    assert ignored == ["made_up", "tools%5B0%5D.web_search", "truncation", "text.verbosity"]


def test_a_kept_response_is_shown_listed_and_deleted(client: OpenAI) -> None:
    answer = ask(client, instructions="Be brief.")
    again = client.responses.retrieve(answer.id)
    assert again.output_text == answer.output_text
    assert [item.to_dict()["content"] for item in client.responses.input_items.list(answer.id)] == [
        [{"type": "input_text", "text": QUESTION}]
    ]
    with pytest.raises(openai.BadRequestError):
        client.responses.cancel(answer.id)
    client.responses.delete(answer.id)
    for gone in (client.responses.retrieve, client.responses.delete):
        with pytest.raises(openai.NotFoundError):
            gone(answer.id)
    with pytest.raises(openai.BadRequestError) as caught:
        ask(client, previous_response_id=answer.id)
    assert caught.value.param == "previous_response_id"
    unkept = ask(client, store=False)
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(unkept.id)


def test_a_response_goes_on_in_the_background_and_can_be_cancelled(client: OpenAI) -> None:
    answer = ask(client, background=True)
    assert answer.status == "queued"
    for _ in range(600):
        shown = client.responses.retrieve(answer.id)
        if shown.status not in ("queued", "in_progress"):
            break
        time.sleep(0.1)
    assert shown.status in ("completed", "incomplete")
    assert shown.output_text == ask(client).output_text
    long = ask(client, background=True, max_output_tokens=1500, input="Count to a thousand.", temperature=1)
    ended = client.responses.cancel(long.id)
    assert ended.status in ("cancelled", "completed", "incomplete")
    assert client.responses.retrieve(long.id).status == ended.status


def test_a_key_sees_its_own_responses_alone(serve: Serve) -> None:
    other = locked("second-key", "").replace('"tests"', '"others"')
    served = serve(locked("first-key", EMBEDDED) + other)
    first, second = (
        OpenAI(base_url=f"{served.url}/v1", api_key=key, max_retries=0) for key in ("first-key", "second-key")
    )
    with first, second:
        answer = ask(first, max_output_tokens=2)
        assert first.responses.retrieve(answer.id).id == answer.id
        for method in (second.responses.retrieve, second.responses.delete, second.responses.cancel):
            with pytest.raises(openai.NotFoundError):
                method(answer.id)
        with pytest.raises(openai.BadRequestError):
            ask(second, previous_response_id=answer.id)
        assert first.responses.retrieve(answer.id).id == answer.id


def test_nothing_is_kept_where_that_is_off(serve: Serve) -> None:
    served = serve(f'{LAZY}\n[responses]\nstore = "off"\n')
    with OpenAI(base_url=f"{served.url}/v1", api_key="none", max_retries=0) as client:
        for fields in ({"previous_response_id": "resp_1"}, {"background": True}):
            with pytest.raises(openai.BadRequestError) as caught:
                ask(client, **fields)
            assert caught.value.param == next(iter(fields))
