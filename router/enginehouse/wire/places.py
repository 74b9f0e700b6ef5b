"""Places in a request: what a path leads to in a body, what the structs have there, and how the API writes it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec
import msgspec.inspect as types

from enginehouse.dialects.openai.chat.request import ChatRequest

SHOWN = 64
"""Characters of a value or a name that a message repeats."""

ANY_VALUE = "..."
"""msgspec's step for "some value of this object"."""

_ROOT = types.type_info(ChatRequest)
_STEP = re.compile(r"\[(\d+|\.\.\.)\]|([^.\[]+)")
_LONGEST_PATH = 500  # what is longer is no path of ours, but a client's text that reads like one

Step = str | int


def shown(text: str) -> str:
    """Cut *text* to a length that fits into a message."""
    return text if len(text) <= SHOWN else text[:SHOWN] + "…"


def param_of(steps: Iterable[Step]) -> str | None:
    """Write a path as the API does: `messages[0].content`; None for the body itself."""
    text: str | None = None
    for step in steps:
        if isinstance(step, int):
            text = f"{text or ''}[{step}]"
        else:
            text = shown(step) if text is None else f"{text}.{shown(step)}"
    return text


def taken_apart(error: msgspec.ValidationError) -> tuple[str, tuple[Step, ...], bool]:
    """Split msgspec's message into what is wrong, the path, and whether a key (not a value) is meant."""
    text = str(error)
    what, separator, place = text.rpartition(" - at `")
    in_key = place.startswith("key` in `")
    path = place.removeprefix("key` in `").removesuffix("`")
    if not separator or not path.startswith("$") or len(path) > _LONGEST_PATH:
        return text, (), False
    steps: list[Step] = []
    for index, name in _STEP.findall(path[1:]):
        steps.append(name or (index if index == ANY_VALUE else int(index)))
    return what, tuple(steps), in_key


def value_at(tree: Any, steps: Iterable[Step]) -> Any:
    """Return the value at *steps* below *tree*, None where there is none."""
    for step in steps:
        if isinstance(tree, dict):
            tree = tree.get(step)
        elif isinstance(tree, list) and isinstance(step, int) and step < len(tree):
            tree = tree[step]
        else:
            return None
    return tree


def with_key(steps: tuple[Step, ...], tree: Any) -> tuple[Step, ...]:
    """Replace msgspec's `...` at the end of *steps* by the first key whose value does not fit."""
    if not steps or steps[-1] != ANY_VALUE:
        return steps
    mapping = value_at(tree, steps[:-1])
    for candidate in types_at(steps[:-1], tree):
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


def types_at(steps: Iterable[Step], tree: Any) -> list[types.Type]:
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
        tree = value_at(tree, [step])
    return found


def _is_meant(struct: types.StructType, value: Any) -> bool:
    return struct.tag_field is None or (isinstance(value, dict) and value.get(struct.tag_field) == struct.tag)


def structs_at(steps: tuple[Step, ...], tree: Any) -> list[types.StructType]:
    """Return the structs that the object at *steps* may be."""
    value = value_at(tree, steps)
    return [node for node in types_at(steps, tree) if isinstance(node, types.StructType) and _is_meant(node, value)]


def supported(steps: tuple[Step, ...], tree: Any) -> list[Any]:
    """Return the values allowed at *steps*: those of a literal, or the tags of a union of structs."""
    values: list[Any] = []
    for node in types_at(steps, tree):
        if isinstance(node, types.LiteralType):
            values += [value for value in node.values if value not in values]
    if values:
        return values
    return [
        node.tag
        for node in types_at(steps[:-1], tree)
        if isinstance(node, types.StructType) and node.tag_field == steps[-1]
    ]


def description_at(steps: tuple[Step, ...], tree: Any) -> str:
    """Return what the structs say about the refused field at *steps*."""
    for struct in structs_at(steps[:-1], tree):
        for field in struct.fields:
            if field.encode_name == steps[-1] and isinstance(field.type, types.Metadata):
                return str((field.type.extra_json_schema or {}).get("description", ""))
    return ""


def names_at(steps: tuple[Step, ...], tree: Any) -> list[str]:
    """Return the fields that the object at *steps* may have."""
    names: set[str] = set()
    for struct in structs_at(steps, tree):
        names.update(field.encode_name for field in struct.fields)
        if struct.tag_field is not None:
            names.add(struct.tag_field)
    return sorted(names)
