"""What is wrong with a body that does not decode, in the words of APIs.

Runs only for bodies that are refused. msgspec tells the kind of a violation and a path, the rest (the value, what
is allowed) is looked up in the body and in the structs.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable
from typing import Any

import msgspec

from enginehouse.violation import ANY, Bound, Step, Violation, taken_apart, value_at
from enginehouse.wire.places import SHOWN, Places, param_of, shown
from enginehouse.wire.structure import MAX_DEPTH, is_too_deep
from enginehouse_plugin.errors import InvalidRequest

_HALF_A_PAIR = re.compile(r"\\u[dD][89a-fA-F]")
_NOUNS = {
    "str": "a string",
    "int": "an integer",
    "float": "a number",
    "bool": "a boolean",
    "array": "an array",
    "object": "an object",
    "null": "null",
}


def too_deep() -> InvalidRequest:
    """Build the refusal of a body with too many levels."""
    return InvalidRequest(
        f"The body is nested too deeply. At most {MAX_DEPTH} levels of arrays and objects are allowed.",
        param=None,
        code="too_deep",
    )


def duplicate_key(path: Iterable[Step]) -> InvalidRequest:
    """Build the refusal of an object that gives the last key of *path* twice."""
    param = param_of(path)
    return InvalidRequest(
        f"Duplicate key: '{param}' is given more than once. Give each key of an object once.",
        param=param,
        code="duplicate_key",
    )


# ---- bodies that are not JSON ----


def malformed(body: bytes, error: Exception) -> InvalidRequest:
    """Say why *body*, refused with *error*, is no JSON text that can be used.

    Cases in order: nothing there, another encoding, broken UTF-8, too many levels, an escaped half of a surrogate
    pair, a number that JSON does not have, anything else.
    """
    if not body.strip():
        return InvalidRequest("The body is empty. Send a JSON object.", param=None, code="invalid_json")
    if body.startswith((b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")):
        return InvalidRequest(
            "The body starts with a byte-order mark. Send UTF-8 without one.", param=None, code="invalid_json"
        )
    try:
        text = body.decode()
    except UnicodeDecodeError as broken:
        return InvalidRequest(
            f"The body is not valid UTF-8: {broken.reason} at byte {broken.start}.", param=None, code="invalid_utf8"
        )
    if is_too_deep(body):
        return too_deep()
    constants: list[str] = []
    detail = str(error)
    try:
        json.loads(text, parse_constant=constants.append)
    except ValueError as refused:
        detail = str(refused)
    else:
        if constants:
            detail = f"{constants[0]} is no JSON value"
        elif _HALF_A_PAIR.search(text):
            return InvalidRequest(
                "The body has a \\u escape of half a surrogate pair. Escape both halves, or send the character itself.",
                param=None,
                code="invalid_unicode",
            )
    return InvalidRequest(f"The body is not valid JSON: {detail}.", param=None, code="invalid_json")


# ---- bodies that are JSON, but not a request ----


def refusal(found: Violation, tree: Any, places: Places) -> InvalidRequest:
    """Build the refusal for *found*; *tree* is the whole body, decoded without types, and *places* its structs."""
    if found.unknown is not None:
        return _unknown_parameter(found.steps, found.unknown, tree, places)
    param = param_of(found.steps)
    if found.missing is not None:
        name = param_of((*found.steps, found.missing))
        return InvalidRequest(f"Missing required parameter: '{name}'.", param=name, code="missing_required_parameter")
    if found.is_of_key:
        if found.bound is not None and found.bound[:2] == ("str", "<="):
            return _long_key(found.steps, found.bound.limit)
        return bad_key(found.steps, tree, places)
    value = value_at(tree, found.steps)
    if found.choice is not None:
        allowed = ", ".join(f"'{item}'" for item in places.choices_at(found.steps, tree))
        return InvalidRequest(
            f"Invalid value: {_quoted(value)} for '{param}'. Supported values are: {allowed}.", param=param
        )
    if found.pattern is not None:
        expected = places.expected_at(found.steps, tree) or f"a string matching {found.pattern}"
        return InvalidRequest(f"Invalid '{param}': {_quoted(value)}. Expected {expected}.", param=param)
    if found.bound is not None:
        return _out_of_bounds(found.bound, value, param)
    if found.is_out_of_range:
        return _out_of_range(param)
    if found.wanted:
        return _wrong_type(found, tree, value, places)
    return InvalidRequest(f"Invalid '{param}': {found.problem}.", param=param)


def _unknown_parameter(steps: tuple[Step, ...], name: str, tree: Any, places: Places) -> InvalidRequest:
    known = places.names_at(steps, tree)
    close = difflib.get_close_matches(name[:SHOWN], known, n=1)
    if close:
        hint = f" Did you mean '{close[0]}'?"
    elif steps and known:
        hint = f" Known here: {', '.join(known)}."
    else:
        hint = " This API does not have it."
    param = param_of((*steps, name))
    return InvalidRequest(f"Unknown parameter: '{param}'.{hint}", param=param, code="unknown_parameter")


def bad_key(path: tuple[Step, ...], tree: Any, places: Places) -> InvalidRequest:
    """Build the refusal of the last key of *path*, which is none that its object may have."""
    expected = places.expected_at(path[:-1], tree) or "integers in decimal"
    return InvalidRequest(
        f"Invalid key {_quoted(path[-1])} in '{param_of(path[:-1])}': keys must be {expected}.", param=param_of(path)
    )


def _long_key(path: tuple[Step, ...], limit: str) -> InvalidRequest:
    return InvalidRequest(
        f"Invalid key {_quoted(path[-1])} in '{param_of(path[:-1])}': keys must be at most {limit} characters long.",
        param=param_of(path),
        code="string_above_max_length",
    )


def _out_of_bounds(bound: Bound, value: Any, param: str | None) -> InvalidRequest:
    kind, sign, limit = bound
    low = sign.startswith(">")
    if kind in ("int", "float"):
        noun = "integer" if kind == "int" else "decimal"
        words = f"{noun} {'below minimum' if low else 'above maximum'} value"
        expected = f"a value {sign} {limit.removesuffix('.0')}, but got {_quoted(value)} instead"
        return InvalidRequest(
            f"Invalid '{param}': {words}. Expected {expected}.",
            param=param,
            code=f"{noun}_{'below_min' if low else 'above_max'}_value",
        )
    noun = {"str": "string"}.get(kind, kind)
    if low and not value:
        return InvalidRequest(
            f"Invalid '{param}': empty {noun}. Expected {_NOUNS[kind]} with minimum length {limit}.",
            param=param,
            code=f"empty_{noun}",
        )
    end = "short" if low else "long"
    return InvalidRequest(
        f"Invalid '{param}': {noun} too {end}. Expected {_NOUNS[kind]} with {'min' if low else 'max'}imum length "
        f"{limit}, but got length {len(value) if value is not None else 0} instead.",
        param=param,
        code=f"{noun}_{'below_min' if low else 'above_max'}_length",
    )


def _wrong_type(found: Violation, tree: Any, value: Any, places: Places) -> InvalidRequest:
    param = param_of(found.steps)
    if found.wanted == ("null",):
        reason = places.description_at(found.steps, tree)
        return InvalidRequest(
            f"Unsupported parameter: '{param}' is not supported. {reason}", param=param, code="unsupported_parameter"
        )
    wanted = " or ".join(_NOUNS.get(kind, kind) for kind in found.wanted if kind != "null")
    if param is None:
        return InvalidRequest(
            f"The body must be a JSON object, but it is {_kind_of(value)}.", param=None, code="invalid_type"
        )
    return InvalidRequest(
        f"Invalid type for '{param}': expected {wanted}, but got {_kind_of(value)} instead.",
        param=param,
        code="invalid_type",
    )


def _kind_of(value: Any) -> str:
    for kind, noun in ((bool, "a boolean"), (int, "an integer"), (float, "a decimal"), (str, "a string")):
        if isinstance(value, kind):
            return noun
    return "null" if value is None else "an array" if isinstance(value, list) else "an object"


def _quoted(value: Any) -> str:
    if isinstance(value, str):
        return f"'{shown(value)}'"
    if isinstance(value, bool | int | float | None):
        return shown(msgspec.json.encode(value).decode())
    return _kind_of(value)


def number_out_of_range(*errors: msgspec.ValidationError) -> InvalidRequest:
    """Build the refusal of a number that no machine type holds; of *errors*, the first that is about it names it."""
    for found in map(taken_apart, errors):
        if found.is_out_of_range and ANY not in found.steps:
            return _out_of_range(param_of(found.steps))
    return _out_of_range(None)


def _out_of_range(param: str | None) -> InvalidRequest:
    if param is None:
        return InvalidRequest("The body has a number that is out of range.", param=None)
    return InvalidRequest(f"Invalid '{param}': the number is out of range.", param=param)
