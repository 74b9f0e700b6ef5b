"""What a request's schemas come to: policy, bounds, and the text that engines read."""

from __future__ import annotations

import asyncio
import itertools
import re
import time
from typing import Any

import pytest

from enginehouse_kit.grammar import output_grammar, ready_grammar, schema_form
from enginehouse_kit.grammar.gbnf import gbnf
from enginehouse_kit.grammar.limits import Abandoned, Budget
from enginehouse_kit.grammar.progress import GrammarProgress
from enginehouse_plugin import GenerationRequest, JsonSchema, NamedTool, Text, Tool
from enginehouse_plugin.errors import InvalidRequest

ODD = {
    "type": "object",
    "properties": {
        "n": {"type": "integer"},
        "tags": {"type": "array", "items": {"type": "string", "maxLength": 3}, "uniqueItems": True},
    },
    "required": ["n"],
}
_fresh = itertools.count(31)  # what has been compiled once is kept
BOMB = {"enum": ["a" * at for at in range(1, 3001)]}


def request(**fields: Any) -> GenerationRequest:
    return GenerationRequest(id="r", prompt=Text(""), **fields)


def takes(asked: GenerationRequest, text: str) -> bool:
    grammar = output_grammar(asked)
    assert grammar is not None
    progress = GrammarProgress(grammar.form)
    return progress.read(text) and progress.may_end


def call(arguments: str, name: str = "f") -> str:
    return f'{{"name":"{name}","arguments":{arguments}}}'


@pytest.mark.parametrize("choice", [NamedTool("f"), "required"])
def test_a_forced_call_leaves_no_room_for_the_answer_that_response_format_asks(choice: Any) -> None:
    asked = request(tools=(Tool("f"),), tool_choice=choice, output=JsonSchema("", {"type": "object"}))
    assert takes(asked, call("{}"))
    assert not takes(asked, "{}")


def test_where_the_model_may_choose_it_answers_or_calls() -> None:
    asked = request(tools=(Tool("f"),), tool_choice="auto", output=JsonSchema("", {"type": "object"}))
    assert takes(asked, "{}")
    assert takes(asked, f"<tool_call>{call('{}')}</tool_call>")


def test_a_tool_that_is_not_strict_is_held_as_far_as_a_grammar_goes_and_the_rest_is_named() -> None:
    asked = request(tools=(Tool("f", parameters=ODD),), tool_choice=NamedTool("f"))
    grammar = output_grammar(asked)
    assert grammar is not None
    assert grammar.ignored == ("tools[0].function.parameters/properties/tags/uniqueItems",)
    assert takes(asked, call('{"n":1,"tags":["a","a"]}'))
    for wrong in ('{"n":"1"}', "{}", '{"n":1,"tags":["long"]}', '{"n":1,"tags":"a"}'):
        assert not takes(asked, call(wrong)), wrong


def test_a_strict_tool_is_enforced_whole_or_refused() -> None:
    for choice in ("auto", "required"):
        with pytest.raises(InvalidRequest, match="'uniqueItems' at '#/properties/tags'") as refused:
            output_grammar(request(tools=(Tool("g"), Tool("f", parameters=ODD, strict=True)), tool_choice=choice))
        assert (refused.value.param, refused.value.code) == ("tools[1].function.parameters", "unsupported_schema")


@pytest.mark.parametrize(
    "parameters",
    [
        False,
        {"type": "object", "properties": {"a": False}, "required": ["a"]},
        {"$ref": "https://example.com/a"},
        {"type": "object", "properties": {"a": {"allOf": [BOMB, {"pattern": "^(?=.*a.{30}$)b.{40}$"}]}}},
        {"type": "object", "properties": {"a": {"type": "strin"}}},
        {"type": "object", "not": {"uniqueItems": True}},
        {"type": "object", "properties": {"a": {"type": "string", "pattern": "(?<=a)b"}}},
    ],
)
def test_no_schema_of_a_tool_that_is_not_strict_refuses_a_request(parameters: Any) -> None:
    tools = (Tool("odd", parameters=parameters), Tool("f", parameters=ODD))
    asked = request(tools=tools, tool_choice="required")
    grammar = output_grammar(asked)
    assert grammar is not None
    assert any(place.startswith("tools[0].function.parameters") for place in grammar.ignored)
    assert takes(asked, call('{"n":1}'))
    assert not takes(asked, call('{"n":"1"}'))


def test_one_tool_that_takes_too_much_costs_the_others_nothing() -> None:
    small = {"type": "object", "properties": {"a": {"type": "null"}}}
    large = {"type": "object", "properties": {"a": BOMB}}
    tools = tuple(Tool(f"t{at}", parameters=large if at == 1 else small) for at in range(60))
    asked = request(tools=tools, tool_choice="required")
    grammar = output_grammar(asked)
    assert grammar is not None
    assert grammar.ignored == ("tools[1].function.parameters",)
    assert takes(asked, call('{"a":null}', "t59"))
    assert not takes(asked, call('{"a":1}', "t59"))


def test_a_limit_names_the_schema_that_takes_the_most() -> None:
    small = {"type": "object", "properties": {"a": {"type": "null"}}}
    large = {"type": "object", "properties": {"a": BOMB}}
    tools = (Tool("a", parameters=large, strict=True), Tool("b", parameters=small, strict=True))
    with pytest.raises(InvalidRequest) as refused:
        output_grammar(request(tools=tools, tool_choice="required"))
    assert refused.value.param == "tools[0].function.parameters"
    assert "steps to compile" in refused.value.message
    assert "'#/properties/a'" in refused.value.message


def _long(mark: str) -> dict[str, Any]:
    """A schema whose grammar is longer than engines read, though it is compiled: keys that are none of many names."""
    names = [[f"{mark}{at}{name}{'abc' * 15}" for name in range(12)] for at in range(40)]
    return {
        "type": "object",
        "properties": {
            f"p{at}": {"type": "object", "properties": {key: {} for key in some}} for at, some in enumerate(names)
        },
    }


@pytest.mark.parametrize(
    "asked",
    [
        {"output": JsonSchema("s", _long("1"))},
        {"tools": (Tool("g"), Tool("f", parameters=_long("2"), strict=True)), "tool_choice": "auto"},
    ],
)
def test_too_long_a_grammar_is_refused_for_the_schema_that_takes_the_most(asked: Any) -> None:
    with pytest.raises(InvalidRequest, match=r"more than \d+ bytes") as refused:
        output_grammar(request(**asked))
    where = "response_format.json_schema.schema" if "output" in asked else "tools[1].function.parameters"
    assert (refused.value.param, refused.value.code) == (where, "unsupported_schema")


def test_too_long_a_grammar_leaves_the_longest_tool_that_is_not_strict_to_the_model() -> None:
    tools = (Tool("g", parameters=ODD), Tool("f", parameters=_long("3")))
    grammar = output_grammar(request(tools=tools, tool_choice="required"))
    assert grammar is not None
    assert "tools[1].function.parameters" in grammar.ignored
    assert "tools[0].function.parameters" not in grammar.ignored
    assert takes(request(tools=tools, tool_choice="required"), call('{"p0":1}'))
    assert not takes(request(tools=tools, tool_choice="required"), call('{"n":"x"}', "g"))


async def test_the_same_schemas_are_compiled_once() -> None:
    schema = {"type": "object", "properties": {f"p{at}": {"type": "integer"} for at in range(300)}}
    first = await ready_grammar(request(output=JsonSchema("s", schema)))
    again = output_grammar(GenerationRequest(id="other", prompt=Text("x"), output=JsonSchema("s", dict(schema))))
    assert first is again
    assert output_grammar(request()) is None
    assert await ready_grammar(request()) is None


@pytest.mark.parametrize("for_xgrammar", [False, True])
async def test_what_an_engine_reads_of_a_lazy_grammar_is_written_before_it_asks(for_xgrammar: bool) -> None:
    """Nothing large is left to be written on the event loop, also if the other form of it has been before."""
    asked = request(tools=(Tool("f", parameters=ODD | {"title": str(next(_fresh))}),), tool_choice="auto")
    await ready_grammar(asked, for_xgrammar=not for_xgrammar)
    grammar = await ready_grammar(asked, for_xgrammar=for_xgrammar)
    assert grammar is not None
    assert grammar.is_lazy
    assert {"text", "for_xgrammar"} <= vars(grammar).keys()
    other = request(tools=(Tool("g", parameters=ODD | {"title": str(next(_fresh))}),), tool_choice="auto")
    alone = await ready_grammar(other, for_xgrammar=for_xgrammar)
    assert alone is not None
    assert alone.is_written(for_xgrammar=for_xgrammar)


async def test_what_takes_long_leaves_the_loop_free_and_ends_with_its_task() -> None:
    """Small in bytes, so that only its steps tell."""
    schema = {"type": "string", "pattern": f"^(?=.*b.{{{next(_fresh)}}}$)[ab]*$"}
    task = asyncio.ensure_future(ready_grammar(request(output=JsonSchema("s", schema))))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert not task.done()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def test_a_budget_that_is_stopped_ends_the_work_at_its_next_step() -> None:
    budget = Budget()
    budget.begin("a", share=0.5)
    budget.stop()
    budget.begin("b")
    with pytest.raises(Abandoned):
        budget.spend()


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "string", "maxLength": 2001},
        {"type": "string", "minLength": 4000, "maxLength": 9999},
        {"type": "array", "items": {"type": "string", "maxLength": 3000}, "maxItems": 5000},
        {"type": "string", "pattern": "^((ab){2500})?$"},
    ],
)
def test_no_count_is_written_that_llama_cpp_takes_for_none(schema: Any) -> None:
    """From 2000 on it counts no further; pieces are counted one after the other."""
    text = gbnf(schema_form(schema, "s"))
    counts = [int(count) for pair in re.findall(r"\{(\d+)(?:,(\d*))?\}", text) for count in pair if count]
    assert counts
    assert max(counts) < 2000


def test_no_escape_is_written_that_xgrammar_reads_on_beyond() -> None:
    text = gbnf(schema_form({"type": "string", "pattern": "^[_a-]\\x1b?é$", "format": "x"}, "s"))
    assert "\\u005F" in text
    assert "\\x" not in text


def test_as_many_required_names_as_a_body_holds_are_refused_within_the_budget() -> None:
    names = [f"name{at}" for at in range(90_000)]
    schema = JsonSchema(name="s", schema={"type": "object", "required": names}, strict=True)
    began = time.process_time()
    with pytest.raises(InvalidRequest, match="steps to compile"):
        output_grammar(request(output=schema))
    assert time.process_time() - began < 10
