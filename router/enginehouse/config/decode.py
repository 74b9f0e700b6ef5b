"""Strict decoding of a table into a struct, with errors that a person can act on."""

from __future__ import annotations

import difflib
import re
import typing
from typing import Any, TypeVar

import msgspec

from enginehouse_plugin.backend import DEVICE_KINDS, KIND_PATTERN

from .errors import ConfigError

T = TypeVar("T")

_MESSAGE = re.compile(r"(?P<problem>.*?)(?: - at `(?:key in )?\$(?P<path>.*)`)?", re.DOTALL)
_UNKNOWN = re.compile(r"Object contains unknown field `(?P<name>.*)`")
_CHOICE = re.compile(r"Invalid enum value '(?P<value>.*)'")
_MISSING = re.compile(r"Object missing required field `(?P<name>.*)`")
_STEP = re.compile(r"\.(?P<name>[^.\[]+)|\[(?:\d+|\.\.\.)\]")
# msgspec speaks of JSON and Python; the reader of a TOML file does not.
_WORDS = {
    "`object`": "a table",
    "`array`": "an array",
    "`str`": "a string",
    "`int`": "a whole number",
    "`float`": "a number",
    "`bool`": "true or false",
    "`float | str`": "a string or a number",
    "`date`": "a date",
    "`datetime`": "a date and time",
}


def decode(raw: object, kind: type[T], *, file: str | None, where: str) -> T:
    """Decode *raw* into *kind*; *where* is the key that holds it.

    Raises:
        ConfigError: it names the key inside *where*, the problem, and for a misspelt key the nearest.
    """
    try:
        return msgspec.convert(raw, kind)
    except msgspec.ValidationError as error:
        raise _explain(str(error), kind, file, where) from None


def named_kinds(problem: str) -> str:
    """msgspec's *problem*, with the kinds of device that are known instead of the pattern of all kinds."""
    kinds = f"a kind of device, one word such as {', '.join(DEVICE_KINDS)}"
    return problem.replace(f"`str` matching regex {KIND_PATTERN!r}", kinds)


def suggest(name: str, known: typing.Iterable[str]) -> str:
    """`Did you mean …?` where a known name is near, else the list of known names."""
    known = sorted(known)
    near = difflib.get_close_matches(name, known, n=1)
    if near:
        return f"Did you mean '{near[0]}'?"
    return f"Known here: {', '.join(known)}." if known else "Nothing may stand here."


def _explain(message: str, kind: type, file: str | None, where: str) -> ConfigError:
    match = _MESSAGE.fullmatch(message)
    problem, path = (match["problem"], match["path"] or "") if match else (message, "")
    place = f"{where}{path}".lstrip(".")
    if unknown := _UNKNOWN.fullmatch(problem):
        name = unknown["name"]
        struct = _struct_in(_kind_at(kind, path))
        known = [field.encode_name for field in msgspec.structs.fields(struct)] if struct else []
        return ConfigError(
            f"unknown key '{name}'.", file=file, where=f"{place}.{name}".lstrip("."), fix=suggest(name, known)
        )
    if absent := _MISSING.fullmatch(problem):
        name = absent["name"]
        return ConfigError(f"the key '{name}' is missing.", file=file, where=place, fix=f"Add `{name} = …` there.")
    if choice := _CHOICE.fullmatch(problem):
        allowed = [str(value) for value in _choices_in(_kind_at(kind, path))]
        return ConfigError(f"'{choice['value']}' is none of: {', '.join(allowed)}.", file=file, where=place)
    problem = named_kinds(problem).replace(" | null`", "`")  # TOML has no null
    for word, plain in _WORDS.items():
        problem = problem.replace(word, plain)
    return ConfigError(f"{problem[:1].lower()}{problem[1:]}.", file=file, where=place)


def _kind_at(kind: Any, path: str) -> Any:  # any type annotation
    """The annotation that the fields of *path* lead to from *kind*."""
    for step in _STEP.finditer(path):
        struct = _struct_in(kind)
        if step["name"] is None or struct is None:
            continue
        kind = {field.encode_name: field.type for field in msgspec.structs.fields(struct)}.get(step["name"])
    return kind


def _struct_in(kind: Any) -> type[msgspec.Struct] | None:  # any type annotation
    if isinstance(kind, type):
        return kind if issubclass(kind, msgspec.Struct) else None
    return next((found for part in typing.get_args(kind) if (found := _struct_in(part))), None)


def _choices_in(kind: Any) -> list[Any]:  # any type annotation
    if typing.get_origin(kind) is typing.Literal:
        return list(typing.get_args(kind))
    return [value for part in typing.get_args(kind) for value in _choices_in(part)]
