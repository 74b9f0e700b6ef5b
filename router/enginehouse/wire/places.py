"""Places in a body: how an API writes them, and what the structs of a request have there."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec.inspect as types

from enginehouse.violation import Step, value_at

SHOWN = 64
"""Characters of a value or a name that a message repeats."""

EXPECTED = "expected"
"""Key of `Meta(extra=…)` whose value says in words what a pattern, or a key of a map, expects."""


def shown(text: str) -> str:
    """Cut *text* to a length that fits into a message."""
    return text if len(text) <= SHOWN else text[:SHOWN] + "…"


def param_of(steps: Iterable[Step]) -> str | None:
    """Write a path as APIs do: `messages[0].content`; None for the body itself."""
    text: str | None = None
    for step in steps:
        if isinstance(step, int):
            text = f"{text or ''}[{step}]"
        else:
            text = shown(step) if text is None else f"{text}.{shown(step)}"
    return text


class Places:
    """What the struct *root* has at each place of a body."""

    def __init__(self, root: type) -> None:
        self._root = types.type_info(root)

    def structs_at(self, steps: Iterable[Step], tree: Any) -> list[types.StructType]:
        """Return the structs that the object at *steps* of *tree*, a whole body, may be."""
        value = value_at(tree, steps)
        return [
            node
            for node in self._types_at(steps, tree)
            if isinstance(node, types.StructType) and _is_meant(node, value)
        ]

    def names_at(self, steps: Iterable[Step], tree: Any) -> list[str]:
        """Return the fields that the object at *steps* may have."""
        names: set[str] = set()
        for struct in self.structs_at(steps, tree):
            names.update(field.encode_name for field in struct.fields)
            if struct.tag_field is not None:
                names.add(struct.tag_field)
        return sorted(names)

    def choices_at(self, steps: tuple[Step, ...], tree: Any) -> list[Any]:
        """Return the values allowed at *steps*: those of a literal, or the tags of a union of structs."""
        values: list[Any] = []
        for node in self._types_at(steps, tree):
            if isinstance(node, types.LiteralType):
                values += [value for value in node.values if value not in values]
        if values:
            return values
        return [
            node.tag
            for node in self._types_at(steps[:-1], tree)
            if isinstance(node, types.StructType) and node.tag_field == steps[-1]
        ]

    def description_at(self, steps: tuple[Step, ...], tree: Any) -> str:
        """Return what the structs say about the field at *steps*."""
        for struct in self.structs_at(steps[:-1], tree):
            for field in struct.fields:
                if field.encode_name == steps[-1] and isinstance(field.type, types.Metadata):
                    return str((field.type.extra_json_schema or {}).get("description", ""))
        return ""

    def expected_at(self, steps: Iterable[Step], tree: Any) -> str | None:
        """Return the words that the types have for what is expected at *steps*, or of the keys there."""
        for node in self._annotated_at(steps, tree):
            for part in _with_metadata(node):
                keys = part.key_type if isinstance(part, types.DictType) else part
                if isinstance(keys, types.Metadata) and keys.extra and EXPECTED in keys.extra:
                    return str(keys.extra[EXPECTED])
        return None

    def _types_at(self, steps: Iterable[Step], tree: Any) -> list[types.Type]:
        """Return the types that the structs have for the value at *steps*, chosen by the tags that stand in *tree*."""
        return [member for node in self._annotated_at(steps, tree) for member in _plain(node)]

    def _annotated_at(self, steps: Iterable[Step], tree: Any) -> list[types.Type]:
        found: list[types.Type] = [self._root]
        for step in steps:
            below: list[types.Type] = []
            for node in (member for each in found for member in _plain(each)):
                if isinstance(node, types.CollectionType) and isinstance(step, int):
                    below.append(node.item_type)
                elif isinstance(node, types.DictType):
                    below.append(node.value_type)
                elif isinstance(node, types.StructType) and _is_meant(node, tree):
                    below.extend(field.type for field in node.fields if field.encode_name == step)
            found = below
            tree = value_at(tree, [step])
        return found


def _is_meant(struct: types.StructType, value: Any) -> bool:
    return struct.tag_field is None or (isinstance(value, dict) and value.get(struct.tag_field) == struct.tag)


def _with_metadata(node: types.Type) -> Iterator[types.Type]:
    """Yield *node*, and what stands inside its annotations and unions."""
    yield node
    if isinstance(node, types.Metadata):
        yield from _with_metadata(node.type)
    elif isinstance(node, types.UnionType):
        for member in node.types:
            yield from _with_metadata(member)


def _plain(node: types.Type) -> Iterator[types.Type]:
    """Yield the types that *node* may be, without annotations and unions."""
    for part in _with_metadata(node):
        if not isinstance(part, types.Metadata | types.UnionType):
            yield part
