"""JSON Schema, reduced to alternatives without references and combinations; what cannot be enforced is refused.

A reduction may lose values that the schema allows (keys that it does not name, for example), but never
gains one: whatever the reduced schema accepts, the schema accepts.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NoReturn
from urllib.parse import unquote

import msgspec

from enginehouse_plugin.errors import InvalidRequest

from .formats import FORMATS, FORMATS_LEFT_OPEN

Plain = dict[str, Any]
"""A schema of nothing but the keywords in `PLAIN`."""

_SHAPE = frozenset(("type", "enum", "properties", "required", "additionalProperties", "items", "prefixItems"))
_TEXT = frozenset(("minLength", "maxLength", "pattern", "format"))
_COUNTS = frozenset(("minItems", "maxItems", "minLength", "maxLength", "minProperties", "maxProperties"))
_BOUNDS = frozenset(("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"))
PLAIN = _SHAPE | _TEXT | _COUNTS | _BOUNDS
# Assertions of some draft that a grammar cannot say yet. All other words are annotations, as the standard reads them.
_ASSERTIONS = frozenset(
    (
        *("not", "if", "then", "else", "uniqueItems", "contains", "minContains", "maxContains", "multipleOf"),
        *("patternProperties", "propertyNames", "dependencies", "dependentRequired", "dependentSchemas"),
        *("unevaluatedItems", "unevaluatedProperties", "$dynamicRef", "$recursiveRef", "additionalItems"),
        "$id",
    )
)
_WITHOUT_EFFECT = {
    "uniqueItems": False,
    "unevaluatedProperties": True,
    "unevaluatedItems": True,
    "additionalItems": True,
}
_KINDS: dict[str, type] = {
    "enum": list,
    "required": list,
    "prefixItems": list,
    "properties": dict,
    "pattern": str,
    "format": str,
}
_LARGEST_OF = frozenset(("minItems", "minLength", "minimum", "exclusiveMinimum", "minProperties"))
_SMALLEST_OF = frozenset(("maxItems", "maxLength", "maximum", "exclusiveMaximum", "maxProperties"))

MAX_ALTERNATIVES = 200
_EXACT = 2.0**53

TYPE_OF_KEYWORD = {
    **dict.fromkeys(("properties", "required", "additionalProperties", "minProperties", "maxProperties"), "object"),
    **dict.fromkeys(("items", "prefixItems", "minItems", "maxItems"), "array"),
    **dict.fromkeys(("minLength", "maxLength", "pattern", "format"), "string"),
    **dict.fromkeys(("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"), "number"),
}
_TYPES = ("object", "array", "string", "number", "integer", "boolean", "null")


class Document:
    """A whole schema, of which `#/…` references name parts; *param* is the request's field that holds it."""

    def __init__(self, root: Any, param: str) -> None:  # Any: JSON, not yet checked
        self.root = root
        self.param = param

    def refuse(self, path: str, keyword: str, reason: str) -> NoReturn:
        """Refuse the schema for *keyword* at *path*.

        Raises:
            InvalidRequest: always.
        """
        raise InvalidRequest(
            f"The JSON schema cannot be enforced: '{keyword}' at '{path}' {reason}.",
            param=self.param,
            code="unsupported_schema",
        )

    def alternatives(self, schema: Any, path: str, resolving: tuple[str, ...] = ()) -> list[Plain]:  # Any: JSON
        """Reduce *schema* to alternatives: a value fits it if it fits one of them. None: nothing fits.

        Raises:
            InvalidRequest: a keyword cannot be enforced.
        """
        if isinstance(schema, bool):
            return [{}] if schema else []
        if not isinstance(schema, dict):
            self.refuse(path, "schema", "is not an object or a boolean")
        found = [self._plain_part(schema, path)]
        if "$ref" in schema:
            reference = schema["$ref"]
            if reference in resolving:
                self.refuse(path, "$ref", "refers to itself without an end")
            target = self._resolve(reference, path)
            found = self._both(found, self.alternatives(target, str(reference), (*resolving, reference)), path)
        for at, part in enumerate(self._list(schema, "allOf", path)):
            found = self._both(found, self.alternatives(part, f"{path}/allOf/{at}", resolving), path)
        for keyword in ("anyOf", "oneOf"):
            if keyword in schema:
                groups = [
                    self.alternatives(part, f"{path}/{keyword}/{at}", resolving)
                    for at, part in enumerate(self._list(schema, keyword, path))
                ]
                if keyword == "oneOf":
                    self._check_exclusive(groups, path)
                found = self._both(found, [plain for group in groups for plain in group], path)
        return found

    def _plain_part(self, schema: dict[str, Any], path: str) -> Plain:
        """The plain keywords of *schema*, `const` as an enum of one."""
        for keyword, value in schema.items():
            is_harmless = keyword == "$id" and path == "#"  # inside it would change what references mean
            is_harmless = is_harmless or (keyword in _WITHOUT_EFFECT and value is _WITHOUT_EFFECT[keyword])
            if keyword in _ASSERTIONS and not is_harmless:
                self.refuse(path, keyword, "is not supported")
        plain = {keyword: _whole(value) for keyword, value in schema.items() if keyword in PLAIN}
        if isinstance(plain.get("format"), str) and plain["format"] in FORMATS_LEFT_OPEN:
            self.refuse(path, "format", f"'{plain['format']}' is not supported")
        if isinstance(plain.get("format"), str) and plain["format"] not in FORMATS:
            del plain["format"]  # one that the standard does not define says nothing
        if "type" in plain:
            types = [plain["type"]] if isinstance(plain["type"], str) else plain["type"]
            if not isinstance(types, list) or not types or any(name not in _TYPES for name in types):
                self.refuse(path, "type", f"must be one or more of {', '.join(_TYPES)}")
            plain["type"] = [*types, "null"] if schema.get("nullable") is True and "null" not in types else types
        for keyword, value in plain.items():
            if keyword in _COUNTS and not (type(value) is int and value >= 0):
                self.refuse(path, keyword, "must be a whole number from 0")
            elif keyword in _BOUNDS and type(value) not in (int, float):
                self.refuse(path, keyword, "must be a number")
            elif keyword in _KINDS and not isinstance(value, _KINDS[keyword]):
                self.refuse(path, keyword, f"must be a {_KINDS[keyword].__name__}")
        if "const" in schema:
            only = {"enum": [schema["const"]]}
            return self._merge(plain, only, path) or {"enum": []}
        return plain

    def _resolve(self, reference: Any, path: str) -> Any:  # Any: JSON
        if not isinstance(reference, str) or not reference.startswith("#"):
            self.refuse(path, "$ref", "must point into the same schema, as '#/$defs/…'")
        target = self.root
        for part in reference[1:].split("/")[1:]:
            name = unquote(part).replace("~1", "/").replace("~0", "~")
            if isinstance(target, list) and name.isdecimal() and int(name) < len(target):
                target = target[int(name)]
            elif isinstance(target, dict) and name in target:
                target = target[name]
            else:
                self.refuse(path, "$ref", f"points to '{reference}', which is not in the schema")
        if reference not in ("#", "") and not reference.startswith("#/"):
            self.refuse(path, "$ref", "must be a JSON pointer; anchors are not supported")
        return target

    def _list(self, schema: dict[str, Any], keyword: str, path: str) -> list[Any]:
        parts = schema.get(keyword, [])
        if not isinstance(parts, list) or (keyword in schema and not parts):
            self.refuse(path, keyword, "must be a list of schemas")
        return parts

    def _both(self, left: list[Plain], right: list[Plain], path: str) -> list[Plain]:
        """Alternatives that fit one of *left* and one of *right*."""
        if len(left) * len(right) > MAX_ALTERNATIVES:
            self.refuse(path, "anyOf", f"combines to more than {MAX_ALTERNATIVES} alternatives")
        merged = (self._merge(one, other, path) for one in left for other in right)
        return [plain for plain in merged if plain is not None]

    def _merge(self, one: Plain, other: Plain, path: str) -> Plain | None:
        """A schema that holds where both hold; None if that is nowhere."""
        merged = {**one, **other}
        for keyword in one.keys() & other.keys():
            a, b = one[keyword], other[keyword]
            if keyword == "type":
                merged["type"] = _shared_types(a, b)
            elif keyword == "enum":
                merged["enum"] = [value for value in a if any(is_same(value, v) for v in b)]
            elif keyword == "required":
                merged["required"] = [*a, *(name for name in b if name not in a)]
            elif keyword in ("items", "additionalProperties"):
                merged[keyword] = a if is_same(a, b) else {"allOf": [a, b]}
            elif keyword in _LARGEST_OF:
                merged[keyword] = max(a, b)
            elif keyword in _SMALLEST_OF:
                merged[keyword] = min(a, b)
            elif keyword != "properties" and not is_same(a, b):
                self.refuse(path, keyword, "is given twice with different values, which cannot be combined")
        if "properties" in merged:
            merged["properties"] = _merged_properties(one, other)
        if merged.get("type") == [] or merged.get("enum") == []:
            return None
        return merged

    def _check_exclusive(self, groups: list[list[Plain]], path: str) -> None:
        """Refuse `oneOf` unless its alternatives exclude each other: a grammar cannot count matches."""
        for at, group in enumerate(groups):
            for other in groups[at + 1 :]:
                if any(not _exclude(one, two) for one in group for two in other):
                    self.refuse(path, "oneOf", "has alternatives that may fit at once; use 'anyOf'")


def _whole(value: Any) -> Any:  # Any: JSON
    """*value*, a whole number as one: 2.0 is 2."""
    return int(value) if isinstance(value, float) and value.is_integer() and abs(value) < _EXACT else value


def is_same(one: Any, other: Any) -> bool:  # Any: JSON
    """Whether two JSON values are the same; 1 and true are not."""
    return msgspec.json.encode(one, order="sorted") == msgspec.json.encode(other, order="sorted")


def types_of(plain: Plain) -> list[str]:
    """Types that *plain* may take: those it names, or those its keywords speak of, or all."""
    if "type" in plain:
        return list(plain["type"])
    spoken = {TYPE_OF_KEYWORD[keyword] for keyword in plain if keyword in TYPE_OF_KEYWORD}
    return [name for name in _TYPES if name in spoken] or [name for name in _TYPES if name != "integer"]


def fits_type(value: Any, types: list[str]) -> bool:  # Any: JSON
    """Whether *value* is of one of *types*."""
    return any(name in types for name in _names_of(value))


def _names_of(value: Any) -> Iterator[str]:
    if value is None:
        yield "null"
    elif isinstance(value, bool):
        yield "boolean"
    elif isinstance(value, int | float):
        yield "number"
        if isinstance(value, int) or value.is_integer():
            yield "integer"
    else:
        yield "string" if isinstance(value, str) else "array" if isinstance(value, list) else "object"


def _shared_types(a: list[str], b: list[str]) -> list[str]:
    shared = [name for name in a if name in b]
    if "integer" not in shared and (("integer" in a and "number" in b) or ("number" in a and "integer" in b)):
        shared.append("integer")
    return shared


def _merged_properties(one: Plain, other: Plain) -> dict[str, Any]:
    """Properties of both; what only one names must fit the other's `additionalProperties` as well."""
    mine, theirs = one.get("properties", {}), other.get("properties", {})
    merged = {}
    for name in [*mine, *(name for name in theirs if name not in mine)]:
        parts = [mine[name]] if name in mine else []
        parts += [theirs[name]] if name in theirs else []
        if name not in mine and "additionalProperties" in one:
            parts.append(one["additionalProperties"])
        if name not in theirs and "additionalProperties" in other:
            parts.append(other["additionalProperties"])
        merged[name] = parts[0] if len(parts) == 1 else {"allOf": parts}
    return merged


def _exclude(one: Plain, other: Plain) -> bool:
    """Whether no value fits both, as far as types, enums and required properties tell."""
    if "type" in one and "type" in other and not _shared_types(one["type"], other["type"]):
        return True
    if "enum" in one and "enum" in other:
        return not any(is_same(a, b) for a in one["enum"] for b in other["enum"])
    for plain, typed in ((one, other), (other, one)):
        if "enum" in plain and "type" in typed and not any(fits_type(v, typed["type"]) for v in plain["enum"]):
            return True
    if one.get("type") != ["object"] or other.get("type") != ["object"]:
        return False
    mine, theirs = one.get("properties", {}), other.get("properties", {})
    shared_and_required = set(one.get("required", ())) & set(other.get("required", ())) & mine.keys() & theirs.keys()
    return any(_values_exclude(mine[name], theirs[name]) for name in shared_and_required)


def _values_exclude(one: Any, other: Any) -> bool:  # Any: JSON
    """Whether two properties allow no shared value, by their `const` or `enum`."""
    if not isinstance(one, dict) or not isinstance(other, dict):
        return False
    listed = [p.get("enum", [p["const"]] if "const" in p else None) for p in (one, other)]
    if listed[0] is None or listed[1] is None:
        return False
    return not any(is_same(a, b) for a in listed[0] for b in listed[1])
