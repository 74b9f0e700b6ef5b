"""Operations: what the OpenAPI document says of an endpoint, and the document's parts that all of them use."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

import msgspec
from msgspec import inspect

Json = dict[str, Any]  # a part of an OpenAPI document: JSON of any shape

_REF = "#/components/schemas/{name}"


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """The OpenAPI operation of an endpoint, with what it refers to.

    `types` are structs whose schemas it needs. `narrower` has, by struct and field, what the decoder enforces and
    the struct cannot say. `refused` are structs that are decoded only so that they can be refused by name, and
    `untagged` those whose `type` may be left out (see `alone`), or be null too for `null_tagged`. Names of schemas
    begin with `prefix`, as another dialect may have structs of the same names. `below` has the operations of routes
    below the endpoint's own, by the rest of their path and their method.
    """

    document: Json
    types: tuple[type, ...]
    narrower: Mapping[str, Mapping[str, Json]] = {}
    refused: frozenset[str] = frozenset()
    untagged: frozenset[str] = frozenset()
    null_tagged: frozenset[str] = frozenset()
    prefix: str = ""
    below: Mapping[str, Mapping[str, Json]] = {}


def schema_prefix(label: str) -> str:
    """A prefix of names of schemas for the mount with this *label*: `DosAiAtDos_`; nothing for the server's own."""
    words = re.findall(r"[A-Za-z0-9]+", label)
    return "".join(word[0].upper() + word[1:] for word in words) + "_" if words else ""


def ref(kind: type, prefix: str = "") -> Json:
    """Refer to the schema of the struct *kind*, of an operation with *prefix*."""
    return {"$ref": _REF.format(name=prefix + kind.__name__)}


def json_body(description: str, kind: type, prefix: str = "") -> Json:
    """Describe an answer whose body is the struct *kind*, of an operation with *prefix*."""
    return {"description": description, "content": {"application/json": {"schema": ref(kind, prefix)}}}


@cache  # it takes milliseconds, for each mount anew
def alone(kind: type) -> frozenset[str]:
    """Names of the tagged structs in the request *kind* that stand where nothing else can.

    The decoder does without the tag there, and wants it where another struct could stand.
    """
    found: set[str] = set()
    seen: set[type] = set()

    def walk(node: inspect.Type, *, is_alone: bool) -> None:
        match node:
            case inspect.StructType():
                if is_alone and node.tag is not None:
                    found.add(node.cls.__name__)
                if node.cls not in seen:
                    seen.add(node.cls)
                    for field in node.fields:
                        walk(field.type, is_alone=True)
            case inspect.UnionType():
                is_one = sum(isinstance(choice, inspect.StructType) for choice in node.types) == 1
                for choice in node.types:
                    walk(choice, is_alone=is_one)
            case inspect.Metadata():
                walk(node.type, is_alone=is_alone)
            case inspect.ListType() | inspect.VarTupleType():
                walk(node.item_type, is_alone=True)
            case inspect.DictType():
                walk(node.value_type, is_alone=True)

    walk(inspect.type_info(kind), is_alone=True)
    return frozenset(found)


def schemas(types: Iterable[type], operations: Iterable[Operation]) -> Json:
    """Return the schemas of *types* and of those that *operations* need, by name, without what is always refused."""
    operations = tuple(operations)
    found: Json = {}
    for prefix in dict.fromkeys(["", *(operation.prefix for operation in operations)]):
        alike = [operation for operation in operations if operation.prefix == prefix]
        needed = dict.fromkeys([*(() if prefix else types), *(kind for one in alike for kind in one.types)])
        _, its = msgspec.json.schema_components(list(needed), ref_template=_REF.replace("{", prefix + "{"))
        found |= {prefix + name: schema for name, schema in its.items()}
    refused = {operation.prefix + name for operation in operations for name in operation.refused}
    for name in refused:
        found.pop(name, None)
    for schema in found.values():
        _without(schema, {_REF.format(name=name) for name in refused})
        for field in schema.get("properties", {}).values():
            _raise_description(field)
    for name in {one.prefix + name for one in operations for name in one.untagged | one.null_tagged}:
        found[name]["required"].remove("type")
    for operation in operations:
        for name in operation.null_tagged:
            fields = found[operation.prefix + name]["properties"]
            fields["type"] = {"anyOf": [fields["type"], {"type": "null"}]}
        for struct, fields in operation.narrower.items():
            for name, narrower in fields.items():
                _narrow(found[operation.prefix + struct]["properties"][name], narrower)
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
