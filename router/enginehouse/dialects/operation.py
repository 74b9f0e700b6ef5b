"""Operations: what the OpenAPI document says of an endpoint, and the document's parts that all of them use."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

Json = dict[str, Any]  # a part of an OpenAPI document: JSON of any shape

_REF = "#/components/schemas/{name}"


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """The OpenAPI operation of an endpoint, with what it refers to.

    `types` are structs whose schemas it needs. `narrower` has, by struct and field, what the decoder enforces and
    the struct cannot say. `refused` are structs that are decoded only so that they can be refused by name.
    """

    document: Json
    types: tuple[type, ...]
    narrower: Mapping[str, Mapping[str, Json]] = {}
    refused: frozenset[str] = frozenset()


def ref(kind: type) -> Json:
    """Refer to the schema of the struct *kind*."""
    return {"$ref": _REF.format(name=kind.__name__)}


def json_body(description: str, kind: type) -> Json:
    """Describe an answer whose body is the struct *kind*."""
    return {"description": description, "content": {"application/json": {"schema": ref(kind)}}}


def schemas(types: Iterable[type], operations: Iterable[Operation]) -> Json:
    """Return the schemas of *types* and of those that *operations* need, by name, without what is always refused."""
    operations = tuple(operations)
    needed = dict.fromkeys([*types, *(kind for operation in operations for kind in operation.types)])
    _, found = msgspec.json.schema_components(list(needed), ref_template=_REF)
    refused = {name for operation in operations for name in operation.refused}
    for name in refused:
        found.pop(name, None)
    for schema in found.values():
        _without(schema, {_REF.format(name=name) for name in refused})
        for field in schema.get("properties", {}).values():
            _raise_description(field)
    for operation in operations:
        for struct, fields in operation.narrower.items():
            for name, narrower in fields.items():
                _narrow(found[struct]["properties"][name], narrower)
    return found


def _without(node: Any, refused: set[str]) -> None:
    """Take references to *refused* out of every choice below *node*."""
    if isinstance(node, list):
        for item in node:
            _without(item, refused)
    elif isinstance(node, dict):
        if "anyOf" in node:
            node["anyOf"] = [choice for choice in node["anyOf"] if choice.get("$ref") not in refused]
        if "discriminator" in node:
            mapping = node["discriminator"]["mapping"]
            node["discriminator"]["mapping"] = {tag: to for tag, to in mapping.items() if to not in refused}
        for below in node.values():
            _without(below, refused)


def _raise_description(field: Json) -> None:
    """Move description and examples from inside `… | null` to the field, where readers look for them."""
    for choice in field.get("anyOf", ()):
        for word in ("description", "examples"):
            if word in choice:
                field.setdefault(word, choice.pop(word))


def _narrow(field: Json, narrower: Json) -> None:
    """Add *narrower* to what *field* is when it is not null; a default belongs to the field itself."""
    choice = next(choice for choice in field["anyOf"] if choice != {"type": "null"})
    for word, value in narrower.items():
        (field if word == "default" else choice)[word] = value
