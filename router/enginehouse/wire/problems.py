"""What is wrong with a body that does not decode, in the words of the API.

Runs only for bodies that are refused, so it may decode them again: msgspec tells the kind of a violation and a
path, the rest (the value, what is allowed, the name of a key) is looked up in the body and in the structs.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec
import msgspec.inspect as types

from enginehouse_plugin.errors import InvalidRequest

from .schemas import NAME_PATTERN, ChatRequest

MAX_DEPTH = 128
"""Most levels of arrays and objects in a body."""

_ROOT = types.type_info(ChatRequest)
_STEP = re.compile(r"\[(\d+|\.\.\.)\]|([^.\[]+)")
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
_ANY_VALUE = "..."  # msgspec's step for "some value of this object"
_LONGEST_PATH = 500  # what is longer is no path of ours, but a client's text that reads like one
_SHOWN = 64  # characters of a value or name that a message repeats

Step = str | int


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


def shown(text: str) -> str:
    """Cut *text* to a length that fits into a message."""
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "…"


def param_of(steps: Iterable[Step]) -> str | None:
    """Write a path as the API does: `messages[0].content`; None for the body itself."""
    text: str | None = None
    for step in steps:
        if isinstance(step, int):
            text = f"{text or ''}[{step}]"
        else:
            text = shown(step) if text is None else f"{text}.{shown(step)}"
    return text


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
    what, steps, in_key = _taken_apart(error)
    return _violation(what, _with_key(steps, tree), tree, in_key)


def _violation(what: str, steps: tuple[Step, ...], tree: Any, in_key: bool) -> InvalidRequest:
    param = param_of(steps)
    if what.startswith(_MISSING):
        name = param_of((*steps, what.removeprefix(_MISSING)[:-1]))
        return InvalidRequest(f"Missing required parameter: '{name}'.", param=name, code="missing_required_parameter")
    if in_key:
        return _bad_key(what, steps, tree)
    value = _value_at(tree, steps)
    if what.startswith("Invalid "):
        supported = ", ".join(f"'{item}'" for item in _supported(steps, tree))
        return InvalidRequest(
            f"Invalid value: {_quoted(value)} for '{param}'. Supported values are: {supported}.", param=param
        )
    if " matching regex " in what:
        return InvalidRequest(f"Invalid '{param}': {_quoted(value)}. Expected {_pattern_words(what)}.", param=param)
    if bound := _BOUND.match(what):
        return _out_of_bounds(bound, value, param)
    return _wrong_type(what, steps, tree, value)


def _unknown_parameter(steps: tuple[Step, ...], name: str, tree: Any) -> InvalidRequest:
    known = _names_at(steps, tree)
    close = difflib.get_close_matches(name[:_SHOWN], known, n=1)
    if close:
        hint = f" Did you mean '{close[0]}'?"
    elif steps and known:
        hint = f" Known here: {', '.join(known)}."
    else:
        hint = " This API does not have it."
    param = param_of((*steps, name))
    return InvalidRequest(f"Unknown parameter: '{param}'.{hint}", param=param, code="unknown_parameter")


def _names_at(steps: tuple[Step, ...], tree: Any) -> list[str]:
    names: set[str] = set()
    for struct in _structs_at(steps, tree):
        names.update(field.encode_name for field in struct.fields)
        if struct.tag_field is not None:
            names.add(struct.tag_field)
    return sorted(names)


def bad_token_id(steps: tuple[Step, ...], key: str) -> InvalidRequest:
    """Build the refusal of a *key* of the object at *steps* that is no token id."""
    return InvalidRequest(
        f"Invalid key {_quoted(key)} in '{param_of(steps)}': keys must be token ids: integers from 0 in decimal.",
        param=param_of((*steps, key)),
    )


def _bad_key(what: str, steps: tuple[Step, ...], tree: Any) -> InvalidRequest:
    """Find the key that is too long, or no token id, whichever *what* is about."""
    keys = _value_at(tree, steps)
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
        reason = _description_at(steps, tree)
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
        what, steps, _ = _taken_apart(error)
        if "out of range" in what and _ANY_VALUE not in steps:
            return InvalidRequest(f"Invalid '{param_of(steps)}': the number is out of range.", param=param_of(steps))
    return InvalidRequest("The body has a number that is out of range.", param=None)


# ---- looking up: the path in the body and in the structs ----


def _taken_apart(error: msgspec.ValidationError) -> tuple[str, tuple[Step, ...], bool]:
    """Split msgspec's message into what is wrong, the path, and whether a key (not a value) is meant."""
    text = str(error)
    what, separator, place = text.rpartition(" - at `")
    in_key = place.startswith("key` in `")
    path = place.removeprefix("key` in `").removesuffix("`")
    if not separator or not path.startswith("$") or len(path) > _LONGEST_PATH:
        return text, (), False
    steps: list[Step] = []
    for index, name in _STEP.findall(path[1:]):
        steps.append(name or (index if index == _ANY_VALUE else int(index)))
    return what, tuple(steps), in_key


def _unknown_field(error: msgspec.ValidationError, tree: Any) -> tuple[Step, ...] | None:
    """Return the path of the unknown field that *error* is about, or None if it is about something else."""
    text = str(error)
    if not text.startswith(_UNKNOWN):
        return None
    what, steps, _ = _taken_apart(error)
    # A field of the body itself may have a name that reads like a path.
    for path in ((*steps, what.removeprefix(_UNKNOWN)[:-1]), (text.removeprefix(_UNKNOWN)[:-1],)):
        owner = _value_at(tree, path[:-1])
        if isinstance(owner, dict) and path[-1] in owner:
            return path
    return None


def _value_at(tree: Any, steps: Iterable[Step]) -> Any:
    for step in steps:
        if isinstance(tree, dict):
            tree = tree.get(step)
        elif isinstance(tree, list) and isinstance(step, int) and step < len(tree):
            tree = tree[step]
        else:
            return None
    return tree


def _with_key(steps: tuple[Step, ...], tree: Any) -> tuple[Step, ...]:
    """Replace msgspec's `...` at the end of *steps* by the first key whose value does not fit."""
    if not steps or steps[-1] != _ANY_VALUE:
        return steps
    mapping = _value_at(tree, steps[:-1])
    for candidate in _types_at(steps[:-1], tree):
        if isinstance(candidate, types.DictType) and isinstance(mapping, dict):
            for key, value in mapping.items():
                if not _fits(candidate.value_type, value):
                    return (*steps[:-1], key)
    return steps[:-1]


def _fits(wanted: types.Type, value: Any) -> bool:
    if isinstance(wanted, types.StrType):
        return isinstance(value, str) and (wanted.max_length is None or len(value) <= wanted.max_length)
    if isinstance(wanted, types.FloatType):
        low, high = wanted.ge, wanted.le
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        return is_number and (low is None or value >= low) and (high is None or value <= high)
    return True


def _flat(node: types.Type) -> Iterator[types.Type]:
    if isinstance(node, types.Metadata):
        yield from _flat(node.type)
    elif isinstance(node, types.UnionType):
        for member in node.types:
            yield from _flat(member)
    else:
        yield node


def _types_at(steps: Iterable[Step], tree: Any) -> list[types.Type]:
    """Return the types that the API has for the value at *steps*, chosen by the tags that stand in *tree*."""
    found = [_ROOT]
    for step in steps:
        below: list[types.Type] = []
        for node in found:
            if isinstance(node, types.VarTupleType) and isinstance(step, int):
                below.append(node.item_type)
            elif isinstance(node, types.DictType):
                below.append(node.value_type)
            elif isinstance(node, types.StructType) and _is_meant(node, tree):
                below.extend(field.type for field in node.fields if field.encode_name == step)
        found = [member for node in below for member in _flat(node)]
        tree = _value_at(tree, [step])
    return found


def _is_meant(struct: types.StructType, value: Any) -> bool:
    return struct.tag_field is None or (isinstance(value, dict) and value.get(struct.tag_field) == struct.tag)


def _structs_at(steps: tuple[Step, ...], tree: Any) -> list[types.StructType]:
    value = _value_at(tree, steps)
    return [node for node in _types_at(steps, tree) if isinstance(node, types.StructType) and _is_meant(node, value)]


def _supported(steps: tuple[Step, ...], tree: Any) -> list[Any]:
    """Return the values allowed at *steps*: those of a literal, or the tags of a union of structs."""
    values: list[Any] = []
    for node in _types_at(steps, tree):
        if isinstance(node, types.LiteralType):
            values += [value for value in node.values if value not in values]
    if values:
        return values
    return [
        node.tag
        for node in _types_at(steps[:-1], tree)
        if isinstance(node, types.StructType) and node.tag_field == steps[-1]
    ]


def _description_at(steps: tuple[Step, ...], tree: Any) -> str:
    """Return what the structs say about the refused field at *steps*."""
    for struct in _structs_at(steps[:-1], tree):
        for field in struct.fields:
            if field.encode_name == steps[-1] and isinstance(field.type, types.Metadata):
                return str((field.type.extra_json_schema or {}).get("description", ""))
    return ""
