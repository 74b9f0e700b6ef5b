"""The request as a profile has it: the dialect's struct with the profile's bounds, which the decoder then enforces."""

from __future__ import annotations

import types
from collections.abc import Mapping
from functools import lru_cache
from typing import Annotated, Any, Literal, Union, cast, get_args, get_origin

import msgspec
from msgspec import Meta

from enginehouse.dialects.openai.chat.messages import ChatMessage
from enginehouse.dialects.openai.chat.request import ChatRequest
from enginehouse.dialects.profiles import built_in
from enginehouse.wire.decode import Decoder
from enginehouse_plugin import Profile
from enginehouse_plugin.profile import Field

_META = ("gt", "ge", "lt", "le", "multiple_of", "pattern", "min_length", "max_length", "tz", "title", "description",
         "examples", "extra_json_schema", "extra")  # fmt: skip
_BY_CUSTOM = "openai"
"""The profile whose bounds hold where another has none: the dialect's own."""


def bounds(profile: Profile) -> Mapping[str, Field]:
    """Return the fields of *profile*, and the dialect's own where it has no bounds for one."""
    own = built_in()[_BY_CUSTOM].fields
    return {**own, **{name: _over(own.get(name), field) for name, field in profile.fields.items()}}


def _over(base: Field | None, field: Field) -> Field:
    if base is None:
        return field
    missing = {
        name: getattr(base, name) for name in ("minimum", "maximum", "max_items") if getattr(field, name) is None
    }
    return msgspec.structs.replace(field, **missing)


def decoder(profile: Profile) -> Decoder[ChatRequest]:
    """Return what decodes requests as *profile* has them."""
    return _decoder(msgspec.json.encode(profile))


@lru_cache(32)
def _decoder(profile: bytes) -> Decoder[ChatRequest]:
    # Making one takes tens of milliseconds, and the tables of a profile have no hash.
    return Decoder(narrowed(msgspec.json.decode(profile, type=Profile)))


def narrowed(profile: Profile) -> type[ChatRequest]:
    """Make the struct of a request as *profile* has it."""
    found = bounds(profile)
    fields: list[tuple[str, Any, Any]] = []
    for field in msgspec.structs.fields(ChatRequest):
        kind = field.type
        if field.name in found:
            kind = _narrow(kind, found[field.name], is_strict=profile.strict_profile)
        if field.name == "messages" and profile.roles:
            kind = _messages(kind, profile.roles)
        if kind is not field.type:
            fields.append((field.name, kind, field.default))
    made = msgspec.defstruct(
        ChatRequest.__name__, fields, bases=(ChatRequest,), module=__name__, frozen=True, kw_only=True
    )
    return cast("type[ChatRequest]", made)


def _messages(kind: Any, roles: tuple[str, ...]) -> Any:  # any type annotation
    members: Any = tuple(each for each in get_args(ChatMessage) if each.__struct_config__.tag in roles)
    messages: Any = tuple.__class_getitem__((Union[members], ...))  # noqa: UP007  # made of a list
    _, *metas = get_args(kind)
    return Annotated[messages, *metas]


def _narrow(kind: Any, field: Field, *, is_strict: bool) -> Any:  # any type annotation
    origin = get_origin(kind)
    if origin is Annotated:
        base, *metas = get_args(kind)
        base = _narrow(base, field, is_strict=is_strict)
        return Annotated[base, *[_narrower(meta, field) for meta in metas]]
    if origin in (Union, types.UnionType):
        return Union[tuple(_narrow(each, field, is_strict=is_strict) for each in get_args(kind))]  # noqa: UP007
    if origin is Literal and field.values and (is_strict or not field.is_open):
        return Literal[tuple(value for value in get_args(kind) if value in field.values)]
    if origin is tuple and field.max_items is not None:
        return Annotated[kind, Meta(max_length=field.max_items)]
    return kind


def _narrower(meta: Meta, field: Field) -> Meta:
    """*meta*, where it bounds a number, with the bounds of *field*."""
    changed = {}
    if meta.ge is not None and field.minimum is not None:
        changed["ge"] = field.minimum
    if meta.le is not None and field.maximum is not None:
        changed["le"] = field.maximum
    if not changed:
        return meta
    said = {name: value for name in _META if (value := getattr(meta, name)) is not None}
    return Meta(**(said | changed))
