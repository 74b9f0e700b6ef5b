"""Writes the table of keywords in docs/schemas.md: what becomes of each is what the compiler makes of its example.

`python -m tests.docs.schema_keywords` writes it; a test holds that it is as it would.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from enginehouse_kit.grammar import schema_form
from enginehouse_kit.grammar.arrays import MAX_ITEMS
from enginehouse_kit.grammar.arrays import MAX_STATES as MAX_ITEM_STATES
from enginehouse_kit.grammar.numbers import MAX_MODULUS
from enginehouse_kit.grammar.objects import MAX_STATES as MAX_MEMBER_STATES
from enginehouse_kit.grammar.progress import GrammarProgress
from enginehouse_kit.grammar.reading import MAX_SHAPES
from enginehouse_kit.grammar.rules import MAX_LENGTH
from enginehouse_plugin.errors import InvalidRequest

PAGE = Path(__file__).parents[2] / "docs" / "schemas.md"
_TABLE = re.compile(r"<!-- Written by .*?\n\n(?=All others)", re.DOTALL)
_NOTE = "<!-- Written by `python -m tests.docs.schema_keywords`: change that. -->"
AB = {"a": {}, "b": {}}

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
"""By keyword a schema, a text that fits it and one that does not."""

ANNOTATIONS = (
    "title",
    "description",
    "default",
    "examples",
    "deprecated",
    "readOnly",
    "writeOnly",
    "contentEncoding",
    "contentMediaType",
    "discriminator",
)

LIMITS = {
    "properties": "members come in the schema's order, others behind them",
    "minProperties": "where keys are free: one more than the properties that the schema names",
    "maxProperties": f"members times the count: {MAX_MEMBER_STATES:,}",
    "unevaluatedProperties": "a value that fits several of `anyOf` may have the keys of one of them",
    "additionalItems": "behind `items` as a list",
    "minItems": f"{MAX_ITEMS:,}",
    "maxItems": f"a larger one is held to {MAX_ITEMS:,}",
    "uniqueItems": "items of listed values: every order of up to 8, the schema's order of more; others are refused",
    "contains": f"once; items times the count: {MAX_ITEM_STATES:,}",
    "minContains": "with `contains`",
    "maxContains": "with `contains`",
    "unevaluatedItems": "not beside `contains`",
    "minLength": f"{MAX_LENGTH:,}",
    "maxLength": (
        f"a larger one is held to {MAX_LENGTH:,}; above 100 beside a pattern, the parts of the pattern share it"
    ),
    "pattern": (
        "ECMA-262 without references back and lookbehind; no anchor or lookahead inside a repetition; "
        "of the properties of characters the general categories (`\\p{L}`)"
    ),
    "format": (
        "each accepts some of its format (`date-time` with `T` and `Z` in capitals, hosts of ASCII), its "
        "opposite only what is surely not of it"
    ),
    "multipleOf": f"up to {MAX_MODULUS:,} units of its last digit, of which there are 6 behind the point",
    "anyOf": f"{MAX_SHAPES} alternatives, once combined",
    "oneOf": (
        "alternatives that exclude each other, or whose opposites a grammar says; of many that may fit "
        "at once, the keys that are missing tell them apart"
    ),
    "not": "not of `uniqueItems`; of members that no schema names, three such at once",
    "if": "conditions whose opposites a grammar says, as with `not`",
    "then": "with `if`",
    "else": "with `if`",
    "$ref": "into the same schema; nothing is fetched",
    "$dynamicRef": "where it can lead to one place only",
    "$recursiveRef": "where it can lead to one place only",
    "nullable": "with `type`",
}
"""How far those go that are not enforced everywhere."""

BEYOND: dict[str, Any] = {  # Any: JSON
    "minProperties": {"type": "object", "minProperties": 2},
    "maxProperties": {"type": "object", "properties": {f"p{n}": {} for n in range(99)}, "maxProperties": 98},
    "minItems": {"type": "array", "minItems": MAX_ITEMS + 1},
    "uniqueItems": {"type": "array", "uniqueItems": True},
    "contains": {"type": "array", "contains": {"const": 1}, "maxItems": MAX_ITEM_STATES},
    "unevaluatedItems": {"type": "array", "contains": {"const": 1}, "unevaluatedItems": False},
    "minLength": {"type": "string", "minLength": MAX_LENGTH + 1},
    "pattern": {"type": "string", "pattern": r"(a)\1"},
    "multipleOf": {"type": "number", "multipleOf": MAX_MODULUS + 1},
    "anyOf": {"anyOf": [{"minimum": n, "maxLength": n} for n in range(70)]},
    "oneOf": {"oneOf": [{"uniqueItems": True}, {"minItems": 3}]},
    "not": {"not": {"uniqueItems": True}},
    "if": {"if": {"uniqueItems": True}, "then": {"minItems": 1}},
    "$ref": {"$ref": "https://example.com/a"},
}
"""Schemas beyond these limits."""


def takes(schema: Any, text: str) -> bool:  # Any: JSON
    """Whether the grammar of *schema* takes *text*.

    Raises:
        InvalidRequest: the schema is refused.
    """
    progress = GrammarProgress(schema_form(schema, "schema"))
    return progress.read(text) and progress.may_end


def refusal(schema: Any) -> str:  # Any: JSON
    """Why *schema* is refused; nothing if it is not."""
    try:
        schema_form(schema, "schema")
    except InvalidRequest as refused:
        return refused.message if refused.code == "unsupported_schema" else ""
    return ""


def disposition(keyword: str) -> str:
    """What the compiler does with *keyword*: enforced, enforced within limits, annotation or refused."""
    if keyword in ANNOTATIONS:
        schema = {keyword: {"of": "anything"}, "type": "null"}
        return "annotation" if not refusal(schema) and takes(schema, "null") and not takes(schema, "1") else "refused"
    schema, good, bad = SHOWN[keyword]
    if refusal(schema) or not takes(schema, good):
        return "refused"
    if takes(schema, bad):
        return "annotation"
    is_limited = keyword in BEYOND and f"'{keyword}' at" in refusal(BEYOND[keyword])
    return "enforced within limits" if is_limited else "enforced"


def lines() -> Iterator[str]:
    """The table."""
    yield from (_NOTE, "", "| keyword | disposition | limits |", "|---|---|---|")
    for keyword in (*SHOWN, *ANNOTATIONS):
        limits = LIMITS.get(keyword, "")
        yield f"| `{keyword}` | {disposition(keyword)} | {limits}{' ' if limits else ''}|"


def page() -> str:
    """The page with the table as it must be."""
    table = "\n".join(lines()) + "\n\n"
    return _TABLE.sub(lambda _: table, PAGE.read_text(encoding="utf-8"))


def main() -> int:
    """Write it."""
    PAGE.write_text(page(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
