"""What schemas of the world hold: open objects, alternatives that overlap, long texts."""

from __future__ import annotations

from typing import Any

import jsonschema_rs
import msgspec
import pytest

from enginehouse_kit.grammar import schema_form
from enginehouse_kit.grammar.progress import GrammarProgress

URL = "https://my-own-site.cdn.example-cloud.com:8080/a/b/c.json?x=1&y=%20#top"
_ONE_OF_TWO = {
    "oneOf": [
        {"type": "object", "properties": {"k": {"const": 1}, "a": {}}, "additionalProperties": False},
        {"type": "object", "properties": {"k": {"const": 2}, "b": {}}, "additionalProperties": False},
    ]
}

_DOUBLING = {str(at): {"anyOf": [{"$ref": f"#/$defs/{at + 1}"}] * 2} for at in range(20)}


@pytest.mark.parametrize(
    ("schema", "good", "bad"),
    [
        ({"type": "object", "properties": {"a": {}}}, ['{"b":1}', '{"a":1,"b":{"c":[]}}'], ["[]", '{"a"}']),
        (_ONE_OF_TWO, ['{"k":1,"a":1}', '{"b":1}', '{"k":2}'], ["{}", '{"k":1,"b":1}', '{"a":1,"b":1}', '{"c":1}']),
        (
            {
                "type": "object",
                "not": {"additionalProperties": {"type": "null"}},
                "properties": {"a": {"enum": [0, None]}},
            },
            ['{"a":0}', '{"b":2}', '{"a":null,"b":2,"c":null}'],
            ["{}", '{"a":null}', '{"b":null}'],
        ),
        (
            {"oneOf": [{"required": ["a"], "additionalProperties": True}, {"required": ["b"]}], "type": "object"},
            ['{"a":1}', '{"b":1,"c":2}'],
            ["{}", '{"a":1,"b":1}'],
        ),
        ({"type": "integer"}, ["9223372036854775807", "-9223372036854775808"], ["1.5"]),
        ({"type": "string", "format": "uri"}, [f'"{URL}"'], ['"a b"', '"/a"']),
        ({"type": "string", "format": "uri", "maxLength": 1024}, [f'"{URL}"'], ['"a b"', f'"{URL}{"x" * 1024}"']),
        (
            {"type": "string", "pattern": r"^[a-z0-9]+(\.[a-z0-9]+)*$", "maxLength": 253},
            ['"a.b.c.d.e.f.g.h.i.j.k"', f'"{"a" * 253}"'],
            ['"a..b"', f'"{"a" * 254}"'],
        ),
        (
            {"type": "string", "format": "uri", "pattern": "^mailto:"},
            ['"mailto:ada@example.com"'],
            [f'"{URL}"', '"mailto:"', '"mailto:a b"'],
        ),
        (
            {"type": "object", "properties": {"k" * 300: {"type": "null"}, "kk": {"type": "null"}}},
            [f'{{"{"k" * 300}":null,"{"k" * 299}":1}}', '{"kk":null,"k":1}'],
            [f'{{"{"k" * 300}":1}}', '{"kk":1}'],
        ),
        (
            {"$ref": "#/$defs/0", "$defs": {**_DOUBLING, "20": {"type": "null"}}},
            ["null"],
            ["1"],
        ),
        (
            {"type": "integer", "minimum": 3, "maximum": 7, "not": {"multipleOf": 2}},
            ["3", "5", "7"],
            ["2", "4", "6", "9"],
        ),
        ({"type": "string", "not": {"format": "hostname"}}, ['"a b"'], [f'"{"a" * 60}"', '"a.example"']),
        ({"oneOf": [{"format": "time"}, {"const": "08:30:06z"}], "type": "string"}, ['"08:30:06Z"'], ['"08:30:06z"']),
        (
            {"type": "string", "if": {"not": {"format": "date"}}, "then": {"maxLength": 3}},
            ['"abc"', '"2024-02-29"'],
            ['"7990-05-55"', '"abcd"', '"2024-2-29"'],
        ),
        (
            {"type": "number", "not": {"anyOf": [{"type": "integer"}, {"multipleOf": 0.25}, {"const": 5.1}]}},
            ["0.3", "123456789.123456"],
            ["275246521198950.501", "5.1000000000000001", "4503599627370496.1", "0.5", "7"],
        ),
        (
            {"type": "string", "if": {"format": "uri"}, "then": {"maxLength": 9}},
            ['"a:b"', '"no scheme here"'],
            ['"mailto:ada@example.com"', f'"urn:{"x" * 99}"'],
        ),
        (
            {"type": "object", "not": {"propertyNames": {"format": "ipv6"}}},
            ['{"none":1}'],
            ['{"::1":1}', '{"1000:1000:1000:1000:1000:1000:255.255.255.255":1}', "{}"],
        ),
        ({"oneOf": [{"multipleOf": 2}, {"multipleOf": 3}]}, ["2", "3", "-9"], ["1", "6", "0", '"a"']),
        (
            {"type": "number", "minimum": 0, "maximum": 3, "not": {"multipleOf": 0.5}},
            ["0.25", "1.4", "1.5001", "2.30"],
            ["0", "0.5", "1.50", "1.500", "2.0", "3"],
        ),
        (
            {"type": "string", "pattern": r"^(\S+\s+){0,49}\S+$", "maxLength": 500},
            ['"This is an example summary of a service which has many words of a natural length."'],
            [f'"{"a " * 50}a"', f'"{"a" * 501}"', '" a"'],
        ),
        (
            {"type": "string", "pattern": "^((a+b+){1,3}c+){0,2}$", "maxLength": 40},
            ['"abcababc"'],
            ['"abcabcabc"', '"ababababc"'],
        ),
        ({"anyOf": [{"enum": [f"task{at}"]} for at in range(600)]}, ['"task0"', '"task599"'], ['"task600"', "1"]),
        (
            {
                "type": "object",
                "properties": {name: {"type": "string", "minLength": 1} for name in "abcdefgh"},
                "oneOf": [{"required": [name], "properties": {name: {"maxLength": 3}}} for name in "abcdefgh"],
            },
            ['{"a":"x"}', '{"h":"xyz","i":1}'],
            ["{}", '{"a":"x","b":"y"}', '{"a":"long"}'],
        ),
    ],
)
def test_real_schemas_take_what_fits_and_nothing_else(schema: Any, good: list[str], bad: list[str]) -> None:
    grammar = schema_form(msgspec.json.decode(msgspec.json.encode(schema)), "schema")  # no part of it is another
    validator = jsonschema_rs.validator_for(schema, validate_formats=True)
    for text in (*good, *bad):
        progress = GrammarProgress(grammar)
        assert (progress.read(text) and progress.may_end) is (text in good), text
    assert all(validator.is_valid(msgspec.json.decode(text)) for text in good)
