"""One strict typed decode: bytes of a body to a `ChatRequest`; every violation is an `InvalidRequest`.

A body that is right costs one typed decode and one round trip that proves that no key is given twice; what is
wrong with any other body is worked out in `problems`.
"""

from __future__ import annotations

import json
from typing import Any, Literal

import msgspec

from enginehouse.dialects.openai.chat.request import ChatRequest
from enginehouse.dialects.openai.chat.rules import check
from enginehouse.wire import leniency, problems
from enginehouse.wire.json_schema import check_free_form
from enginehouse.wire.places import Step

_decode = msgspec.json.Decoder(ChatRequest).decode
_decode_untyped = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode

UnknownFields = Literal["refuse", "report"]


def decode_chat(body: bytes, *, unknown_fields: UnknownFields = "refuse") -> tuple[ChatRequest, tuple[str, ...]]:
    """Decode *body*; return the request and the names of its unknown fields (none with `"refuse"`).

    A number like `5.0` is an integer where one is wanted, as JSON Schema has it; nothing else is converted.

    Raises:
        InvalidRequest: with the field in `param`.
    """
    unknown: tuple[str, ...] = ()
    try:
        try:
            chat = _decode(body)
        except msgspec.ValidationError as error:
            chat, unknown = _decode_mended(body, error, unknown_fields)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise problems.malformed(body, error) from error
        check_free_form(chat)
        _refuse_duplicates(body, chat)
    except RecursionError as error:
        raise problems.too_deep() from error
    check(chat)
    return chat, unknown


def _decode_mended(
    body: bytes, error: msgspec.ValidationError, unknown_fields: UnknownFields
) -> tuple[ChatRequest, tuple[str, ...]]:
    """Decode a body that *error* was about, if all it needs is leniency."""
    try:
        tree = _decode_untyped(body)
    except msgspec.ValidationError as out_of_range:
        raise problems.number_out_of_range(error, out_of_range) from out_of_range
    except (msgspec.DecodeError, UnicodeDecodeError) as malformed:
        raise problems.malformed(body, malformed) from malformed
    report = unknown_fields == "report"
    unknown: tuple[str, ...] = ()
    if leniency.is_mendable(error, report_unknown=report):
        unknown = leniency.mend(tree, report_unknown=report)
        try:
            return _decode(_encode(tree)), unknown
        except msgspec.ValidationError as left:
            error = left
    raise problems.violation(error, tree) from error


def _refuse_duplicates(body: bytes, chat: ChatRequest) -> None:
    """Refuse a key that is given twice in an object, at any depth (msgspec takes the last in silence).

    A decode into dicts drops duplicates, so a body that is the encoding of its own decode has none. That
    proof runs at C speed and fails for harmless reasons too (escapes, forms of numbers): then each object's keys
    are counted.
    """
    tree = _decode_untyped(body)
    again = _encode(tree)
    if again != body and again != msgspec.json.format(body, indent=-1):
        try:
            json.loads(body, object_pairs_hook=_refuse_pairs)
        except _Duplicate as error:
            path = _path_of_duplicate(json.loads(body, object_pairs_hook=_Pairs))
            raise problems.duplicate_key(path) from error
    # msgspec reads the key "-0" as the token id 0, which "0" may name too.
    if chat.logit_bias is not None and "-0" in tree["logit_bias"]:
        raise problems.bad_token_id(("logit_bias",), "-0")


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
