"""Strict decoding of a table into a struct, with errors that a person can act on."""

from __future__ import annotations

import difflib
import typing
from collections.abc import Iterable
from typing import Any, TypeVar

import msgspec

from enginehouse.violation import ANY, Step, Violation, taken_apart
from enginehouse_plugin.backend import DEVICE_KINDS, KIND_PATTERN

from .errors import ConfigError

T = TypeVar("T")

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


def decode(raw: object, kind: type[T], *, file: str | None, where: str, str_keys: bool = False) -> T:
    """Decode *raw* into *kind*; *where* is the key that holds it. *str_keys*: numbers may be keys, as text.

    Raises:
        ConfigError: it names the key inside *where*, the problem, and for a misspelt key the nearest.
    """
    try:
        return msgspec.convert(raw, kind, str_keys=str_keys)
    except msgspec.ValidationError as error:
        raise _explain(taken_apart(error, raw), kind, file, where) from None


def named_kinds(problem: str) -> str:
    """msgspec's *problem*, with the kinds of device that are known instead of the pattern of all kinds."""
    kinds = f"a kind of device, one word such as {', '.join(DEVICE_KINDS)}"
    return problem.replace(f"`str` matching regex {KIND_PATTERN!r}", kinds)


def suggest(name: str, known: Iterable[str]) -> str:
    """`Did you mean …?` where a known name is near, else the list of known names."""
    known = sorted(known)
    near = difflib.get_close_matches(name, known, n=1)
    if near:
        return f"Did you mean '{near[0]}'?"
    return f"Known here: {', '.join(known)}." if known else "Nothing may stand here."


def _explain(found: Violation, kind: type, file: str | None, where: str) -> ConfigError:
    place = _joined(where, found.steps)
    if found.unknown is not None:
        struct = _struct_in(_kind_at(kind, found.steps))
        known = [field.encode_name for field in msgspec.structs.fields(struct)] if struct else []
        at = _joined(place, (found.unknown,))
        return ConfigError(f"unknown key '{found.unknown}'.", file=file, where=at, fix=suggest(found.unknown, known))
    if found.missing is not None:
        fix = f"Add `{found.missing} = …` there."
        return ConfigError(f"the key '{found.missing}' is missing.", file=file, where=place, fix=fix)
    if found.choice is not None and (allowed := _choices_in(_kind_at(kind, found.steps))):
        listed = ", ".join(str(value) for value in allowed)
        return ConfigError(f"{found.choice} is none of: {listed}.", file=file, where=place)
    problem = named_kinds(found.problem).replace(" | null`", "`")  # TOML has no null
    for word, plain in _WORDS.items():
        problem = problem.replace(word, plain)
    return ConfigError(f"{problem[:1].lower()}{problem[1:]}.", file=file, where=place)


def _joined(where: str, steps: Iterable[Step]) -> str:
    for step in steps:
        where += f"[{step}]" if isinstance(step, int) or step == ANY else f".{step}"
    return where.lstrip(".")


def _kind_at(kind: Any, steps: Iterable[Step]) -> Any:  # any type annotation
    """The annotation that the fields of *steps* lead to from *kind*."""
    for step in steps:
        struct = _struct_in(kind)
        if isinstance(step, int) or step == ANY or struct is None:
            continue
        kind = {field.encode_name: field.type for field in msgspec.structs.fields(struct)}.get(step)
    return kind


def _struct_in(kind: Any) -> type[msgspec.Struct] | None:  # any type annotation
    if isinstance(kind, type):
        return kind if issubclass(kind, msgspec.Struct) else None
    return next((found for part in typing.get_args(kind) if (found := _struct_in(part))), None)


def _choices_in(kind: Any) -> list[Any]:  # any type annotation
    if typing.get_origin(kind) is typing.Literal:
        return list(typing.get_args(kind))
    return [value for part in typing.get_args(kind) for value in _choices_in(part)]
