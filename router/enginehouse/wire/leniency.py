"""The two liberties that a body may take: integers written like `5.0`, and, where configured, unknown fields.

The typed decode refuses both; a body that takes them is mended in one pass over its untyped form and decoded again.
One liberty that the typed decode takes itself is found here too: the key "-0" where "0" is meant.
"""

from __future__ import annotations

from typing import Any

import msgspec.inspect as types

from enginehouse.violation import Step, Violation

_EXACT = 2**53
"""From here on a float no longer tells which integer is meant, so those stay refused."""


class _Shape:
    """What the structs have at one place: structs by tag, items or values, an integer; none of them: anything."""

    def __init__(self) -> None:
        self.tag_field: str | None = None
        self.structs: dict[Any, dict[str, _Shape]] = {}
        self.item: _Shape | None = None
        self.value: _Shape | None = None
        self.is_integer = False
        self.has_integer_keys = False

    def fields_of(self, value: dict[str, Any]) -> dict[str, _Shape] | None:
        """Return the fields of the struct that *value* is meant to be."""
        tag = value.get(self.tag_field) if self.tag_field is not None else None
        return self.structs.get(tag) if isinstance(tag, str | None) else None


class Leniency:
    """The liberties that bodies of the struct *root* may take."""

    def __init__(self, root: type) -> None:
        self._known: dict[type, dict[str, _Shape]] = {}  # structs may hold themselves
        self._root = self._shape(types.type_info(root))
        self._with_integer_keys = frozenset(
            name for name, shape in self._root.structs[None].items() if _reaches_integer_keys(shape, set())
        )

    @staticmethod
    def is_mendable(violation: Violation, *, report_unknown: bool) -> bool:
        """Whether *violation* may be about one of the two liberties."""
        if violation.unknown is not None:
            return report_unknown
        return "int" in violation.wanted and violation.got == "float"

    def mend(self, tree: Any, *, report_unknown: bool) -> tuple[str, ...]:
        """Mend *tree*, a whole body decoded without types, in place; return the unknown fields it had.

        Fields of an array's items are named once for all: `messages[].id`.
        """
        unknown: dict[str, None] = {}
        _mend(tree, self._root, "", unknown if report_unknown else None)
        return tuple(unknown)

    def minus_zero(self, tree: dict[str, Any]) -> tuple[Step, ...] | None:
        """Return the path of a key "-0" of *tree* that the typed decode took for 0, which "0" may name too."""
        if self._with_integer_keys.isdisjoint(tree):
            return None
        return _minus_zero(tree, self._root, ())

    def _shape(self, node: types.Type) -> _Shape:
        shape = _Shape()
        self._fill(shape, node)
        return shape

    def _fill(self, shape: _Shape, node: types.Type) -> None:
        if isinstance(node, types.Metadata):
            self._fill(shape, node.type)
        elif isinstance(node, types.UnionType):
            for member in node.types:
                self._fill(shape, member)
        elif isinstance(node, types.StructType):
            if node.tag_field is not None:
                shape.tag_field = node.tag_field
            shape.structs[node.tag] = self._fields(node)
        elif isinstance(node, types.CollectionType):
            shape.item = self._shape(node.item_type)
        elif isinstance(node, types.DictType):
            shape.value = self._shape(node.value_type)
            shape.has_integer_keys = self._shape(node.key_type).is_integer
        elif isinstance(node, types.IntType):
            shape.is_integer = True

    def _fields(self, struct: types.StructType) -> dict[str, _Shape]:
        fields = self._known.get(struct.cls)
        if fields is None:
            fields = self._known[struct.cls] = {}
            if struct.tag_field is not None:
                fields[struct.tag_field] = _Shape()
            for field in struct.fields:
                fields[field.encode_name] = self._shape(field.type)
        return fields


def _mend(value: Any, shape: _Shape, path: str, unknown: dict[str, None] | None) -> Any:
    if isinstance(value, dict):
        fields = shape.fields_of(value)
        if fields is not None:
            for name in list(value):
                at = f"{path}.{name}" if path else name
                if name in fields:
                    value[name] = _mend(value[name], fields[name], at, unknown)
                elif unknown is not None:
                    unknown[at] = None
                    del value[name]
        elif shape.value is not None:
            for name in value:
                value[name] = _mend(value[name], shape.value, f"{path}.*", unknown)
    elif isinstance(value, list):
        if shape.item is not None:
            at = f"{path}[]"
            value[:] = [_mend(item, shape.item, at, unknown) for item in value]
    elif shape.is_integer and isinstance(value, float) and value.is_integer() and abs(value) < _EXACT:
        return int(value)
    return value


def _minus_zero(value: Any, shape: _Shape, path: tuple[Step, ...]) -> tuple[Step, ...] | None:
    below: list[tuple[Step, Any, _Shape]] = []
    if isinstance(value, dict):
        if shape.has_integer_keys and "-0" in value:
            return (*path, "-0")
        fields = shape.fields_of(value)
        for name, each in value.items():
            at = shape.value if fields is None else fields.get(name)
            if at is not None:
                below.append((name, each, at))
    elif isinstance(value, list) and shape.item is not None:
        below.extend((index, each, shape.item) for index, each in enumerate(value))
    return next((found for step, each, at in below if (found := _minus_zero(each, at, (*path, step)))), None)


def _reaches_integer_keys(shape: _Shape, seen: set[int]) -> bool:
    if shape.has_integer_keys:
        return True
    if id(shape) in seen:
        return False
    seen.add(id(shape))
    below = [each for fields in shape.structs.values() for each in fields.values()]
    return any(_reaches_integer_keys(each, seen) for each in (*below, shape.item, shape.value) if each is not None)
