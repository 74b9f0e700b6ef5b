"""Whether a client's JSON Schema is one: the types of its keywords, and references that lead somewhere.

Draft 2020-12, with the older spellings that clients still send (`definitions`, `items` as an array). What an
engine cannot enforce is the adapter's to refuse; what is no schema at all is refused here. The walk also
bounds depth and size of every part of a body that may hold any JSON.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote

from enginehouse.violation import Step
from enginehouse.wire.places import param_of
from enginehouse.wire.problems import too_deep
from enginehouse.wire.structure import MAX_DEPTH
from enginehouse_plugin.errors import InvalidRequest

MAX_VALUES = 100_000
"""Most values (of any kind, nested ones included) in all free-form parts of a body together."""

_TYPES = ("array", "boolean", "integer", "null", "number", "object", "string")
_ONE_SCHEMA = {
    "additionalItems", "additionalProperties", "contains", "contentSchema", "else", "if", "items", "not",
    "propertyNames", "then", "unevaluatedItems", "unevaluatedProperties",
}  # fmt: skip
_LIST_OF_SCHEMAS = {"allOf", "anyOf", "oneOf", "prefixItems"}
_MAP_OF_SCHEMAS = {"$defs", "definitions", "dependentSchemas", "patternProperties", "properties"}
_COUNTS = {
    "maxContains", "maxItems", "maxLength", "maxProperties", "minContains", "minItems", "minLength", "minProperties",
}  # fmt: skip
_NUMBERS = {"exclusiveMaximum", "exclusiveMinimum", "maximum", "minimum"}
_STRINGS = {
    "$anchor", "$comment", "$dynamicAnchor", "$id", "$schema", "contentEncoding", "contentMediaType", "description",
    "format", "pattern", "title",
}  # fmt: skip
_FLAGS = {"deprecated", "readOnly", "uniqueItems", "writeOnly"}


_INDEX = re.compile(r"[0-9]{1,9}")  # more digits than 4,300 cannot even become a number


def check_schema(schema: dict[str, Any], path: tuple[Step, ...], seen: int = 0) -> int:
    """Refuse *schema*, which stands at *path* of the body, unless it is a JSON Schema.

    Returns *seen*, the values counted so far, with those of *schema* added.

    Raises:
        InvalidRequest: naming *path*; the message says where in the schema.
    """
    seen = check_size(schema, path, seen)
    waiting: list[tuple[Any, tuple[Step, ...]]] = [(schema, ())]
    while waiting:
        node, at = waiting.pop()
        if isinstance(node, bool):
            continue
        if not isinstance(node, dict):
            raise _no_schema(path, at, "must be an object or a boolean")
        for keyword, value in node.items():
            if keyword in ("$ref", "$dynamicRef"):
                _check_reference(schema, value, path, (*at, keyword))
            else:
                waiting.extend(_checked(keyword, value, path, (*at, keyword)))
    return seen


def _checked(
    keyword: str, value: Any, path: tuple[Step, ...], at: tuple[Step, ...]
) -> Iterator[tuple[Any, tuple[Step, ...]]]:
    """Check one keyword's value; yield the schemas below it."""
    if keyword in _MAP_OF_SCHEMAS:
        if not isinstance(value, dict):
            raise _no_schema(path, at, "must be an object of schemas")
        yield from ((below, (*at, name)) for name, below in value.items())
    elif keyword in _LIST_OF_SCHEMAS or (keyword == "items" and isinstance(value, list)):
        if not isinstance(value, list) or not value:
            raise _no_schema(path, at, "must be an array of at least one schema")
        yield from ((below, (*at, index)) for index, below in enumerate(value))
    elif keyword in _ONE_SCHEMA:
        yield value, at
    elif problem := _problem(keyword, value):
        raise _no_schema(path, at, problem)


def _problem(keyword: str, value: Any) -> str | None:
    """Say what is wrong with the value of a keyword that holds no schema, or None."""
    if keyword == "type":
        names = value if isinstance(value, list) else [value]
        if not names or any(name not in _TYPES for name in names if isinstance(name, str)):
            return f"must be one or several of {', '.join(_TYPES)}"
        return None if all(isinstance(name, str) for name in names) else "must be a string or an array of strings"
    if keyword in _COUNTS:
        return None if _is_number(value) and value >= 0 and value == int(value) else "must be an integer from 0"
    if keyword in _NUMBERS:
        is_flag = keyword.startswith("exclusive") and isinstance(value, bool)  # draft 4
        return None if is_flag or _is_number(value) else "must be a number"
    if keyword == "multipleOf":
        return None if _is_number(value) and value > 0 else "must be a number above 0"
    if keyword in _STRINGS:
        return None if isinstance(value, str) else "must be a string"
    if keyword in _FLAGS:
        return None if isinstance(value, bool) else "must be a boolean"
    if keyword == "enum":
        return None if isinstance(value, list) and value else "must be an array of at least one value"
    if keyword == "required":
        is_names = isinstance(value, list) and all(isinstance(name, str) for name in value)
        return None if is_names and len(set(value)) == len(value) else "must be an array of distinct strings"
    if keyword == "dependentRequired":
        return None if isinstance(value, dict) else "must be an object of arrays"
    return None


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _check_reference(schema: dict[str, Any], value: Any, path: tuple[Step, ...], at: tuple[Step, ...]) -> None:
    if not isinstance(value, str):
        raise _no_schema(path, at, "must be a string")
    if not value.startswith("#"):
        if _has_names(schema):
            return
        raise _no_schema(path, at, "must lead to a place in the same schema ('#/$defs/name'): nothing is fetched")
    if value == "#" or not value.startswith("#/"):
        return  # the schema itself, or the name of an anchor
    target: Any = schema
    for token in value[2:].split("/"):
        name = unquote(token).replace("~1", "/").replace("~0", "~")
        if isinstance(target, dict) and name in target:
            target = target[name]
        elif isinstance(target, list) and _INDEX.fullmatch(name) and int(name) < len(target):
            target = target[int(name)]
        elif _has_names(schema):
            return
        else:
            raise _no_schema(path, at, "leads nowhere in this schema")


def _has_names(schema: dict[str, Any]) -> bool:
    """Whether parts of *schema* have names of their own (`$id`), from which references count."""
    waiting: list[Any] = [schema]
    while waiting:
        node = waiting.pop()
        if isinstance(node, dict):
            if isinstance(node.get("$id"), str):
                return True
            waiting += node.values()
        elif isinstance(node, list):
            waiting += node
    return False


def _no_schema(path: tuple[Step, ...], at: tuple[Step, ...], problem: str) -> InvalidRequest:
    param = param_of(path)
    where = f"'{param_of(at)}' " if at else ""
    return InvalidRequest(
        f"Invalid JSON Schema for '{param}': {where}{problem}.", param=param, code="invalid_json_schema"
    )


def check_size(value: Any, path: tuple[Step, ...], seen: int = 0) -> int:
    """Refuse *value*, any JSON at *path* of the body, if it is too deep, or too large beside what was *seen*.

    Returns *seen*, the values counted so far, with those of *value* added.

    Raises:
        InvalidRequest: naming *path*.
    """
    # `depth` counts the levels of the body that enclose the containers of `level`.
    level, depth = [value], len(path)
    while level:
        if depth >= MAX_DEPTH:
            raise too_deep()
        below: list[Any] = []
        for container in level:
            values = container.values() if isinstance(container, dict) else container
            seen += 1 + len(values)
            if seen > MAX_VALUES:
                raise InvalidRequest(
                    f"Invalid '{param_of(path)}': with it, the schemas and variables of this request hold more than "
                    f"{MAX_VALUES} values. Make them smaller.",
                    param=param_of(path),
                    code="too_large",
                )
            below.extend(item for item in values if isinstance(item, dict | list))
        level, depth = below, depth + 1
    return seen
