"""The page about schemas says what the compiler does: each keyword with one schema that shows it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from enginehouse_kit.grammar import schema_form
from enginehouse_kit.grammar.progress import GrammarProgress
from enginehouse_plugin.errors import InvalidRequest

PAGE = Path(__file__).parents[2] / "docs" / "schemas.md"
ROWS = dict(re.findall(r"^\| `([$\w]+)` \| (\w+) \|", PAGE.read_text(), re.MULTILINE))
AB = {"a": {}, "b": {}}
ONE = {"type": "object", "required": ["a"]}

SHOWN: dict[str, tuple[Any, str, str]] = {
    "type": ({"type": "null"}, "null", "1"),
    "enum": ({"enum": [1, "a"]}, "1", "2"),
    "const": ({"const": "a"}, '"a"', '"b"'),
    "properties": ({"type": "object", "properties": {"a": {"type": "null"}}}, '{"a":null,"b":1}', '{"a":1}'),
    "required": ({"type": "object", "properties": AB, "required": ["a"]}, '{"a":1}', '{"b":1}'),
    "additionalProperties": ({"type": "object", "additionalProperties": {"type": "null"}}, '{"x":null}', '{"x":1}'),
    "patternProperties": ({"type": "object", "patternProperties": {"^x": {"const": 1}}}, '{"xy":1}', '{"xy":2}'),
    "propertyNames": ({"type": "object", "propertyNames": {"maxLength": 1}}, '{"x":1}', '{"xy":1}'),
    "minProperties": ({"type": "object", "properties": AB, "minProperties": 1}, '{"b":1}', "{}"),
    "maxProperties": ({"type": "object", "properties": AB, "maxProperties": 1}, '{"b":1}', '{"a":1,"b":1}'),
    "dependentRequired": (
        {"type": "object", "properties": AB, "dependentRequired": {"a": ["b"]}},
        '{"b":1}',
        '{"a":1}',
    ),
    "dependentSchemas": (
        {"type": "object", "properties": AB, "dependentSchemas": {"a": {"required": ["b"]}}},
        '{"b":1}',
        '{"a":1}',
    ),
    "dependencies": ({"type": "object", "properties": AB, "dependencies": {"a": ["b"]}}, '{"b":1}', '{"a":1}'),
    "unevaluatedProperties": (
        {"type": "object", "allOf": [{"properties": {"a": {}}}], "unevaluatedProperties": False},
        '{"a":1}',
        '{"b":1}',
    ),
    "items": ({"type": "array", "items": {"const": 1}}, "[1,1]", "[2]"),
    "prefixItems": ({"type": "array", "prefixItems": [{"const": 1}]}, "[1,2]", "[2]"),
    "additionalItems": ({"type": "array", "items": [{}], "additionalItems": {"const": 1}}, "[2,1]", "[2,2]"),
    "minItems": ({"type": "array", "minItems": 1}, "[1]", "[]"),
    "maxItems": ({"type": "array", "maxItems": 1}, "[1]", "[1,1]"),
    "uniqueItems": ({"type": "array", "items": {"enum": [1, 2]}, "uniqueItems": True}, "[2,1]", "[1,1]"),
    "contains": ({"type": "array", "contains": {"const": 1}}, "[2,1]", "[2]"),
    "minContains": ({"type": "array", "contains": {"const": 1}, "minContains": 2}, "[1,1]", "[1]"),
    "maxContains": ({"type": "array", "contains": {"const": 1}, "maxContains": 1}, "[1,2]", "[1,1]"),
    "unevaluatedItems": (
        {"type": "array", "allOf": [{"prefixItems": [{}]}], "unevaluatedItems": False},
        "[1]",
        "[1,2]",
    ),
    "minLength": ({"type": "string", "minLength": 2}, '"ab"', '"a"'),
    "maxLength": ({"type": "string", "maxLength": 2}, '"ab"', '"abc"'),
    "pattern": ({"type": "string", "pattern": "^a+$"}, '"aa"', '"ab"'),
    "format": ({"type": "string", "format": "date"}, '"2024-02-29"', '"2023-02-29"'),
    "minimum": ({"type": "number", "minimum": 1}, "1", "0.5"),
    "maximum": ({"type": "number", "maximum": 1}, "1", "1.5"),
    "exclusiveMinimum": ({"type": "number", "exclusiveMinimum": 1}, "1.5", "1"),
    "exclusiveMaximum": ({"type": "number", "exclusiveMaximum": 1}, "0.5", "1"),
    "multipleOf": ({"type": "integer", "multipleOf": 7}, "14", "15"),
    "allOf": ({"allOf": [{"type": "integer"}, {"minimum": 2}]}, "2", "1"),
    "anyOf": ({"anyOf": [{"type": "null"}, {"const": 1}]}, "1", "2"),
    "oneOf": ({"oneOf": [{"type": "integer"}, {"minimum": 2}]}, "1", "3"),
    "not": ({"not": {"type": "string"}}, "1", '"a"'),
    "if": ({"type": "string", "if": {"maxLength": 1}, "then": {"const": "a"}}, '"bb"', '"b"'),
    "then": ({"type": "string", "if": {"const": "a"}, "then": False}, '"b"', '"a"'),
    "else": ({"type": "string", "if": {"const": "a"}, "else": False}, '"a"', '"b"'),
    "$ref": ({"$ref": "#/$defs/n", "$defs": {"n": {"type": "null"}}}, "null", "1"),
    "$dynamicRef": ({"$dynamicRef": "#n", "$defs": {"n": {"$dynamicAnchor": "n", "type": "null"}}}, "null", "1"),
    "$recursiveRef": ({"type": "array", "items": {"$recursiveRef": "#"}}, "[[]]", "[1]"),
    "nullable": ({"type": "string", "nullable": True}, "null", "1"),
}


def test_every_keyword_that_is_shown_here_stands_on_the_page() -> None:
    assert ROWS.keys() == SHOWN.keys()
    assert set(ROWS.values()) == {"enforced"}


@pytest.mark.parametrize("keyword", SHOWN)
def test_a_keyword_is_enforced_as_the_page_says(keyword: str) -> None:
    schema, good, bad = SHOWN[keyword]
    grammar = schema_form(schema, "schema")
    for text, fits in ((good, True), (bad, False)):
        progress = GrammarProgress(grammar)
        assert (progress.read(text) and progress.may_end) is fits, text


@pytest.mark.parametrize(
    ("keyword", "schema"),
    [
        ("minProperties", {"type": "object", "minProperties": 2}),
        ("maxProperties", {"type": "object", "properties": {f"p{n}": {} for n in range(99)}, "maxProperties": 98}),
        ("minItems", {"type": "array", "minItems": 10_001}),
        ("uniqueItems", {"type": "array", "uniqueItems": True}),
        ("contains", {"type": "array", "contains": {"const": 1}, "maxItems": 5000}),
        ("unevaluatedItems", {"type": "array", "contains": {"const": 1}, "unevaluatedItems": False}),
        ("minLength", {"type": "string", "minLength": 10_001}),
        ("pattern", {"type": "string", "pattern": r"(a)\1"}),
        ("multipleOf", {"type": "number", "multipleOf": 1001}),
        ("anyOf", {"anyOf": [{"minimum": n, "maxLength": n} for n in range(70)]}),
        ("oneOf", {"oneOf": [{"uniqueItems": True}, {"minItems": 3}]}),
        ("not", {"not": {"uniqueItems": True}}),
        ("if", {"if": {"uniqueItems": True}, "then": {"minItems": 1}}),
        ("$ref", {"$ref": "https://example.com/a"}),
    ],
)
def test_what_is_beyond_the_limits_of_the_page_is_refused_by_name(keyword: str, schema: Any) -> None:
    with pytest.raises(InvalidRequest, match=re.escape(f"'{keyword}' at")) as refused:
        schema_form(json.loads(json.dumps(schema)), "schema")
    assert refused.value.code == "unsupported_schema"


def test_words_that_the_page_calls_annotations_refuse_nothing() -> None:
    words = re.findall(r"`([\w-]+)`", PAGE.read_text().partition("All others are annotations")[2].partition("\n\n")[0])
    assert len(words) > 9
    schema_form({word: {"of": "anything"} for word in words} | {"type": "null"}, "schema")
