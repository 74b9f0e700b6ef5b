"""JSON Schema to grammar. What cannot be enforced is refused, and ignored only where that is asked for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import msgspec

from .grammar import Alt, Lit, Node, OneOf, Ref, Rep, Seq, mask_of
from .pattern import strings_of

Schema = dict[str, Any]
_TYPES = ("object", "array", "string", "integer", "number", "boolean", "null")
_UNENFORCED = frozenset({
    "allOf", "oneOf", "not", "if", "then", "else", "multipleOf", "minimum", "maximum", "exclusiveMinimum",
    "exclusiveMaximum", "uniqueItems", "prefixItems", "contains", "minContains", "maxContains", "propertyNames",
    "patternProperties", "minProperties", "maxProperties", "dependentRequired", "dependentSchemas", "dependencies",
    "additionalItems", "unevaluatedItems", "unevaluatedProperties", "$dynamicRef",
})  # fmt: skip
"""Keywords that demand something which is not enforced here. What has any other name demands nothing."""
_FORMATS = frozenset({
    "date-time", "date", "time", "duration", "email", "idn-email", "hostname", "idn-hostname", "ipv4", "ipv6", "uri",
    "uri-reference", "iri", "iri-reference", "uuid", "uri-template", "json-pointer", "relative-json-pointer", "regex",
})  # fmt: skip


class SchemaRefused(Exception):
    """A schema that is invalid, or that has a keyword which cannot be enforced; the message says which."""


# ---- JSON itself ----

_DIGIT = OneOf(mask_of(b"0123456789"))
_TAIL = OneOf(mask_of(bytes(range(0x80, 0xC0))))
_CHAR: Node = Alt(
    (
        OneOf(mask_of(bytes(byte for byte in range(0x20, 0x7F) if byte not in b'"\\'))),
        Seq((Lit(b"\\"), OneOf(mask_of(b'"\\/bfnrt')))),
        Seq((OneOf(mask_of(bytes(range(0xC2, 0xE0)))), _TAIL)),
        Seq((OneOf(mask_of(bytes(range(0xE1, 0xED)))), _TAIL, _TAIL)),
        Seq((OneOf(mask_of(bytes(range(0xF1, 0xF4)))), _TAIL, _TAIL, _TAIL)),
    )
)
_INTEGER: Node = Seq((Rep(Lit(b"-"), 0, 1), Alt((Lit(b"0"), Seq((OneOf(mask_of(b"123456789")), Rep(_DIGIT, 0, 8)))))))
_NUMBER: Node = Seq((_INTEGER, Rep(Seq((Lit(b"."), Rep(_DIGIT, 1, 6))), 0, 1)))


def _string(least: int = 0, most: int | None = None) -> Node:
    return Seq((Lit(b'"'), Rep(_CHAR, least, most), Lit(b'"')))


@cache
def any_value() -> Node:
    """Any JSON value."""
    return Alt((_string(), _NUMBER, Lit(b"true"), Lit(b"false"), Lit(b"null"), Ref(any_object), Ref(_any_array)))


@cache
def any_object() -> Node:
    """Any JSON object."""
    return _object_of(Ref(any_value))


def _object_of(value: Node) -> Node:
    pair = Seq((_string(), Lit(b":"), value))
    return Seq((Lit(b"{"), _listed(pair, 0, None), Lit(b"}")))


@cache
def _any_array() -> Node:
    return Seq((Lit(b"["), _listed(Ref(any_value), 0, None), Lit(b"]")))


def _listed(item: Node, least: int, most: int | None) -> Node:
    """*item* from *least* to *most* times with commas between."""
    if most == 0:
        return Lit(b"")
    more = Seq((item, Rep(Seq((Lit(b","), item)), max(0, least - 1), None if most is None else most - 1)))
    return more if least > 0 else Alt((Lit(b""), more))


# ---- schemas ----


def grammar_of(schema: Schema, *, is_lenient: bool = False) -> Node:
    """The grammar of the JSON texts, without blanks, that satisfy *schema*; if *is_lenient*, as far as it can say.

    Raises:
        SchemaRefused: it is no valid schema, or cannot be enforced.
    """
    return _Compiler(schema, is_lenient=is_lenient).node(schema)


class _Compiler:
    def __init__(self, root: Any, *, is_lenient: bool) -> None:
        self._root = root
        self._is_lenient = is_lenient
        self._refs: dict[str, Node] = {}

    def node(self, schema: Any) -> Node:
        if schema is True or schema == {}:
            return any_value()
        if not isinstance(schema, dict):
            raise SchemaRefused(f"a schema is an object, not {schema!r}")
        unenforced = sorted(schema.keys() & _UNENFORCED)
        if schema.get("format") in _FORMATS:
            unenforced.append("format")
        if "pattern" in schema and (schema.keys() & {"enum", "const", "minLength", "maxLength"}):
            unenforced.append("pattern")
        if unenforced and not self._is_lenient:
            raise SchemaRefused(f"the keyword {unenforced[0]!r} cannot be enforced")
        if "$ref" in schema:
            return self._ref(schema["$ref"])
        if "const" in schema:
            return Lit(msgspec.json.encode(schema["const"]))
        if "enum" in schema:
            return Alt(tuple(Lit(msgspec.json.encode(value)) for value in _array(schema, "enum")))
        if "anyOf" in schema:
            return Alt(tuple(self.node(option) for option in _array(schema, "anyOf")))
        kinds = schema.get("type", _guessed(schema))
        if isinstance(kinds, list) and kinds:
            return Alt(tuple(self._typed(kind, schema) for kind in kinds))
        return self._typed(kinds, schema)

    def _typed(self, kind: Any, schema: Schema) -> Node:
        if kind not in _TYPES:
            raise SchemaRefused(f"the type {kind!r} is none of {', '.join(_TYPES)}")
        makers: dict[str, Callable[[], Node]] = {
            "object": lambda: self._object(schema),
            "array": lambda: self._array(schema),
            "string": lambda: self._string(schema),
            "integer": lambda: _INTEGER,
            "number": lambda: _NUMBER,
            "boolean": lambda: Alt((Lit(b"true"), Lit(b"false"))),
            "null": lambda: Lit(b"null"),
        }
        return makers[kind]()

    def _string(self, schema: Schema) -> Node:
        free = _string(*_bounds(schema, "minLength", "maxLength"))
        if "pattern" not in schema:
            return free
        matched = strings_of(schema["pattern"]) if isinstance(schema["pattern"], str) else None
        if matched is None and not self._is_lenient:
            raise SchemaRefused("the keyword 'pattern' cannot be enforced")
        return matched or free

    def _ref(self, ref: Any) -> Node:
        if not isinstance(ref, str) or not ref.startswith("#"):
            raise SchemaRefused(f"the reference {ref!r} does not point into this schema")
        if ref not in self._refs:
            self._refs[ref] = Ref(lambda: self._refs[ref + "!"])
            target = self._root
            for step in filter(None, ref[1:].split("/")):
                if not isinstance(target, dict) or step not in target:
                    raise SchemaRefused(f"the reference {ref!r} points to nothing")
                target = target[step]
            self._refs[ref + "!"] = self.node(target)
        return self._refs[ref]

    def _object(self, schema: Schema) -> Node:
        properties = schema.get("properties", {})
        required = schema.get("required", [])
        if not isinstance(properties, dict) or not isinstance(required, list):
            raise SchemaRefused("`properties` is an object and `required` an array")
        extra = schema.get("additionalProperties", True)
        unnamed = [name for name in required if name not in properties]
        if unnamed and extra is False:
            raise SchemaRefused(f"`required` names {unnamed[0]!r}, which 'additionalProperties' forbids")
        members = {**properties, **dict.fromkeys(unnamed, extra)}
        if not members and extra is not False:
            return _object_of(self.node(extra))
        pairs = [
            (Seq((Lit(msgspec.json.encode(name) + b":"), self.node(value))), name in required)
            for name, value in members.items()
        ]
        return Seq((Lit(b"{"), _members(pairs), Lit(b"}")))

    def _array(self, schema: Schema) -> Node:
        item = self.node(schema["items"]) if "items" in schema else any_value()
        return Seq((Lit(b"["), _listed(item, *_bounds(schema, "minItems", "maxItems")), Lit(b"]")))


def _members(pairs: Sequence[tuple[Node, bool]]) -> Node:
    """The pairs in order; optional ones may be left out. Built from the end, for a start and after a first pair."""
    first: Node = Lit(b"")
    later: Node = Lit(b"")
    for pair, is_required in reversed(pairs):
        starting, following = Seq((pair, later)), Seq((Lit(b","), pair, later))
        first = starting if is_required else Alt((starting, first))
        later = following if is_required else Alt((following, later))
    return first


def _guessed(schema: Schema) -> str:
    return "array" if "items" in schema else "string" if schema.keys() & {"maxLength", "pattern"} else "object"


def _array(schema: Schema, name: str) -> list[Any]:
    value = schema[name]
    if not isinstance(value, list) or not value:
        raise SchemaRefused(f"`{name}` is an array with at least one entry, not {value!r}")
    return value


def _bounds(schema: Schema, low: str, high: str) -> tuple[int, int | None]:
    least, most = schema.get(low, 0), schema.get(high)
    for name, value in ((low, least), (high, most)):
        if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 0):
            raise SchemaRefused(f"`{name}` is a whole number from 0, not {value!r}")
    if most is not None and least > most:
        raise SchemaRefused(f"`{low}` {least} is over `{high}` {most}")
    return least, most
