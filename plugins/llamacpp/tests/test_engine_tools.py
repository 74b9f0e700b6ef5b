"""Tool calls on the real engine, whose template knows no tools."""

from __future__ import annotations

import json
from typing import Any

import jsonschema_rs
import pytest
from tests.asking import ask

from enginehouse_llamacpp.instance import LlamaCppInstance
from enginehouse_plugin import AssistantMessage, JsonObject, NamedTool, Tool, ToolCall, ToolMessage, UserMessage
from enginehouse_plugin.errors import InvalidRequest
from enginehouse_plugin.request import FunctionCall

pytestmark = [pytest.mark.engine, pytest.mark.asyncio(loop_scope="session")]

CITY: dict[str, Any] = {
    "type": "object",
    "properties": {"city": {"type": "string", "maxLength": 20}, "unit": {"enum": ["c", "f"]}},
    "required": ["city"],
    "additionalProperties": False,
}
WEATHER = Tool(name="get_weather", description="The weather of a city", parameters=CITY)
CLOCK = Tool(name="now")
TOOLS = (WEATHER, CLOCK)
ASK = "What is the weather in Paris?"


def valid(arguments: str) -> bool:
    return jsonschema_rs.validator_for(CITY).is_valid(json.loads(arguments))


async def test_required_forces_a_call_of_one_of_the_tools(model: LlamaCppInstance) -> None:
    for fields in ({}, {"temperature": 1.5, "seed": 5, "n": 3}):
        answer = await ask(model, ASK, tools=TOOLS, tool_choice="required", max_tokens=200, **fields)
        for choice in answer.choices:
            assert choice.text == ""
            assert choice.calls
            for name, arguments in choice.calls[: len(choice.calls) - (choice.reason == "length")]:
                assert name in ("get_weather", "now")
                assert valid(arguments) if name == "get_weather" else json.loads(arguments) == {}
            if choice.reason != "length":
                assert choice.reason == "tool_calls"


async def test_a_named_tool_is_called_and_ends_with_stop(model: LlamaCppInstance) -> None:
    answer = await ask(model, "Say hello.", tools=TOOLS, tool_choice=NamedTool("now"), max_tokens=60)
    assert answer.choices[0].calls == [("now", "{}")]
    assert answer.reason == "stop"
    answer = await ask(model, ASK, tools=TOOLS, tool_choice=NamedTool("get_weather"), max_tokens=60)
    ((name, arguments),) = answer.choices[0].calls
    assert name == "get_weather"
    assert valid(arguments)


async def test_a_named_tool_that_is_not_offered_is_refused(model: LlamaCppInstance) -> None:
    with pytest.raises(InvalidRequest) as refused:
        await ask(model, tools=TOOLS, tool_choice=NamedTool("other"))
    assert refused.value.param == "tool_choice"


async def test_none_neither_shows_nor_reads_calls(model: LlamaCppInstance) -> None:
    plain = await ask(model, ASK, seed=1)  # a seed keeps the prefix cache out of the last bits of the logits
    answer = await ask(model, ASK, tools=TOOLS, tool_choice="none", seed=1)
    assert answer.text == plain.text
    assert answer.usage == plain.usage or answer.usage is not None
    (token,) = (await model.tokenize(" {"))[:1]
    forced = await ask(model, ASK, tools=TOOLS, tool_choice="none", logit_bias={token: 100.0}, max_tokens=4)
    assert forced.choices[0].calls == []
    assert forced.reason == "length"


async def test_auto_lets_the_model_answer_in_text(model: LlamaCppInstance) -> None:
    answer = await ask(model, "What is the capital of France?", tools=TOOLS, tool_choice="auto")
    assert answer.text or answer.choices[0].calls
    assert answer.reason in ("stop", "length", "tool_calls")


async def test_auto_holds_a_call_to_its_schema_once_it_has_begun(model: LlamaCppInstance) -> None:
    """The model is pushed to write the mark; from there on the grammar allows only a valid call."""
    mark = await model.tokenize("<tool_call>")
    pushed = dict.fromkeys(mark, 30.0)
    one = await _with_mark(model, pushed, parallel_tool_calls=False)
    ((name, arguments),) = one.calls
    assert one.reason == "tool_calls"
    assert name == "now" or valid(arguments)


async def _with_mark(model: LlamaCppInstance, pushed: dict[int, float], **fields: Any) -> Any:
    """Ask for a copy of a call; a weak model repeats what it has seen often."""
    history = []
    for at, city in enumerate(("London", "Berlin", "Rome", "Madrid")):
        call = ToolCall(id=f"c{at}", function=FunctionCall("get_weather", json.dumps({"city": city})))
        history += [UserMessage(f"Weather in {city}?"), AssistantMessage(tool_calls=(call,))]
    answer = await ask(model, "Weather in Paris?", *history, tools=TOOLS, tool_choice="auto", max_tokens=120, **fields)
    assert answer.choices[0].calls, answer.text
    return answer.choices[0]


async def test_several_calls_only_where_they_are_allowed(model: LlamaCppInstance) -> None:
    for seed in range(3):
        answer = await ask(
            model,
            ASK,
            tools=TOOLS,
            tool_choice="required",
            parallel_tool_calls=False,
            temperature=1.5,
            seed=seed,
            max_tokens=150,
        )
        assert len(answer.choices[0].calls) == 1
    many = await ask(
        model,
        "Weather in Paris, London and Rome?",
        tools=(WEATHER,),
        tool_choice="required",
        logit_bias={(await model.tokenize("["))[0]: 100.0},
        max_tokens=200,
    )
    assert many.choices[0].calls
    assert len(set(many.choices[0].call_ids)) == len(many.choices[0].call_ids)


async def test_a_call_cut_by_length_ends_with_length(model: LlamaCppInstance) -> None:
    answer = await ask(model, ASK, tools=(WEATHER,), tool_choice="required", parallel_tool_calls=False, max_tokens=11)
    assert answer.reason == "length"
    ((name, arguments),) = answer.choices[0].calls
    assert name == "get_weather"
    with pytest.raises(json.JSONDecodeError):
        json.loads(arguments)


async def test_arguments_stream_in_fragments(model: LlamaCppInstance) -> None:
    answer = await ask(model, ASK, tools=(WEATHER,), tool_choice=NamedTool("get_weather"), max_tokens=60)
    assert len(answer.choices[0].counts) > 2


async def test_logprobs_go_with_tools(model: LlamaCppInstance) -> None:
    answer = await ask(model, "Say hi.", tools=TOOLS, tool_choice="auto", logprobs=True, top_logprobs=2, max_tokens=8)
    assert answer.logprobs
    forced = await ask(model, ASK, tools=TOOLS, tool_choice="required", logprobs=True, max_tokens=60)
    assert forced.choices[0].calls


async def test_many_tools(model: LlamaCppInstance) -> None:
    tools = tuple(Tool(name=f"t{at}") for at in range(64))
    answer = await ask(model, "Go.", tools=tools, tool_choice=NamedTool("t63"), max_tokens=40)
    assert answer.choices[0].calls == [("t63", "{}")]


async def test_parameters_that_cannot_be_enforced_name_the_tool(model: LlamaCppInstance) -> None:
    schema = {"type": "object", "properties": {"a": {"not": {"uniqueItems": True}}}}
    for choice in ("auto", "required"):
        with pytest.raises(InvalidRequest) as refused:
            await ask(model, tools=(CLOCK, Tool(name="bad", parameters=schema, strict=True)), tool_choice=choice)
        assert refused.value.param == "tools[1].function.parameters"


async def test_one_odd_keyword_of_a_tool_that_is_not_strict_refuses_nothing(model: LlamaCppInstance) -> None:
    odd = {"type": "array", "items": {"type": "string", "maxLength": 3}, "uniqueItems": True, "maxItems": 2}
    schema = {"type": "object", "properties": {"a": odd, "b": {"const": 7}}, "required": ["b"]}
    tool = Tool(name="odd", parameters=schema)
    answer = await ask(model, "Go.", tools=(CLOCK, tool), tool_choice=NamedTool("odd"), max_tokens=200)
    assert json.loads(answer.choices[0].calls[0][1])["b"] == 7


async def test_references_of_parameters_count_from_their_own_root(model: LlamaCppInstance) -> None:
    schema = {
        "type": "object",
        "properties": {"place": {"$ref": "#/$defs/place"}},
        "required": ["place"],
        "additionalProperties": False,
        "$defs": {"place": {"enum": ["here", "there"]}},
    }
    answer = await ask(
        model, "Go.", tools=(CLOCK, Tool(name="go", parameters=schema)), tool_choice=NamedTool("go"), max_tokens=40
    )
    assert json.loads(answer.choices[0].calls[0][1])["place"] in ("here", "there")


async def test_calls_and_a_json_object_exclude_free_text(model: LlamaCppInstance) -> None:
    answer = await ask(model, ASK, tools=TOOLS, tool_choice="auto", output=JsonObject(), max_tokens=60)
    assert answer.choices[0].calls or answer.text.startswith("{")


async def test_calls_and_results_of_the_past_reach_the_model(model: LlamaCppInstance) -> None:
    call = ToolCall(id="c1", function=FunctionCall("secret_word", '{"key": "blue"}'))
    answer = await ask(
        model,
        "",
        UserMessage("What is the secret word? Use the function."),
        AssistantMessage(tool_calls=(call,)),
        ToolMessage("The secret word is: banana", tool_call_id="c1"),
        max_tokens=30,
    )
    assert "banana" in answer.text.lower()
