"""What is wrong with a body that does not decode, in the words of the API.

Runs only for bodies that are refused, so it may decode them again: msgspec tells the kind of a violation and a
path, the rest (the value, what is allowed, the name of a key) is looked up in the body and in the structs.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable
from typing import Any

import msgspec

from enginehouse.dialects.openai.chat.request import NAME_PATTERN
from enginehouse.wire.places import (
    ANY_VALUE,
    SHOWN,
    Step,
    description_at,
    names_at,
    param_of,
    shown,
    supported,
    taken_apart,
    value_at,
    with_key,
)
from enginehouse_plugin.errors import InvalidRequest

MAX_DEPTH = 128
"""Most levels of arrays and objects in a body."""

_BOUND = re.compile(r"Expected `(\w+)`(?: of length)? (>=|<=|>|<) (\S+)")
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
_UNKNOWN = "Object contains unknown field `"
_MISSING = "Object missing required field `"


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

    Cases in order: nothing there, another encoding, broken UTF-8, an escaped half of a surrogate pair,
    a number that JSON does not have, anything else.
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
    constants: list[str] = []
    detail = str(error)
    try:
        json.loads(text, parse_constant=constants.append)
    except RecursionError:
        return too_deep()
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


def violation(error: msgspec.ValidationError, tree: Any) -> InvalidRequest:
    """Build the refusal for *error*; *tree* is the whole body, decoded without types."""
    if path := _unknown_field(error, tree):
        return _unknown_parameter(path[:-1], str(path[-1]), tree)
    what, steps, in_key = taken_apart(error)
    return _violation(what, with_key(steps, tree), tree, in_key)


def _unknown_field(error: msgspec.ValidationError, tree: Any) -> tuple[Step, ...] | None:
    """Return the path of the unknown field that *error* is about, or None if it is about something else."""
    text = str(error)
    if not text.startswith(_UNKNOWN):
        return None
    what, steps, _ = taken_apart(error)
    # A field of the body itself may have a name that reads like a path.
    for path in ((*steps, what.removeprefix(_UNKNOWN)[:-1]), (text.removeprefix(_UNKNOWN)[:-1],)):
        owner = value_at(tree, path[:-1])
        if isinstance(owner, dict) and path[-1] in owner:
            return path
    return None


def _violation(what: str, steps: tuple[Step, ...], tree: Any, in_key: bool) -> InvalidRequest:
    param = param_of(steps)
    if what.startswith(_MISSING):
        name = param_of((*steps, what.removeprefix(_MISSING)[:-1]))
        return InvalidRequest(f"Missing required parameter: '{name}'.", param=name, code="missing_required_parameter")
    if in_key:
        return _bad_key(what, steps, tree)
    value = value_at(tree, steps)
    if what.startswith("Invalid "):
        allowed = ", ".join(f"'{item}'" for item in supported(steps, tree))
        return InvalidRequest(
            f"Invalid value: {_quoted(value)} for '{param}'. Supported values are: {allowed}.", param=param
        )
    if " matching regex " in what:
        return InvalidRequest(f"Invalid '{param}': {_quoted(value)}. Expected {_pattern_words(what)}.", param=param)
    if bound := _BOUND.match(what):
        return _out_of_bounds(bound, value, param)
    return _wrong_type(what, steps, tree, value)


def _unknown_parameter(steps: tuple[Step, ...], name: str, tree: Any) -> InvalidRequest:
    known = names_at(steps, tree)
    close = difflib.get_close_matches(name[:SHOWN], known, n=1)
    if close:
        hint = f" Did you mean '{close[0]}'?"
    elif steps and known:
        hint = f" Known here: {', '.join(known)}."
    else:
        hint = " This API does not have it."
    param = param_of((*steps, name))
    return InvalidRequest(f"Unknown parameter: '{param}'.{hint}", param=param, code="unknown_parameter")


def bad_token_id(steps: tuple[Step, ...], key: str) -> InvalidRequest:
    """Build the refusal of a *key* of the object at *steps* that is no token id."""
    return InvalidRequest(
        f"Invalid key {_quoted(key)} in '{param_of(steps)}': keys must be token ids: integers from 0 in decimal.",
        param=param_of((*steps, key)),
    )


def _bad_key(what: str, steps: tuple[Step, ...], tree: Any) -> InvalidRequest:
    """Find the key that is too long, or no token id, whichever *what* is about."""
    keys = value_at(tree, steps)
    if not what.startswith("Expected `str`"):
        return bad_token_id(steps, next((key for key in keys if not _is_token_id(key)), ""))
    limit = int(what.rpartition(" ")[2])
    key = next((key for key in keys if len(key) > limit), "")
    return InvalidRequest(
        f"Invalid key {_quoted(key)} in '{param_of(steps)}': keys must be at most {limit} characters long.",
        param=param_of((*steps, key)),
        code="string_above_max_length",
    )


def _is_token_id(key: str) -> bool:
    return re.fullmatch("0|[1-9][0-9]{0,18}", key) is not None and int(key) < 2**63


def _out_of_bounds(bound: re.Match[str], value: Any, param: str | None) -> InvalidRequest:
    kind, sign, limit = bound.groups()
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


def _wrong_type(what: str, steps: tuple[Step, ...], tree: Any, value: Any) -> InvalidRequest:
    param = param_of(steps)
    kinds: list[str] = re.findall(r"`([^`]*)`", what)[0].split(" | ")
    if kinds == ["null"]:
        reason = description_at(steps, tree)
        return InvalidRequest(
            f"Unsupported parameter: '{param}' is not supported. {reason}", param=param, code="unsupported_parameter"
        )
    wanted = " or ".join(_NOUNS.get(kind, kind) for kind in kinds if kind != "null")
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


def _pattern_words(what: str) -> str:
    if repr(NAME_PATTERN) in what:
        return "1 to 64 characters of a-z, A-Z, 0-9, '_' and '-'"
    return what.removeprefix("Expected ")


def number_out_of_range(*found: msgspec.ValidationError) -> InvalidRequest:
    """Build the refusal of a number that no machine type holds; of *found*, the first that is about it names it."""
    for error in found:
        what, steps, _ = taken_apart(error)
        if "out of range" in what and ANY_VALUE not in steps:
            return InvalidRequest(f"Invalid '{param_of(steps)}': the number is out of range.", param=param_of(steps))
    return InvalidRequest("The body has a number that is out of range.", param=None)
