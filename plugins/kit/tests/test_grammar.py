"""Grammars of JSON schemas, read by the package's own follower of grammars: no engine is needed."""

from __future__ import annotations

import json
from typing import Any

import jsonschema_rs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from enginehouse_kit.grammar import schema_form
from enginehouse_kit.grammar.form import Grammar
from enginehouse_kit.grammar.progress import GrammarProgress
from enginehouse_plugin.errors import InvalidRequest


def accepts(schema: Any, text: str) -> bool:
    progress = GrammarProgress(schema_form(schema, "schema"))
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
        ({"minimum": 3}, ["3", "4.5", '"a"'], ["2"]),
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
        ({"prefixItems": [{"type": "null"}, {"type": "boolean"}]}, ["[null,true,1]"], ["[true,null]", "[null,1]"]),
        (
            {"prefixItems": [{"type": "null"}], "items": {"type": "integer"}, "minItems": 2},
            ["[null,1]", "[null,1,2]"],
            ["[null]"],
        ),
        (
            {"type": "object", "properties": {"a": {}, "b": {}}, "required": ["b"]},
            ['{"b":1}', '{"a":1,"b":2}'],
            ["{}", '{"a":1}', '{"c":1}'],
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
        (
            {"type": "string", "format": "regex"},
            ['"^[a-z0-9_]{3,16}$"', '"(?:ab|c){2,}d{4}"', '"x{9,10}"', '"x{0,0}"'],
            ['"x{3,2}"', '"[a"', '"(a"'],
        ),
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
        ({"type": "string", "pattern": "^a", "minLength": 2, "maxLength": 3}, ['"ab"', '"abc"'], ['"a"', '"abcd"']),
        ({"type": "string", "format": "date", "pattern": "^2"}, ['"2024-02-29"'], ['"1999-01-01"', '"2x"']),
        ({"allOf": [{"pattern": "a"}, {"pattern": "b"}], "type": "string"}, ['"ab"', '"ba"'], ['"a"', '"b"']),
        ({"type": "string", "pattern": r"^(?=.*\d)(?!x)[a-z\d]+$"}, ['"a1"'], ['"aa"', '"x1"']),
        ({"type": "string", "pattern": r"\bcat\b"}, ['"a cat!"', '"cat"'], ['"cats"', '"concat"']),
        ({"enum": ["a", "abc"], "minLength": 2}, ['"abc"'], ['"a"']),
        ({"not": {"type": "string"}}, ["1", "null"], ['"a"']),
        ({"type": "string", "not": {"enum": ["a"]}}, ['"b"', '"aa"'], ['"a"']),
        ({"type": "integer", "multipleOf": 3, "minimum": 4}, ["6", "9", "123"], ["3", "7", "124"]),
        ({"type": "number", "multipleOf": 0.25}, ["0.5", "3", "-1.75"], ["0.3", "1.1"]),
        ({"type": "array", "items": {"enum": [1, 2]}, "uniqueItems": True}, ["[2,1]", "[]"], ["[1,1]", "[1,2,1]"]),
        ({"type": "array", "contains": {"const": 1}, "items": {"type": "integer"}}, ["[2,1]"], ["[]", "[2]"]),
        (
            {"type": "array", "items": {"enum": [1, 2]}, "contains": {"const": 1}, "maxContains": 1, "maxItems": 3},
            ["[2,1,2]"],
            ["[1,1]", "[2,2]"],
        ),
        (
            {"type": "object", "patternProperties": {"^n": {"type": "null"}}, "additionalProperties": False},
            ['{"n":null}', '{"nx":null,"n":null}'],
            ['{"n":1}', '{"a":null}'],
        ),
        (
            {"type": "object", "propertyNames": {"pattern": "^[a-z]+$"}, "additionalProperties": {"type": "integer"}},
            ['{"ab":1}'],
            ['{"A":1}', '{"a":"x"}'],
        ),
        ({"type": "object", "properties": {"a": {}, "b": {}}, "maxProperties": 1}, ['{"b":1}'], ['{"a":1,"b":1}']),
        ({"type": "object", "properties": {"a": {}, "b": {}}, "minProperties": 1}, ['{"b":1}', '{"a":1}'], ["{}"]),
        (
            {"type": "object", "properties": {"a": {}, "b": {}}, "dependentRequired": {"a": ["b"]}},
            ['{"b":1}', '{"a":1,"b":1}', "{}"],
            ['{"a":1}'],
        ),
        (
            {
                "type": "object",
                "properties": {"k": {"enum": ["x", "y"]}, "v": {}},
                "required": ["k"],
                "if": {"properties": {"k": {"const": "x"}}},
                "then": {"required": ["v"]},
            },
            ['{"k":"x","v":1}', '{"k":"y"}'],
            ['{"k":"x"}'],
        ),
        (
            {"type": "object", "oneOf": [{"required": ["a"]}, {"required": ["b"]}], "properties": {"a": {}, "b": {}}},
            ['{"a":1}', '{"b":1}'],
            ["{}", '{"a":1,"b":1}'],
        ),
        (
            {
                "type": "object",
                "allOf": [{"properties": {"a": {"type": "null"}}}],
                "properties": {"b": {}},
                "unevaluatedProperties": False,
            },
            ['{"b":1,"a":null}', '{"b":1}'],
            ['{"c":1}', '{"a":1}'],
        ),
        (
            {"allOf": [{"prefixItems": [{"const": 1}]}, {"items": {"type": "integer"}}], "type": "array"},
            ["[1]"],
            ["[2]"],
        ),
        (
            {
                "type": "object",
                "properties": {"a": {}, "b": {}},
                "additionalProperties": False,
                "oneOf": [{"required": ["a"]}, {"required": ["b"]}],
            },
            ['{"a":1}', '{"b":1}'],
            ["{}", '{"a":1,"b":1}', '{"c":1}'],
        ),
        ({"const": 1.0}, ["1"], ["2", "true"]),
        ({"enum": [1, 1.0, 2]}, ["1", "2"], ["3"]),
        ({"type": "number", "exclusiveMaximum": 1e15}, ["999999999999999"], ["999999999999999.99999999"]),
        ({"$ref": "#item", "$defs": {"x": {"$anchor": "item", "type": "null"}}}, ["null"], ["1"]),
        ({"type": "array", "prefixItems": [{"const": 1}, {"const": 2}]}, ["[]", "[1]", "[1,2,3]"], ["[2]", "[1,3]"]),
        ({"type": "string", "maxLength": 20_000}, ['"a"'], ["1"]),
    ],
)
def test_a_grammar_takes_what_fits_and_nothing_else(schema: Any, good: list[str], bad: list[str]) -> None:
    for text in good:
        assert accepts(schema, text), text
        assert jsonschema_rs.validator_for(schema).is_valid(json.loads(text)), text
    for text in bad:
        assert not accepts(schema, text), text


@pytest.mark.parametrize(
    ("schema", "good", "bad"),
    [
        (
            {"items": [{"type": "null"}], "additionalItems": False, "type": "array"},
            ["[null]", "[]"],
            ["[1]", "[null,1]"],
        ),
        ({"type": "string", "nullable": True}, ["null", '"a"'], ["1"]),
        ({"type": "integer", "minimum": 1, "exclusiveMinimum": True}, ["2"], ["1"]),
        ({"type": "string", "pattern": r"^[\w-.]+$"}, ['"a-b.c"'], ['"a b"']),
    ],
)
def test_what_older_drafts_and_openapi_write_is_understood(schema: Any, good: list[str], bad: list[str]) -> None:
    """A validator of the newest draft reads these otherwise, or not at all."""
    for text in (*good, *bad):
        assert accepts(schema, text) == (text in good), text


@pytest.mark.parametrize(
    ("schema", "keyword", "path"),
    [
        ({"type": "array", "uniqueItems": True}, "uniqueItems", "#"),
        ({"type": "array", "items": {"type": "string"}, "contains": {}, "uniqueItems": True}, "uniqueItems", "#"),
        ({"properties": {"a": {"items": {"not": {"uniqueItems": True}}}}}, "not", "#/properties/a/items"),
        ({"type": "number", "multipleOf": 0.0001237}, "multipleOf", "#"),
        ({"type": "number", "multipleOf": 0}, "multipleOf", "#"),
        ({"if": {"uniqueItems": True}, "then": {"type": "array"}}, "if", "#"),
        ({"oneOf": [{"uniqueItems": True}, {"minItems": 3}]}, "oneOf", "#"),
        ({"minProperties": 2}, "minProperties", "#"),
        ({"$ref": "https://example.com/schema"}, "$ref", "#"),
        ({"$ref": "#/$defs/none"}, "$ref", "#"),
        ({"$ref": "#anchor"}, "$ref", "#"),
        ({"$dynamicRef": "#x"}, "$dynamicRef", "#"),
        ({"$defs": {"a": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"}, "$ref", "#/$defs/a"),
        ({"anyOf": [{"$ref": "#"}, {"type": "null"}]}, "$ref", "#/anyOf/0"),
        ({"type": "string", "pattern": r"(a)\1"}, "pattern", "#"),
        ({"type": "string", "pattern": "a{99999}"}, "pattern", "#"),
        ({"type": "string", "pattern": "(a"}, "pattern", "#"),
        ({"type": "string", "pattern": "a)"}, "pattern", "#"),
        ({"type": "string", "pattern": "[z-a]"}, "pattern", "#"),
        ({"type": "string", "pattern": "*"}, "pattern", "#"),
        ({"type": "string", "pattern": "(^a)*"}, "pattern", "#"),
        ({"type": "string", "pattern": "(?<=a)b"}, "pattern", "#"),
        ({"type": "string", "pattern": r"\p{Script=Greek}"}, "pattern", "#"),
        ({"type": "string", "minLength": 10_001}, "minLength", "#"),
        ({"type": "string", "format": "uri", "not": {"pattern": "a.{60}$"}}, "format", "#"),
        ({"type": "array", "minItems": 10_001}, "minItems", "#"),
        ({"type": "array", "minItems": -1}, "minItems", "#"),
        ({"type": "string", "maxLength": 2.5}, "maxLength", "#"),
        ({"type": "number", "minimum": True}, "minimum", "#"),
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
        ({"allOf": [{"$ref": "#/allOf/" + "9" * 5000}]}, "$ref", "#/allOf/0"),
        ({"contains": {"const": 1}, "maxItems": 9000}, "contains", "#"),
        ({"type": "string", "pattern": "b", "maxLength": 0}, "schema", "#"),
        (False, "schema", "#"),
        ({"enum": []}, "schema", "#"),
        ({"type": "integer", "minimum": 3, "maximum": 2}, "schema", "#"),
        ({"type": "string", "pattern": r"^[\x00]$"}, "schema", "#"),
        ({"allOf": [{"type": "string"}, {"type": "null"}]}, "schema", "#"),
        ({"type": "object", "properties": {"a": False}, "required": ["a"]}, "schema", "#"),
        ({"type": "object", "properties": {"a": {"$ref": "#"}}, "required": ["a"]}, "schema", "#"),
        ({"type": "string", "minLength": 3, "maxLength": 2}, "schema", "#"),
    ],
)
def test_what_cannot_be_enforced_is_refused_by_name_and_place(schema: Any, keyword: str, path: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        schema_form(schema, "response_format.json_schema.schema")
    assert refused.value.param == "response_format.json_schema.schema"
    assert refused.value.code == "unsupported_schema"
    assert f"'{keyword}' at '{path}'" in refused.value.message


def test_deep_nesting_is_refused_by_that_name_and_its_place() -> None:
    schema: dict[str, Any] = {}
    for _ in range(5000):
        schema = {"items": schema}
    with pytest.raises(InvalidRequest, match=r"nested too deeply, at '.*/items/items'\.$"):
        schema_form(schema, "schema")


@pytest.mark.parametrize("pattern", ["[ab]" * 5000, "(" * 5000 + ")" * 5000], ids=["long", "deep"])
def test_a_pattern_of_too_many_parts_is_refused_by_that_name(pattern: str) -> None:
    with pytest.raises(InvalidRequest, match="'pattern' at '#/items' is not supported: it has too many parts"):
        schema_form({"items": {"pattern": pattern}}, "schema")


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
    progress = GrammarProgress(schema_form(schema, "schema"))
    text = ""
    for _ in range(60):
        allowed = [c for c in ALPHABET if progress.allows(c)]
        if not allowed or (progress.may_end and data.draw(st.booleans())):
            break
        character = data.draw(st.sampled_from(allowed))
        progress.read(character)
        text += character
    if progress.may_end:
        assert jsonschema_rs.validator_for(schema).is_valid(json.loads(text)), text


ALPHABET = '{}[]":,-0123456789.eE truefalsn\\abé/'


@given(SCHEMAS, st.integers(0, 40))
@settings(deadline=None, max_examples=100)
def test_the_rest_of_a_grammar_takes_what_the_whole_would(schema: Any, cut: int) -> None:
    """Split a text anywhere: the grammar of the rest takes the second part, and no character that cannot follow."""
    grammar = schema_form(schema, "schema")
    whole = GrammarProgress(grammar)
    text = ""
    while len(text) < 40 and not whole.may_end:
        allowed = [c for c in ALPHABET if whole.allows(c)]
        character = min(allowed, key=lambda c: (c not in '"}]', c not in "0123456789", c))
        whole.read(character)
        text += character
    cut = min(cut, len(text))
    first = GrammarProgress(grammar)
    assert first.read(text[:cut])
    rest = Grammar(grammar.algebra)
    rest.rules, rest.root = grammar.rules, first.rest()
    second = GrammarProgress(rest)
    assert second.read(text[cut:])
    assert second.may_end == whole.may_end
    for character in ALPHABET:
        assert second.allows(character) == whole.allows(character)
