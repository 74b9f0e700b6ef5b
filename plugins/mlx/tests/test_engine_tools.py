"""JSON, tool calls and reasoning, on the loaded model."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from tests.asking import ask, request

from enginehouse_plugin import (
    AssistantMessage,
    Instance,
    JsonObject,
    JsonSchema,
    NamedTool,
    Tool,
    ToolMessage,
    UserMessage,
)
from enginehouse_plugin.errors import InvalidRequest, UnsupportedFeature
from enginehouse_plugin.request import FunctionCall, ToolCall

from .folders import copy_of, with_tokenizer

Load = Callable[..., Awaitable[Instance]]
pytestmark = pytest.mark.asyncio(loop_scope="session")

WEATHER = Tool(
    "get_weather",
    description="Weather of a city.",
    parameters={
        "type": "object",
        "properties": {"city": {"type": "string", "maxLength": 8}, "days": {"type": "integer", "maximum": 9}},
        "required": ["city", "days"],
        "additionalProperties": False,
    },
)
CLOCK = Tool("clock")
SCHEMA = JsonSchema(
    "s",
    {
        "type": "object",
        "properties": {"size": {"enum": ["small", "large"]}, "count": {"type": "integer", "minimum": 0, "maximum": 99}},
        "required": ["size", "count"],
        "additionalProperties": False,
    },
)


@pytest.mark.parametrize("seed", range(5))
async def test_an_answer_fits_its_schema(model: Instance, seed: int) -> None:
    answer = await ask(model, output=SCHEMA, temperature=2.0, seed=seed, max_tokens=60)
    value = json.loads(answer.text)
    assert value["size"] in ("small", "large")
    assert 0 <= value["count"] <= 99
    assert answer.reason == "stop"


async def test_choices_and_others_in_the_batch_are_held_each_to_its_own(model: Instance) -> None:
    answer = await ask(model, output=SCHEMA, temperature=2.0, n=3, max_tokens=60)
    assert all(json.loads(choice.text).keys() == {"size", "count"} for choice in answer.choices)


async def test_an_object_that_is_cut_short_ends_with_length(model: Instance) -> None:
    answer = await ask(model, output=JsonObject(), max_tokens=8, seed=1, temperature=1.0)
    assert answer.text.startswith("{")
    assert answer.reason in ("length", "stop")


async def test_a_bias_never_leads_out_of_a_schema(model: Instance) -> None:
    (sea,) = await model.tokenize(" sea")  # type: ignore[attr-defined]  # it is Inspectable
    answer = await ask(model, output=SCHEMA, logit_bias={sea: 100.0, 2: 100.0}, max_tokens=60)
    assert json.loads(answer.text).keys() == {"size", "count"}


async def test_a_schema_that_cannot_be_enforced_is_refused_by_name(model: Instance) -> None:
    with pytest.raises(InvalidRequest, match="not") as refused:
        await ask(model, output=JsonSchema("s", {"not": {"uniqueItems": True}}))
    assert refused.value.code == "unsupported_schema"


# ---- tools ----


@pytest.mark.parametrize("choice", ["required", NamedTool("get_weather")])
async def test_a_forced_call_has_valid_arguments(model: Instance, choice: Any) -> None:
    answer = await ask(model, tools=(WEATHER,), tool_choice=choice, temperature=1.5, max_tokens=600)
    assert answer.text == ""
    assert answer.choices[0].calls
    for name, arguments in answer.choices[0].calls:
        assert name == "get_weather"
        value = json.loads(arguments)
        assert value.keys() == {"city", "days"}
        assert value["days"] <= 9
    assert answer.reason == ("tool_calls" if choice == "required" else "stop")
    assert len(set(answer.choices[0].call_ids)) == len(answer.choices[0].calls)


async def test_a_named_tool_is_the_one_that_is_called(model: Instance) -> None:
    answer = await ask(model, tools=(WEATHER, CLOCK), tool_choice=NamedTool("clock"), max_tokens=60)
    assert answer.choices[0].calls == [("clock", "{}")]


async def test_one_call_where_calls_are_not_parallel(model: Instance) -> None:
    fields = {"tools": (WEATHER, CLOCK), "tool_choice": "required", "parallel_tool_calls": False}
    answer = await ask(model, temperature=1.5, max_tokens=100, **fields)
    assert len(answer.choices[0].calls) == 1


async def test_a_call_that_is_cut_short_ends_with_length(model: Instance) -> None:
    answer = await ask(model, tools=(WEATHER,), tool_choice="required", max_tokens=12)
    assert answer.reason == "length"
    assert answer.text == ""


async def test_auto_answers_freely_or_calls(model: Instance) -> None:
    answer = await ask(model, tools=(WEATHER,), tool_choice="auto", max_tokens=12)
    assert answer.text
    assert answer.reason == "length"
    ids = await model.tokenize("<tool_call>")  # type: ignore[attr-defined]  # it is Inspectable
    assert len(ids) > 1


async def test_none_shows_no_tools(model: Instance) -> None:
    plain = request()
    assert await model.count_tokens(request(tools=(WEATHER,), tool_choice="none")) == await model.count_tokens(plain)
    shown = await model.count_tokens(request(tools=(WEATHER,), tool_choice="auto"))
    assert shown > await model.count_tokens(plain) + 50


async def test_a_call_and_its_result_are_part_of_the_prompt(model: Instance) -> None:
    call = ToolCall("c1", FunctionCall("get_weather", '{"city": "Paris", "days": 1}'))
    before = (
        UserMessage("Weather?"),
        AssistantMessage(tool_calls=(call,)),
        ToolMessage("Rain.", tool_call_id="c1"),
    )
    answer = await ask(model, "And now?", *before, tools=(WEATHER,), tool_choice="auto", max_tokens=2)
    assert answer.usage is not None
    assert answer.usage.prompt_tokens > await model.count_tokens(request("And now?", tools=(WEATHER,))) + 20


async def test_a_stop_string_inside_a_call_never_gives_a_broken_call(model: Instance) -> None:
    answer = await ask(model, tools=(WEATHER,), tool_choice="required", max_tokens=100, stop=('"days"',))
    assert answer.reason == "stop"


# ---- templates ----

REASONING = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{% if m.reasoning_content %}<think>{{ m.reasoning_content }}"
    "</think>{% endif %}{{ m.content }}<|im_end|>\n{% endfor %}<|im_start|>assistant\n"
    "{% if enable_thinking %}<think>\n{% else %}<think>\n\n</think>\n\n{% endif %}"
    "{% if reasoning_effort %}({{ reasoning_effort }}){% endif %}"
)


async def test_reasoning_is_told_from_the_answer(load: Load) -> None:
    """The template forces the marks: this proves their reading, not that a model reasons."""
    instance = await load(chat_template=REASONING)
    assert instance.capabilities.features >= {"reasoning", "reasoning_effort", "chat_template_kwargs"}
    answer = await ask(instance, max_tokens=10, logprobs=True)
    assert answer.text == ""
    assert answer.choices[0].reasoning
    assert answer.usage is not None
    assert answer.usage.reasoning_tokens == answer.usage.completion_tokens == 10
    plain = await ask(instance, max_tokens=10, chat_template_kwargs={"enable_thinking": False})
    assert plain.text
    assert plain.choices[0].reasoning == ""
    none = await instance.count_tokens(request(reasoning_effort="none"))
    assert none > await instance.count_tokens(request(reasoning_effort="low"))
    with pytest.raises(InvalidRequest, match="enable_thinking") as refused:
        await ask(instance, chat_template_kwargs={"colour": "red"})
    assert refused.value.param == "chat_template_kwargs.colour"


async def test_what_a_template_has_no_place_for_is_not_declared(model: Instance) -> None:
    assert not model.capabilities.features & {"reasoning", "reasoning_effort", "chat_template_kwargs"}
    with pytest.raises(UnsupportedFeature):
        await ask(model, reasoning_effort="low")


OWN_CALLS = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}{% for c in m.tool_calls or [] %}<tool_call>\n"
    "<function={{ c.function.name }}>{% for k, v in c.function.arguments|items %}<parameter={{ k }}>\n{{ v }}\n"
    "</parameter>{% endfor %}</function></tool_call>{% endfor %}<|im_end|>\n{% endfor %}"
    "{% if tools %}<tool_call>\n<function=…>{{ tools|tojson }}{% endif %}<|im_start|>assistant\n"
)


async def test_a_templates_own_form_of_calls_is_used(load: Load, tiny: Path, tmp_path: Path) -> None:
    def change(content: dict[str, Any]) -> None:
        content["chat_template"] = OWN_CALLS

    instance = await load(with_tokenizer(copy_of(tiny, tmp_path / "own"), change))
    call = ToolCall("c1", FunctionCall("clock", '{"zone": "CET"}'))
    history = (UserMessage("Time?"), AssistantMessage(tool_calls=(call,)), ToolMessage("Noon.", tool_call_id="c1"))
    answer = await ask(instance, "So?", *history, tools=(CLOCK,), tool_choice="auto", max_tokens=4)
    assert answer.text
    forced = await ask(instance, tools=(CLOCK,), tool_choice="required", max_tokens=600)
    assert {name for name, _ in forced.choices[0].calls} == {"clock"}


async def test_a_template_that_refuses_is_the_requests_fault(load: Load) -> None:
    instance = await load(chat_template="{{ raise_exception('roles must alternate') }}")
    with pytest.raises(InvalidRequest, match="roles must alternate") as refused:
        await ask(instance)
    assert refused.value.param == "messages"
