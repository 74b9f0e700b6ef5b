"""What grammars let through, on the tiny model's tokenizer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import llguidance
import pytest
from mlx_lm.utils import load_tokenizer

from enginehouse_kit.text.chat_messages import TemplateFacts
from enginehouse_kit.text.thinking import MARKS, Marks, State
from enginehouse_mlx.engine.grammar import grammar_of, matcher_of
from enginehouse_mlx.engine.templates import CallFormat, ModelTemplate
from enginehouse_mlx.engine.vocabulary import Vocabulary
from enginehouse_plugin import GenerationRequest, JsonObject, JsonSchema, NamedTool, Text, Tool
from enginehouse_plugin.errors import InvalidRequest

SIZE = 49152
TOOLS = (Tool("f", parameters={"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}),)
CALL = '{"name":"f","arguments":{"a":1}}'
PLAIN = ModelTemplate(facts=TemplateFacts(), marks=MARKS, calls=None, has_effort=False)


@pytest.fixture(scope="module")
def vocabulary(tiny: Path) -> Vocabulary:
    tokenizer = load_tokenizer(tiny)
    return Vocabulary(tokenizer, SIZE, tokenizer.eos_token_ids, ())


def request(**fields: Any) -> GenerationRequest:
    return GenerationRequest(id="r", prompt=Text(""), **fields)


def takes(
    vocabulary: Vocabulary, asked: GenerationRequest, text: str, thinking: State = "never", marks: Marks = MARKS
) -> bool:
    """Whether *text* may be the whole answer."""
    template = ModelTemplate(facts=TemplateFacts(), marks=marks, calls=None, has_effort=False)
    grammar = grammar_of(asked, vocabulary, template, thinking)
    if grammar is None:
        return True
    matcher = matcher_of(grammar, vocabulary, asked)
    tokenizer: llguidance.LLTokenizer = vocabulary.grammar_tokenizer
    ids = tokenizer.tokenize_str(text, parse_special=any(mark in text for mark in ("<|im_start|>", "<file_sep>")))
    taken = matcher.try_consume_tokens(ids)
    assert not matcher.is_error(), matcher.get_error()
    return taken == len(ids) and matcher.is_accepting()


SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}


@pytest.mark.parametrize(
    ("output", "good", "bad"),
    [
        (JsonObject(), ['{"x": [1, null]}', "{}"], ["[]", "1", "{", "Sure: {}"]),
        (
            JsonSchema("s", SCHEMA),
            ['{"a":1}', '{"a": -20}', '{"a": 1, "b": 2}'],
            ["{}", '{"a": "1"}', '{"b": 2}', '{"a": 1} ok'],
        ),
    ],
)
def test_json_is_held_to_its_schema(
    vocabulary: Vocabulary, output: JsonObject | JsonSchema, good: list[str], bad: list[str]
) -> None:
    for text in (*good, *bad):
        assert takes(vocabulary, request(output=output), text) == (text in good), text


@pytest.mark.parametrize(
    ("choice", "parallel", "good", "bad"),
    [
        ("required", True, [CALL, f"[{CALL}]", f"[{CALL}, {CALL}]"], ["", "text", "[]", '{"name":"g","arguments":{}}']),
        ("required", False, [CALL], [f"[{CALL}]"]),
        (NamedTool("f"), True, [CALL], [f"[{CALL}]", "text"]),
        (
            "auto",
            True,
            ["", "Hello <tool_cal", f"Well.\n<tool_call>\n{CALL}\n</tool_call>", f"<tool_call>{CALL}</tool_call>" * 2],
            ["<tool_call>", "Well. <tool_call>nothing", f"<tool_call>{CALL}</tool_call> and text"],
        ),
        (
            "auto",
            False,
            [f"<tool_call>{CALL}</tool_call>"],
            [f"<tool_call>{CALL}</tool_call>" * 2],
        ),
    ],
)
def test_calls_are_what_the_choice_asks_for(
    vocabulary: Vocabulary, choice: Any, parallel: bool, good: list[str], bad: list[str]
) -> None:
    asked = request(tools=TOOLS, tool_choice=choice, parallel_tool_calls=parallel)
    for text in (*good, *bad):
        assert takes(vocabulary, asked, text) == (text in good), text


def test_a_call_or_an_answer_by_schema_where_both_are_allowed(vocabulary: Vocabulary) -> None:
    asked = request(tools=TOOLS, tool_choice="auto", output=JsonObject())
    good = ["{}", f"<tool_call>{CALL}</tool_call>"]
    for text in (*good, "text", f"{{}}<tool_call>{CALL}</tool_call>"):
        assert takes(vocabulary, asked, text) == (text in good), text


# `<file_sep>` stands for marks that are control tokens of the model.
OTHER: Marks = ("<|im_start|>", "<file_sep>")


@pytest.mark.parametrize(
    ("thinking", "marks", "good", "bad"),
    [
        ("inside", MARKS, ["a {b} </thin</think>\n\n{}", "</think>{}"], ["{}", "a</think>text", "a</think>"]),
        ("may begin", MARKS, ["{}", "<think>a</think>{}"], ["<think>{}", "a</think>{}", "x"]),
        ("inside", OTHER, ["a</think><file_sep>{}"], ["{}", "a</think>{}"]),
        ("may begin", OTHER, ["{}", "<|im_start|>a<file_sep>{}"], ["a<file_sep>{}"]),
    ],
)
def test_reasoning_may_stand_before_what_is_held(
    vocabulary: Vocabulary, thinking: State, marks: Marks, good: list[str], bad: list[str]
) -> None:
    for text in (*good, *bad):
        assert takes(vocabulary, request(output=JsonObject()), text, thinking, marks) == (text in good), text


def test_a_call_may_follow_reasoning_that_speaks_of_calls(vocabulary: Vocabulary) -> None:
    asked = request(tools=TOOLS, tool_choice="auto")
    block = f"<tool_call>{CALL}</tool_call>"
    assert takes(vocabulary, asked, f"shall I <tool_call>?</think>\n{block}", "inside")
    assert takes(vocabulary, asked, "no</think>\nNo.", "inside")
    assert not takes(vocabulary, asked, "no</think>\n<tool_call>No.", "inside")


@pytest.mark.parametrize(
    ("schema", "good", "bad"),
    [
        ({"type": "integer", "minimum": 1, "maximum": 9}, ["1", "9"], ["0", "10"]),
        ({"type": "integer", "maximum": 9}, ["9", "0", "-123"], ["10", "1.5"]),
        ({"type": "string", "pattern": "^a{0}b{0,0}c{1,2}$"}, ['"c"', '"cc"'], ['"ac"', '"bc"', '""']),
        ({"type": "array", "maxItems": 0}, ["[]"], ["[1]"]),
        ({"type": "string", "maxLength": 0}, ['""'], ['"a"']),
    ],
)
def test_counts_of_none_are_taken(
    vocabulary: Vocabulary, schema: dict[str, Any], good: list[str], bad: list[str]
) -> None:
    for text in (*good, *bad):
        assert takes(vocabulary, request(output=JsonSchema("s", schema)), text) == (text in good), text


def test_free_answers_and_a_templates_own_calls_are_not_held(vocabulary: Vocabulary) -> None:
    own = ModelTemplate(
        facts=TemplateFacts(), marks=MARKS, calls=CallFormat("[TOOL_CALLS]", "", json.loads), has_effort=False
    )
    assert grammar_of(request(), vocabulary, PLAIN, "never") is None
    assert grammar_of(request(tools=TOOLS, tool_choice="none"), vocabulary, PLAIN, "never") is None
    assert grammar_of(request(tools=TOOLS, tool_choice="auto"), vocabulary, own, "never") is None
    assert grammar_of(request(tools=TOOLS, tool_choice="required"), vocabulary, own, "never") is not None
    assert grammar_of(request(tools=TOOLS, tool_choice="auto", output=JsonObject()), vocabulary, own, "never")


def test_a_grammar_that_is_too_long_in_this_notation_alone_is_refused(
    vocabulary: Vocabulary, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("enginehouse_kit.grammar.lark.MAX_BYTES", 10)
    with pytest.raises(InvalidRequest) as refused:
        grammar_of(request(output=JsonSchema("s", {"type": "integer", "minimum": 7})), vocabulary, PLAIN, "never")
    assert refused.value.code == "unsupported_schema"
    assert refused.value.param == "response_format.json_schema.schema"


def test_a_tool_that_is_not_given_cannot_be_named(vocabulary: Vocabulary) -> None:
    with pytest.raises(InvalidRequest) as refused:
        grammar_of(request(tools=TOOLS, tool_choice=NamedTool("g")), vocabulary, PLAIN, "never")
    assert refused.value.param == "tool_choice"


def test_a_grammar_that_is_too_large_is_refused_by_name(vocabulary: Vocabulary) -> None:
    asked = request(output=JsonSchema("s", {}))
    with pytest.raises(InvalidRequest) as refused:
        matcher_of("start: missing", vocabulary, asked)
    assert (refused.value.param, refused.value.code) == ("response_format.json_schema.schema", "unsupported_schema")


def test_tokens_without_text_have_no_bytes(tiny: Path) -> None:
    """A model may have more logits than its tokenizer has tokens."""
    tokenizer = load_tokenizer(tiny)
    vocabulary = Vocabulary(tokenizer, SIZE + 64, tokenizer.eos_token_ids, ())
    assert vocabulary.piece(SIZE + 63) == b""
    assert vocabulary.piece(506) == tokenizer.decode([506]).encode()
    assert vocabulary.is_hidden(1)
    assert not vocabulary.is_hidden(506)


@pytest.mark.parametrize(
    ("schema", "good", "bad"),
    [
        ({"type": "object", "additionalProperties": {"type": "null"}}, ['{"é":null}', "{}"], ['{"é":1}']),
        ({"type": "string", "pattern": "^[^a]☃[à-ü]$"}, ['"b☃é"'], ['"a☃é"', '"b☃e"']),
        ({"type": "string", "pattern": "^(?!no)[a-z]+$", "maxLength": 4}, ['"yes"'], ['"nope"', '"yesyes"']),
        ({"type": "integer", "multipleOf": 7, "minimum": 1}, ["7", "14"], ["0", "15"]),
        ({"type": "string", "maxLength": 2001}, [f'"{"a" * 2001}"'], [f'"{"a" * 2002}"']),
    ],
)
def test_what_llguidance_reads_means_the_same(
    vocabulary: Vocabulary, schema: dict[str, Any], good: list[str], bad: list[str]
) -> None:
    for text in (*good, *bad):
        assert takes(vocabulary, request(output=JsonSchema("s", schema)), text) == (text in good), text
