"""The two liberties that a body may take: integers written like `5.0`, and, where configured, unknown fields.

The typed decode refuses both; a body that takes them is mended in one pass over its untyped form and decoded again.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import msgspec
import msgspec.inspect as types

from enginehouse.dialects.openai.chat.request import ChatRequest

_EXACT = 2**53
"""From here on a float no longer tells which integer is meant, so those stay refused."""


class _Shape:
    """What the API has at one place: structs by tag, items of an array, an integer; none of them: anything."""

    def __init__(self) -> None:
        self.tag_field: str | None = None
        self.structs: dict[Any, dict[str, _Shape]] = {}
        self.item: _Shape | None = None
        self.is_integer = False


def is_mendable(error: msgspec.ValidationError, *, report_unknown: bool) -> bool:
    """Whether *error* may be about one of the two liberties."""
    text = str(error)
    if text.startswith("Object contains unknown field"):
        return report_unknown
    return text.startswith("Expected `int") and "got `float`" in text


def mend(tree: Any, *, report_unknown: bool) -> tuple[str, ...]:
    """Mend *tree*, a whole body decoded without types, in place; return the unknown fields it had.

    Fields of an array's items are named once for all: `messages[].id`.
    """
    unknown: dict[str, None] = {}
    _mend(tree, _root(), "", unknown if report_unknown else None)
    return tuple(unknown)


def _mend(value: Any, shape: _Shape, path: str, unknown: dict[str, None] | None) -> Any:
    if isinstance(value, dict):
        tag = value.get(shape.tag_field) if shape.tag_field is not None else None
        fields = shape.structs.get(tag) if isinstance(tag, str | None) else None
        if fields is not None:
            for name in list(value):
                at = f"{path}.{name}" if path else name
                if name in fields:
                    value[name] = _mend(value[name], fields[name], at, unknown)
                elif unknown is not None:
                    unknown[at] = None
                    del value[name]
    elif isinstance(value, list):
        if shape.item is not None:
            at = f"{path}[]"
            for item in value:
                _mend(item, shape.item, at, unknown)
    elif shape.is_integer and isinstance(value, float) and value.is_integer() and abs(value) < _EXACT:
        return int(value)
    return value


@cache
def _root() -> _Shape:
    return _shape(types.type_info(ChatRequest))


def _shape(node: types.Type) -> _Shape:
    shape = _Shape()
    _fill(shape, node)
    return shape


def _fill(shape: _Shape, node: types.Type) -> None:
    if isinstance(node, types.Metadata):
        _fill(shape, node.type)
    elif isinstance(node, types.UnionType):
        for member in node.types:
            _fill(shape, member)
    elif isinstance(node, types.StructType):
        fields = {field.encode_name: _shape(field.type) for field in node.fields}
        if node.tag_field is not None:
            shape.tag_field = node.tag_field
            fields[node.tag_field] = _Shape()
        shape.structs[node.tag] = fields
    elif isinstance(node, types.VarTupleType):
        shape.item = _shape(node.item_type)
    elif isinstance(node, types.IntType):
        shape.is_integer = True
