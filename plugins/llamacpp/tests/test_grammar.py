"""Grammars of JSON schemas, read by the package's own follower of grammars: no engine is needed."""

from __future__ import annotations

import json
from typing import Any

import jsonschema_rs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from enginehouse_kit.grammar import schema_grammar
from enginehouse_llamacpp.progress import GrammarProgress
from enginehouse_plugin.errors import InvalidRequest


def accepts(schema: Any, text: str) -> bool:
    progress = GrammarProgress(schema_grammar(schema, "schema"))
    return progress.read(text) and progress.may_end


@pytest.mark.parametrize(
    ("schema", "good", "bad"),
    [
        ({"type": "null"}, ["null"], ["nul", "nulls", ""]),
        ({"type": "boolean"}, ["true", "false"], ["True", "1"]),
        ({"type": "integer"}, ["0", "-7", "123"], ["01", "1.0", "+1", "-"]),
        ({"type": "number"}, ["0", "-0.5", "1e5", "2.5E-3"], [".5", "1.", "1e", "NaN", "1e999"]),
        ({"type": "string"}, ['""', '"a\\n\\""', '"é☃😀"'], ['"', '"\n"', '"\\x"', '"\\ud800"', "'a'"]),
        ({"type": "object"}, ["{}", '{"a":1}', '{"a": [true], "b":{}}'], ["[]", '{"a"}', '{"a":1,}', '{ "a":1}']),
        ({"type": "array"}, ["[]", "[1,2]", '[1, "a"]'], ["[1,]", "{}", "[1,  2]"]),
        ({}, ["1", "[]", '{"a":null}'], ["", "x"]),
        (True, ["1"], ["x"]),
        ({"type": ["string", "null"]}, ['"a"', "null"], ["1"]),
        ({"enum": [1, "1", None, True]}, ["1", '"1"', "null", "true"], ["2", "false"]),
        ({"const": {"a": [1, "x y"]}}, ['{"a":[1,"x y"]}'], ['{"a":[1,"xy"]}']),
        ({"enum": ["a", "ab", "abc", "b", "ab"]}, ['"a"', '"ab"', '"abc"', '"b"'], ['"abcd"', '"bc"', '""']),
        ({"enum": [1, "a"], "type": "string"}, ['"a"'], ["1"]),
        ({"minimum": 3}, ["3", "4.5"], ["2", '"a"']),
        ({"type": "integer", "minimum": -3, "maximum": 12}, ["-3", "0", "9", "12"], ["-4", "13", "-0"]),
        ({"type": "integer", "exclusiveMinimum": 0}, ["1", "10"], ["0", "-1"]),
        ({"type": "number", "minimum": 0, "exclusiveMaximum": 1}, ["0", "0.5", "0.999"], ["1", "1.0", "-0.1"]),
        ({"type": "string", "minLength": 2, "maxLength": 3}, ['"ab"', '"é😀\\n"'], ['"a"', '"abcd"']),
        ({"type": "string", "maxLength": 0}, ['""'], ['"a"']),
        (
            {"type": "array", "items": {"type": "integer"}, "minItems": 1, "maxItems": 2},
            ["[1]", "[1,2]"],
            ["[]", "[1,2,3]"],
        ),
        ({"type": "array", "maxItems": 0}, ["[]"], ["[1]"]),
        ({"type": "array", "items": False}, ["[]"], ["[1]"]),
        ({"prefixItems": [{"type": "null"}, {"type": "boolean"}]}, ["[null,true]"], ["[true,null]", "[null,true,1]"]),
        (
            {"prefixItems": [{"type": "null"}], "items": {"type": "integer"}, "minItems": 2},
            ["[null,1]", "[null,1,2]"],
            ["[null]"],
        ),
        (
            {"type": "object", "properties": {"a": {}, "b": {}}, "required": ["b"]},
            ['{"b":1}', '{"a":1,"b":2}'],
            ["{}", '{"a":1}', '{"b":1,"c":1}'],
        ),
        ({"type": "object", "required": ["z"]}, ['{"z":1}', '{"z":1,"y":2}'], ["{}", '{"y":1}']),
        (
            {"type": "object", "properties": {"ab": {"type": "null"}}, "additionalProperties": {"type": "integer"}},
            ["{}", '{"ab":null}', '{"ab":null,"a":1,"abc":2,"":3,"\\n":4}', '{"b":1}'],
            ['{"ab":1}', '{"a":null}'],
        ),
        ({"type": "object", "properties": {"a": False}}, ["{}"], ['{"a":1}']),
        ({"type": "object", "properties": {"a": {}}, "additionalProperties": False, "minProperties": 0}, ["{}"], []),
        ({"anyOf": [{"type": "integer"}, {"const": "x"}]}, ["1", '"x"'], ['"y"']),
        ({"type": "string", "anyOf": [{"maxLength": 1}, {"const": "long"}]}, ['"a"', '"long"'], ['"ab"', "1"]),
        ({"oneOf": [{"type": "integer"}, {"type": "string"}]}, ["1", '"a"'], ["null"]),
        ({"allOf": [{"type": "integer", "minimum": 2}, {"maximum": 4}]}, ["2", "4"], ["1", "5"]),
        ({"allOf": [{"type": ["integer", "string"]}, {"type": "number"}]}, ["1"], ['"a"', "1.5"]),
        (
            {
                "allOf": [
                    {"type": "object", "properties": {"a": {"minimum": 1}}},
                    {"properties": {"a": {"type": "integer"}}},
                ]
            },
            ['{"a":1}'],
            ['{"a":0}', '{"a":"x"}'],
        ),
        (
            {"allOf": [{"properties": {"a": {}}, "additionalProperties": False}, {"properties": {"b": {}}}]},
            ['{"a":1}', "{}"],
            ['{"b":1}'],
        ),
        ({"$ref": "#/$defs/a~1b", "$defs": {"a/b": {"type": "null"}}}, ["null"], ["1"]),
        ({"$ref": "#/$defs/n", "$defs": {"n": {"type": "integer"}}, "minimum": 5, "title": "x"}, ["5"], ["4"]),
        ({"type": "array", "items": {"$ref": "#"}}, ["[]", "[[],[[]]]"], ["[1]"]),
        ({"type": "string", "pattern": "^[a-c]+$"}, ['"abc"'], ['"abd"', '""']),
        ({"type": "string", "pattern": "b"}, ['"abc"', '"b"'], ['"ac"']),
        ({"type": "string", "pattern": "^a"}, ['"abc"', '"a"'], ['"ba"']),
        ({"type": "string", "pattern": "a$|^b"}, ['"xa"', '"bx"'], ['"ax"', '"xb"']),
        ({"type": "string", "pattern": r"^\d{2,3}\.(x|yz)?\\$"}, [r'"12.\\"', r'"123.yz\\"'], [r'"1.\\"', r'"12x\\"']),
        ({"type": "string", "pattern": r'^["\n]$'}, ['"\\""', '"\\n"'], ['"a"', '"""']),
        ({"type": "string", "pattern": "^.$"}, ['"a"', '"\\t"', '"\\\\"'], ['"\\n"', '"\\r"', '""']),
        ({"type": "string", "pattern": r"^[^\s\d]\S\W?$"}, ['"ab"', '"a9-"'], ['"1a"', '"a "']),
        ({"type": "string", "format": "date"}, ['"2024-02-28"', '"1999-12-31"'], ['"2024-02-30"', '"2024-13-01"']),
        ({"type": "string", "format": "ipv4"}, ['"10.0.255.1"'], ['"256.0.0.1"', '"1.2.3"']),
        (
            {
                "$id": "https://example.com/x",
                "title": "t",
                "description": "d",
                "default": 1,
                "x-own": {},
                "markdownDescription": "m",
                "minLenght": 3,
                "format": "int32",
                "type": "null",
            },
            ["null"],
            ["1"],
        ),
        ({"type": "string", "format": "password", "minLength": 2.0}, ['"ab"'], ['"a"']),
        ({"$ref": "#/$defs/a%25b", "$defs": {"a%b": {"type": "null"}}}, ["null"], ["1"]),
    ],
)
def test_a_grammar_takes_what_fits_and_nothing_else(schema: Any, good: list[str], bad: list[str]) -> None:
    for text in good:
        assert accepts(schema, text), text
        assert jsonschema_rs.validator_for(schema).is_valid(json.loads(text)), text
    for text in bad:
        assert not accepts(schema, text), text


@pytest.mark.parametrize(
    ("schema", "keyword", "path"),
    [
        ({"type": "array", "uniqueItems": True}, "uniqueItems", "#"),
        ({"properties": {"a": {"items": {"not": {}}}}}, "not", "#/properties/a/items"),
        ({"type": "number", "multipleOf": 2}, "multipleOf", "#"),
        ({"if": {}, "then": {}}, "if", "#"),
        ({"patternProperties": {"^a": {}}}, "patternProperties", "#"),
        ({"propertyNames": {"pattern": "a"}}, "propertyNames", "#"),
        ({"dependentRequired": {"a": ["b"]}}, "dependentRequired", "#"),
        ({"contains": {"type": "null"}}, "contains", "#"),
        ({"properties": {"a": {"$id": "https://example.com/x"}}}, "$id", "#/properties/a"),
        ({"$dynamicRef": "#x"}, "$dynamicRef", "#"),
        ({"oneOf": [{"type": "integer"}, {"minimum": 3}]}, "oneOf", "#"),
        ({"oneOf": [{"type": "object"}, {"type": "object", "properties": {"a": {}}}]}, "oneOf", "#"),
        ({"$ref": "https://example.com/schema"}, "$ref", "#"),
        ({"$ref": "#/$defs/none"}, "$ref", "#"),
        ({"$ref": "#anchor"}, "$ref", "#"),
        ({"$defs": {"a": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"}, "$ref", "#/$defs/a"),
        ({"anyOf": [{"$ref": "#"}, {"type": "null"}]}, "$ref", "#/anyOf/0"),
        ({"type": "string", "pattern": "(?=a)b"}, "pattern", "#"),
        ({"type": "string", "pattern": r"\bword\b"}, "pattern", "#"),
        ({"type": "string", "pattern": r"(a)\1"}, "pattern", "#"),
        ({"type": "string", "pattern": "a{9999}"}, "pattern", "#"),
        ({"type": "string", "pattern": "(a"}, "pattern", "#"),
        ({"type": "string", "pattern": "a)"}, "pattern", "#"),
        ({"type": "string", "pattern": "[z-a]"}, "pattern", "#"),
        ({"type": "string", "pattern": "*"}, "pattern", "#"),
        ({"type": "string", "pattern": r"[\x00]"}, "pattern", "#"),
        ({"type": "string", "pattern": "a", "minLength": 2}, "minLength", "#"),
        ({"type": "string", "format": "iri"}, "format", "#"),
        ({"type": "string", "format": "date", "pattern": "2"}, "pattern", "#"),
        ({"type": "string", "minLength": 2001}, "minLength", "#"),
        ({"type": "string", "maxLength": 10_001}, "maxLength", "#"),
        ({"type": "array", "minItems": -1}, "minItems", "#"),
        ({"type": "string", "maxLength": 2.5}, "maxLength", "#"),
        ({"type": "number", "minimum": True}, "minimum", "#"),
        ({"type": "number", "exclusiveMinimum": True, "minimum": 1}, "exclusiveMinimum", "#"),
        ({"type": "strin"}, "type", "#"),
        ({"type": []}, "type", "#"),
        ({"type": 3}, "type", "#"),
        ({"enum": "a"}, "enum", "#"),
        ({"required": "a"}, "required", "#"),
        ({"required": [1]}, "required", "#"),
        ({"properties": []}, "properties", "#"),
        ({"properties": {"a": 3}}, "schema", "#/properties/a"),
        ({"anyOf": {}}, "anyOf", "#"),
        ({"anyOf": []}, "anyOf", "#"),
        ({"items": [{}]}, "items", "#"),
        ({"minProperties": 2}, "minProperties", "#"),
        ({"type": "object", "maxProperties": 1}, "maxProperties", "#"),
        ({"enum": ["a"], "minLength": 1}, "minLength", "#"),
        (False, "schema", "#"),
        ({"enum": []}, "schema", "#"),
        ({"type": "integer", "minimum": 3, "maximum": 2}, "schema", "#"),
        ({"allOf": [{"type": "string"}, {"type": "null"}]}, "schema", "#"),
        ({"type": "object", "properties": {"a": False}, "required": ["a"]}, "schema", "#"),
        ({"type": "string", "minLength": 3, "maxLength": 2}, "schema", "#"),
        ({"allOf": [{"pattern": "a"}, {"pattern": "b"}]}, "pattern", "#"),
        ({"allOf": [{"anyOf": [{"const": at} for at in range(20)]}] * 3}, "anyOf", "#"),
    ],
)
def test_what_cannot_be_enforced_is_refused_by_name_and_place(schema: Any, keyword: str, path: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        schema_grammar(schema, "response_format.json_schema.schema")
    assert refused.value.param == "response_format.json_schema.schema"
    assert refused.value.code == "unsupported_schema"
    assert f"'{keyword}' at '{path}'" in refused.value.message


def test_deep_nesting_is_refused_and_does_not_crash() -> None:
    schema: dict[str, Any] = {}
    for _ in range(5000):
        schema = {"items": schema}
    with pytest.raises(InvalidRequest):
        schema_grammar(schema, "schema")


SCALARS: st.SearchStrategy[Any] = st.none() | st.booleans() | st.integers(-9, 9) | st.text('ab"\\\né', max_size=3)
LEAVES: st.SearchStrategy[Any] = st.one_of(
    st.sampled_from([{"type": name} for name in ("string", "integer", "number", "boolean", "null")]),
    st.builds(
        lambda low, high: {"type": "integer", "minimum": low, "maximum": low + high},
        st.integers(-99, 99),
        st.integers(0, 99),
    ),
    st.builds(
        lambda low, more: {"type": "string", "minLength": low, "maxLength": low + more},
        st.integers(0, 3),
        st.integers(0, 3),
    ),
    st.builds(lambda values: {"enum": values}, st.lists(SCALARS, min_size=1, max_size=3)),
)


def _containers(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    names = st.text('ab"é', max_size=2)
    return st.one_of(
        st.builds(
            lambda properties, count, extra: {
                "type": "object",
                "properties": properties,
                "required": list(properties)[:count],
                "additionalProperties": extra,
            },
            st.dictionaries(names, inner, max_size=3),
            st.integers(0, 3),
            st.booleans() | inner,
        ),
        st.builds(
            lambda items, low: {"type": "array", "items": items, "minItems": low, "maxItems": low + 2},
            inner,
            st.integers(0, 2),
        ),
        st.builds(lambda parts: {"anyOf": parts}, st.lists(inner, min_size=1, max_size=3)),
    )


SCHEMAS = st.recursive(LEAVES, _containers, max_leaves=6)


@given(SCHEMAS, st.data())
@settings(deadline=None, max_examples=150)
def test_every_walk_through_a_grammar_ends_in_json_that_fits(schema: Any, data: st.DataObject) -> None:
    """A random walk: at each step one of the characters that the grammar allows."""
    progress = GrammarProgress(schema_grammar(schema, "schema"))
    text = ""
    for _ in range(60):
        allowed = [c for c in ALPHABET if GrammarWalk.allows(progress, c)]
        if not allowed or (progress.may_end and data.draw(st.booleans())):
            break
        character = data.draw(st.sampled_from(allowed))
        progress.read(character)
        text += character
    if progress.may_end:
        assert jsonschema_rs.validator_for(schema).is_valid(json.loads(text)), text


ALPHABET = '{}[]":,-0123456789.eE truefalsn\\abé/'


class GrammarWalk:
    """Looks ahead without moving."""

    @staticmethod
    def allows(progress: GrammarProgress, character: str) -> bool:
        before = progress._stacks
        try:
            return progress.read(character)
        finally:
            progress._stacks = before


@given(SCHEMAS, st.integers(0, 40))
@settings(deadline=None, max_examples=100)
def test_the_rest_of_a_grammar_takes_what_the_whole_would(schema: Any, cut: int) -> None:
    """Split a text anywhere: the grammar of the rest takes the second part, and no character that cannot follow."""
    grammar = schema_grammar(schema, "schema")
    whole = GrammarProgress(grammar)
    text = ""
    while len(text) < 40 and not whole.may_end:
        allowed = [c for c in ALPHABET if GrammarWalk.allows(whole, c)]
        character = min(allowed, key=lambda c: (c not in '"}]', c not in "0123456789", c))
        whole.read(character)
        text += character
    cut = min(cut, len(text))
    first = GrammarProgress(grammar)
    assert first.read(text[:cut])
    second = GrammarProgress(first.rest())
    assert second.read(text[cut:])
    assert second.may_end == whole.may_end
    for character in ALPHABET:
        assert GrammarWalk.allows(second, character) == GrammarWalk.allows(whole, character)
