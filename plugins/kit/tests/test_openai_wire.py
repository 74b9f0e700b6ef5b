import asyncio
import json

import msgspec
import pytest

from enginehouse_kit.http.openai import OpenAIDialect
from enginehouse_plugin import (
    AssistantMessage,
    Chat,
    Finished,
    GenerationRequest,
    JsonObject,
    JsonSchema,
    NamedTool,
    ReasoningDelta,
    RefusalDelta,
    Started,
    SystemMessage,
    Text,
    TextDelta,
    TextPart,
    TokenLogprob,
    Tool,
    ToolCallDelta,
    ToolMessage,
    TopLogprob,
    UsageReport,
    UserMessage,
)
from enginehouse_plugin.errors import (
    InvalidRequest,
)
from enginehouse_plugin.request import FunctionCall, ToolCall

from .conftest import STALL
from .openai_answers import chunk, request, sse, total, usage, whole

# ---- the request ----


def sent(**fields):
    return json.loads(msgspec.json.encode(OpenAIDialect().body_of(request(**fields), "m")))


def test_sampling_is_always_written_out_and_what_is_off_is_not():
    assert sent(temperature=0.0) == {
        "model": "m",
        "messages": [{"role": "user", "content": "Hi"}],
        "temperature": 0.0,
        "top_p": 1.0,
    }


def test_every_field_goes_to_the_engine_as_the_wire_names_it():
    tool = Tool("f", description="d", parameters={"type": "object"}, strict=True)
    body = sent(
        stream=True,
        n=2,
        max_tokens=5,
        min_tokens=2,
        ignore_eos=True,
        continue_final_message=True,
        temperature=0.5,
        top_p=0.9,
        top_k=3,
        min_p=0.1,
        frequency_penalty=0.2,
        presence_penalty=-0.3,
        repetition_penalty=1.1,
        logit_bias={7: -100.0},
        seed=0,
        stop=("a", "b"),
        logprobs=True,
        top_logprobs=0,
        output=JsonSchema("s", {"type": "object"}, "d", True),
        tools=(tool,),
        tool_choice=NamedTool("f"),
        parallel_tool_calls=False,
        reasoning_effort="low",
        chat_template_kwargs={"x": 1},
    )
    del body["messages"]
    assert body == {
        "model": "m",
        "stream": True,
        "stream_options": {"include_usage": True},
        "n": 2,
        "max_tokens": 5,
        "min_tokens": 2,
        "ignore_eos": True,
        "continue_final_message": True,
        "add_generation_prompt": False,
        "temperature": 0.5,
        "top_p": 0.9,
        "top_k": 3,
        "min_p": 0.1,
        "frequency_penalty": 0.2,
        "presence_penalty": -0.3,
        "repetition_penalty": 1.1,
        "logit_bias": {"7": -100.0},
        "seed": 0,
        "stop": ["a", "b"],
        "logprobs": True,
        "top_logprobs": 0,
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "s", "schema": {"type": "object"}, "description": "d", "strict": True},
        },
        "tools": [
            {
                "type": "function",
                "function": {"name": "f", "description": "d", "parameters": {"type": "object"}, "strict": True},
            }
        ],
        "tool_choice": {"type": "function", "function": {"name": "f"}},
        "parallel_tool_calls": False,
        "reasoning_effort": "low",
        "chat_template_kwargs": {"x": 1},
    }
    # A field that is added to the contract must be put on the wire, or be listed here.
    # No wire has a word for `max_tokens_must_fit`: an adapter compares it with the context that it knows.
    # A `suffix` stands behind a text, of which conversations have none.
    elsewhere = {"id", "prompt", "output", "max_tokens_must_fit", "suffix"}
    assert set(GenerationRequest.__struct_fields__) - elsewhere <= set(body)
    assert sent(output=JsonObject())["response_format"] == {"type": "json_object"}
    assert sent(tools=(Tool("g"),), tool_choice="required")["tool_choice"] == "required"


def test_messages_are_sent_as_they_are_without_what_is_absent():
    prompt = Chat(
        (
            SystemMessage("Be brief.", name="s"),
            UserMessage((TextPart("a"), TextPart("b"))),
            AssistantMessage(None, tool_calls=(ToolCall("c1", FunctionCall("f", "{}")),)),
            ToolMessage("42", "c1"),
        )
    )
    assert sent(prompt=prompt)["messages"] == [
        {"role": "system", "content": "Be brief.", "name": "s"},
        {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
        {
            "role": "assistant",
            "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
        },
        {"role": "tool", "content": "42", "tool_call_id": "c1"},
    ]


def test_a_prompt_that_is_no_conversation_is_refused():
    with pytest.raises(InvalidRequest):
        OpenAIDialect().body_of(request(prompt=Text("x")), "m")


# ---- streams ----


async def test_a_stream_becomes_events(ask, server):
    events = await ask(
        sse(
            chunk(role="assistant", content=""),
            chunk(content="He"),
            chunk(content="llo"),
            chunk(finish="stop", stop_reason="END"),
            total(3, 2, cached=1, reasoning=0),
        ),
        stream=True,
        stop=("END",),
    )
    assert events == [
        Started(),
        TextDelta(0, "He", 1),
        TextDelta(0, "llo", 2),
        Finished(0, "stop", "END"),
        UsageReport(3, 2, 1, 0),
    ]
    assert b"POST /v1/chat/completions" in server.requests[0]


async def test_running_counts_are_taken_over(ask):
    events = await ask(
        sse(
            chunk(content="", usage=usage(9, 0, cached=4)),
            chunk(content="many tokens", usage=usage(9, 5)),
            chunk(content=".", usage=usage(9, 6), finish="length"),
            total(9, 6),
        ),
        stream=True,
    )
    assert events == [
        Started(9, 4),
        TextDelta(0, "many tokens", 5),
        TextDelta(0, ".", 6),
        Finished(0, "length"),
        UsageReport(9, 6),
    ]


async def test_choices_of_a_stream_are_told_apart(ask):
    events = await ask(
        sse(
            chunk(1, content="b"),
            chunk(0, content="a"),
            chunk(1, content="b", finish="stop"),
            chunk(0, finish="length"),
            total(1, 3),
        ),
        stream=True,
        n=2,
    )
    assert events[1:-1] == [
        TextDelta(1, "b", 1),
        TextDelta(0, "a", 1),
        TextDelta(1, "b", 2),
        Finished(1, "stop"),
        Finished(0, "length"),
    ]


@pytest.mark.parametrize("field", ["reasoning", "reasoning_content"])
async def test_reasoning_and_refusal_are_told_from_the_answer(ask, field):
    events = await ask(
        sse(chunk(**{field: "hm"}), chunk(refusal="no"), chunk(content="x", finish="stop"), total(1, 3)), stream=True
    )
    assert events[1:4] == [ReasoningDelta(0, "hm", 1), RefusalDelta(0, "no", 2), TextDelta(0, "x", 3)]


async def test_tool_calls_have_their_id_and_name_once(ask):
    def call(index, **fields):
        function = {key: fields.pop(key) for key in ("name", "arguments") if key in fields}
        return {"index": index, "type": "function", "function": function, **fields}

    events = await ask(
        sse(
            chunk(tool_calls=[call(0, id="call_a", name="f", arguments="")]),
            chunk(tool_calls=[call(0, id="call_a", name="f", arguments='{"x"')]),
            chunk(tool_calls=[call(0, arguments=":1}"), call(1, name="g", arguments="{}")]),
            chunk(finish="tool_calls"),
            total(1, 3),
        ),
        stream=True,
    )
    made_up = events[4].id
    assert made_up.startswith("call_")
    assert events[1:-1] == [
        ToolCallDelta(0, 0, 1, "call_a", "f", ""),
        ToolCallDelta(0, 0, 2, None, None, '{"x"'),
        ToolCallDelta(0, 0, 3, None, None, ":1}"),
        ToolCallDelta(0, 1, 3, made_up, "g", "{}"),
        Finished(0, "tool_calls"),
    ]


async def test_logprobs_carry_bytes_ids_and_channel(ask):
    def logprobs(token, **more):
        return {"content": [{"token": token, "logprob": -0.5, "bytes": [226, 130], **more}]}

    events = await ask(
        sse(
            chunk(reasoning="r", logprobs=logprobs("r")),
            chunk(
                content="t", logprobs=logprobs("t", id=7, top_logprobs=[{"token": "é", "logprob": -1.0, "bytes": None}])
            ),
            chunk(content="", logprobs=logprobs("half")),
            chunk(finish="stop"),
            total(1, 3),
        ),
        stream=True,
        logprobs=True,
    )
    assert events[1] == ReasoningDelta(0, "r", 1, (TokenLogprob("r", -1, b"\xe2\x82", -0.5, (), "reasoning"),))
    top = TopLogprob("é", -1, "é".encode(), -1.0)
    assert events[2] == TextDelta(0, "t", 2, (TokenLogprob("t", 7, b"\xe2\x82", -0.5, (top,)),))
    assert events[3] == TextDelta(0, "", 3, (TokenLogprob("half", -1, b"\xe2\x82", -0.5),))


async def test_a_connection_is_kept_after_a_stream(server, client):
    answer = sse(chunk(content="x", finish="stop"), total(1, 1))
    server.scripts = [[answer, answer]]
    for _ in range(2):
        events = [event async for event in OpenAIDialect().generate(client, request(stream=True), "m")]
        assert events[-1] == UsageReport(1, 1)
        while "1 idle" not in repr(client):  # noqa: ASYNC110  # what follows `[DONE]` is read behind the reader's back
            await asyncio.sleep(0.001)
    assert server.connections == 1


async def test_a_stream_that_does_not_end_after_done_is_dropped(server, client, monkeypatch):
    monkeypatch.setattr("enginehouse_kit.http.run._END_TIMEOUT_S", 0.01)
    server.scripts = [[[*sse(chunk(content="x", finish="stop"), total(1, 1))[:-1], STALL]]]
    events = [event async for event in OpenAIDialect().generate(client, request(stream=True), "m")]
    assert events[-1] == UsageReport(1, 1)
    await server.gone.wait()


@pytest.mark.parametrize("is_pending", [False, True])
async def test_closing_a_stream_closes_the_connection(server, client, is_pending):
    server.scripts = [[[*sse(chunk(content="x"))[:2], STALL]]]
    events = OpenAIDialect().generate(client, request(stream=True), "m")
    assert isinstance(await anext(events), Started)
    assert isinstance(await anext(events), TextDelta)
    if is_pending:
        pending = asyncio.ensure_future(anext(events))
        await asyncio.sleep(0.005)
        pending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await pending
    await events.aclose()
    await server.gone.wait()


# ---- whole answers ----


async def test_a_whole_answer_becomes_events(ask):
    message = {"role": "assistant", "content": "Paris", "reasoning_content": "hm"}
    choice = {"index": 0, "message": message, "finish_reason": "stop", "logprobs": None}
    assert await ask(whole(choice)) == [
        Started(3, 2),
        ReasoningDelta(0, "hm", 4),
        TextDelta(0, "Paris", 4),
        Finished(0, "stop"),
        UsageReport(3, 4, 2),
    ]


async def test_whole_tool_calls_are_numbered(ask):
    calls = [{"id": f"c{i}", "type": "function", "function": {"name": "f", "arguments": "{}"}} for i in range(2)]
    message = {"role": "assistant", "content": None, "tool_calls": calls}
    events = await ask(whole({"index": 0, "message": message, "finish_reason": "tool_calls"}))
    assert events[1:3] == [ToolCallDelta(0, 0, 4, "c0", "f", "{}"), ToolCallDelta(0, 1, 4, "c1", "f", "{}")]


async def test_the_counts_of_several_whole_choices_add_up_to_no_more_than_the_total(ask):
    choices = [{"index": i, "message": {"content": "x"}, "finish_reason": "stop"} for i in range(2)]
    events = await ask(whole(*choices, usage_=usage(3, 9)), n=2)
    assert sum(event.completion_tokens for event in events if isinstance(event, TextDelta)) <= 9
    assert events[-1] == UsageReport(3, 9)


async def test_an_empty_answer_still_starts_and_finishes(ask):
    events = await ask(whole({"index": 0, "message": {"content": ""}, "finish_reason": "length"}))
    assert events == [Started(3, 2), Finished(0, "length"), UsageReport(3, 4, 2)]
