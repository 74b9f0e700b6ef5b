"""What is a JSON Schema and what is not, and how large any JSON of a body may be."""

from __future__ import annotations

from typing import Any

import pytest

from enginehouse.wire.json_schema import MAX_VALUES, check_schema, check_size
from enginehouse.wire.structure import MAX_DEPTH
from enginehouse_plugin.errors import InvalidRequest


@pytest.mark.parametrize(
    "schema",
    [
        {"type": []},
        {"type": ["string", 5]},
        {"type": None},
        {"properties": None},
        {"items": 5},
        {"items": []},
        {"oneOf": []},
        {"allOf": [5]},
        {"not": "a"},
        {"additionalProperties": "no"},
        {"required": ["a", "a"]},
        {"required": [["a"]]},
        {"required": True},
        {"minItems": 1.5},
        {"maxItems": True},
        {"minimum": "1"},
        {"multipleOf": 0},
        {"pattern": 5},
        {"enum": "a"},
        {"uniqueItems": 1},
        {"$ref": 5},
        {"$ref": "other.json"},
        {"$ref": "#/properties/a"},
        {"allOf": [{"$ref": "#/allOf/1"}]},
        {"allOf": [{"$ref": "#/allOf/" + "9" * 5000}]},
        {"dependentRequired": []},
        {"properties": {"a": {"items": {"type": "strng"}}}},
    ],
)
def test_what_is_no_json_schema_is_refused(schema: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest) as caught:
        check_schema(schema, ("tools", 0, "schema"))
    assert (caught.value.code, caught.value.param) == ("invalid_json_schema", "tools[0].schema")


@pytest.mark.parametrize(
    "schema",
    [
        {"minimum": 1, "exclusiveMinimum": True},
        {"items": [{}], "additionalItems": False},
        {"minLength": 2.0, "format": "int32", "markdownDescription": "m", "nullable": True},
        {"$ref": "#/$defs/a%25b", "$defs": {"a%b": {}}},
        {"$ref": "item", "$defs": {"i": {"$id": "item", "$ref": "#/$defs/own", "$defs": {"own": {}}}}},
    ],
)
def test_what_older_drafts_write_and_annotations_are_taken(schema: dict[str, Any]) -> None:
    check_schema(schema, ("schema",))


def test_a_refusal_says_where_in_the_schema() -> None:
    with pytest.raises(InvalidRequest) as caught:
        check_schema({"properties": {"a": {"items": {"type": "strng"}}}}, ("schema",))
    assert "'properties.a.items.type' must be one or several of array, boolean" in caught.value.message


def test_values_are_counted_over_all_parts_of_a_body() -> None:
    seen = check_schema({"enum": list(range(10))}, ("a",))
    assert seen == 13
    with pytest.raises(InvalidRequest) as caught:
        check_size(list(range(MAX_VALUES - seen)), ("b",), seen)
    assert (caught.value.code, caught.value.param) == ("too_large", "b")
    check_size(list(range(MAX_VALUES - seen - 1)), ("b",), seen)


def test_levels_are_counted_from_the_body_on() -> None:
    value: Any = []
    for _ in range(MAX_DEPTH - 3):
        value = [value]
    check_size(value, ("a", "b"))
    with pytest.raises(InvalidRequest) as caught:
        check_size(value, ("a", "b", "c"))
    assert caught.value.code == "too_deep"
