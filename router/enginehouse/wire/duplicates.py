"""Keys that an object gives twice: decoders take the last of them in silence."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import msgspec.inspect as types

from enginehouse.violation import Step
from enginehouse.wire.structure import count, holds, let_others

_encode = msgspec.json.Encoder().encode
_ESCAPED_COLON = b"\\u003"
_ESCAPED_ASCII = b"\\u00"


class Proof:
    """Proves of most bodies that no object of them gives a key twice, from what they were decoded to: a *root*.

    What was decoded has each key once, so its encoding has as many colons as the body only if none was dropped. What
    is encoded although the body has it not could make up for a dropped key. So all structs must omit their defaults,
    and no object may be there whose tag can be left out, which the name of a field that it must have tells.
    """

    _MOST_BYTES = 1 << 16

    def __init__(self, root: type[msgspec.Struct]) -> None:
        names: set[str] = set()
        structs: set[type] = set()
        _gather_untold(types.type_info(root), names, structs)
        self._untold = tuple(b'"%b"' % name.encode() for name in sorted(names))
        self._can_tell = all(_omits_defaults(struct) for struct in structs)

    def holds(self, body: bytes, decoded: msgspec.Struct) -> bool:
        """Whether it is proven for *body*, of which *decoded* was made. Bodies that escape ASCII are left open."""
        if not self._can_tell or len(body) > self._MOST_BYTES or body.find(_ESCAPED_ASCII) >= 0:
            return False
        for name in self._untold:
            if body.find(name) >= 0:  # `in` takes bytes for a number first, and makes an error of that
                return False
        return body.count(b":") == _encode(decoded).count(b":")


def duplicate_key(body: bytes, tree: Any) -> tuple[Step, ...] | None:
    """Return the path of a key that an object of *body* gives twice, at any depth; *tree* is what it decodes to.

    A tree has each key once, so its encoding has as many colons as the body, unless some were dropped with a key.
    Each key has a colon of its own; those inside of strings are the same in both, as no encoder escapes a colon.
    So the same number of them proves that nothing was dropped. Where a client escapes colons, keys are counted.
    """
    if not holds(body, _ESCAPED_COLON):
        encoded = _encode(tree)
        let_others(len(encoded))
        if count(body, b":") == count(encoded, b":"):
            return None
        del encoded
    try:
        json.loads(body, object_pairs_hook=_refuse_pairs)
    except _Duplicate:
        return _path_of_duplicate(json.loads(body, object_pairs_hook=_Pairs))
    return None


class _Duplicate(Exception):
    """An object gives a key twice."""


class _Pairs(list[tuple[str, Any]]):
    """An object as its pairs, told apart from an array."""


def _refuse_pairs(pairs: list[tuple[str, Any]]) -> None:
    if len(pairs) > 1 and len(dict(pairs)) != len(pairs):
        raise _Duplicate


def _path_of_duplicate(value: Any) -> tuple[Step, ...]:
    """Find the first key that an object of *value* gives twice."""
    waiting: list[tuple[Any, tuple[Step, ...]]] = [(value, ())]
    while waiting:
        node, path = waiting.pop()
        seen: set[Step] = set()
        for step, below in node if isinstance(node, _Pairs) else enumerate(node):
            if step in seen:
                return (*path, step)
            seen.add(step)
            if isinstance(below, list):
                waiting.append((below, (*path, step)))
    return ()


def _gather_untold(node: types.Type, names: set[str], seen: set[type]) -> None:
    """Add to *names* a field of each struct whose tag may be left out: tags are asked for in unions alone."""
    if isinstance(node, types.Metadata):
        _gather_untold(node.type, names, seen)
    elif isinstance(node, types.UnionType):
        structs = sum(isinstance(member, types.StructType) for member in node.types)
        for member in node.types:
            if structs > 1 and isinstance(member, types.StructType):
                _gather_fields(member, names, seen)
            else:
                _gather_untold(member, names, seen)
    elif isinstance(node, types.StructType):
        if node.tag is not None:
            names.add(next(field.encode_name for field in node.fields if field.required))
        _gather_fields(node, names, seen)
    elif isinstance(node, types.CollectionType):
        _gather_untold(node.item_type, names, seen)
    elif isinstance(node, types.TupleType):
        for item in node.item_types:
            _gather_untold(item, names, seen)
    elif isinstance(node, types.DictType):
        _gather_untold(node.value_type, names, seen)


def _omits_defaults(struct: Any) -> bool:  # any struct's class: what stands in it is msgspec's to type
    return bool(struct.__struct_config__.omit_defaults or not struct.__struct_defaults__)


def _gather_fields(node: types.StructType, names: set[str], seen: set[type]) -> None:
    if node.cls not in seen:
        seen.add(node.cls)
        for field in node.fields:
            _gather_untold(field.type, names, seen)
