"""What msgspec says of data that does not fit a type, taken apart: its messages are read here, and nowhere else."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, NamedTuple

import msgspec

Step = str | int
"""One step into data: a field's name, a key, an index, or `ANY`."""

ANY = "..."
"""msgspec's step to "some value of this object"."""

_AT = " - at `"
_PLACE = re.compile(r"(?P<key>key` in `)?\$(?P<path>[^`]*)`")
_STEP = re.compile(r"\[(\d+|\.\.\.)\]|([^.\[]+)")
_LONGEST_PLACE = 500  # what is longer is no path of ours, but somebody's text that reads like one

_UNKNOWN = "Object contains unknown field `"
_MISSING = "Object missing required field `"
_CHOICE = re.compile(r"Invalid (?:enum )?value (?P<value>.*)", re.DOTALL)
_PATTERN = "Expected `str` matching regex "
_BOUND = re.compile(r"Expected `(?P<type>\w+)`(?: of length)? (?P<sign>>=|<=|>|<) (?P<limit>\S+)")
_TYPES = re.compile(r"Expected `(?P<wanted>[^`]*)`(?:, got `(?P<got>[^`]*)`)?")


class Bound(NamedTuple):
    """A limit: of a number's value, or of the length of what is no number."""

    type: str
    sign: str
    limit: str


class Violation(msgspec.Struct, frozen=True, kw_only=True):
    """`problem` is what is wrong, in msgspec's words; `steps` lead to it. Of the rest at most one says more.

    With `is_of_key` a key of the object there is meant, not a value. `unknown` and `missing` name a field of the
    object there. `choice` is a value, as msgspec writes it, that is none of those allowed. `wanted` are msgspec's
    names of the types that would do, and `got` is that of what was there, if msgspec says so.
    """

    problem: str
    steps: tuple[Step, ...] = ()
    is_of_key: bool = False
    unknown: str | None = None
    missing: str | None = None
    choice: str | None = None
    pattern: str | None = None
    bound: Bound | None = None
    is_out_of_range: bool = False
    wanted: tuple[str, ...] = ()
    got: str | None = None


def taken_apart(error: msgspec.ValidationError, data: Any = None) -> Violation:
    """Say what *error* is about; *data*, decoded without types, tells the name of an unknown field from a path."""
    message = str(error)
    problem, is_of_key = message, False
    steps: tuple[Step, ...] = ()
    at = message.rfind(_AT)  # names in it may be megabytes long, and a pattern would look at each character
    place = _PLACE.fullmatch(message, at + len(_AT)) if at >= 0 and len(message) - at <= _LONGEST_PLACE else None
    if place is not None:
        problem, steps, is_of_key = message[:at], _steps(place["path"]), place["key"] is not None
    if message.startswith(_UNKNOWN):
        name = problem.removeprefix(_UNKNOWN)[:-1]
        whole = message.removeprefix(_UNKNOWN)[:-1]
        # A field of the outermost object may have a name that reads like a path.
        if name != whole and not _holds(value_at(data, steps), name) and _holds(data, whole):
            return Violation(problem=message, unknown=whole)
        return Violation(problem=problem, steps=steps, unknown=name)
    about: dict[str, Any] = {}
    if problem.startswith(_MISSING):
        about["missing"] = problem.removeprefix(_MISSING)[:-1]
    elif choice := _CHOICE.fullmatch(problem):
        about["choice"] = choice["value"]
    elif problem.startswith(_PATTERN):
        about["pattern"] = problem.removeprefix(_PATTERN)
    elif bound := _BOUND.fullmatch(problem):
        about["bound"] = Bound(*bound.groups())
    elif types := _TYPES.fullmatch(problem):
        about.update(wanted=tuple(types["wanted"].split(" | ")), got=types["got"])
    elif problem.endswith("out of range"):
        about["is_out_of_range"] = True
    return Violation(problem=problem, steps=steps, is_of_key=is_of_key, **about)


def value_at(data: Any, steps: Iterable[Step]) -> Any:
    """Return the value at *steps* below *data*, None where there is none."""
    for step in steps:
        if isinstance(data, dict):
            data = data.get(step)
        elif isinstance(data, list) and isinstance(step, int) and step < len(data):
            data = data[step]
        else:
            return None
    return data


def _holds(data: Any, name: str) -> bool:
    return isinstance(data, dict) and name in data


def _steps(path: str) -> tuple[Step, ...]:
    return tuple(name or (index if index == ANY else int(index)) for index, name in _STEP.findall(path))
