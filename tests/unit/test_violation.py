"""msgspec's messages, taken apart: each kind of them, as the installed msgspec words it."""

from __future__ import annotations

import time
from typing import Annotated, Any, Literal

import msgspec
import pytest
from msgspec import Meta

from enginehouse.violation import ANY, Bound, Violation, taken_apart, value_at


class A(msgspec.Struct, frozen=True, tag_field="kind", tag="a"):
    """One of two."""

    x: int = 0


class B(msgspec.Struct, tag_field="kind", tag="b"):
    """The other."""


class Root(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """One field for each kind of message."""

    needed: int = 0
    text: Annotated[str, Meta(max_length=2)] | None = None
    word: Annotated[str, Meta(pattern="^a`b$")] | None = None
    number: float = 0.0
    choice: Literal["x", "y"] = "x"
    either: A | B = A()
    many: tuple[A, ...] = ()
    map: dict[Annotated[int, Meta(ge=0)], Annotated[float, Meta(le=1)]] = {}


def violation(**fields: Any) -> Violation:
    body = msgspec.json.encode(fields)
    with pytest.raises(msgspec.ValidationError) as caught:
        msgspec.json.decode(body, type=Root)
    return taken_apart(caught.value, fields)


@pytest.mark.parametrize(
    ("fields", "steps", "about"),
    [
        ({"foo": 1}, (), {"unknown": "foo"}),
        ({"either": {}}, ("either",), {"missing": "kind"}),
        ({"choice": "its - at `$.x`"}, ("choice",), {"choice": "'its - at `$.x`'"}),
        ({"either": {"kind": "c"}}, ("either", "kind"), {"choice": "'c'"}),
        ({"word": "c"}, ("word",), {"pattern": "'^a`b$'"}),
        ({"text": "abc"}, ("text",), {"bound": Bound("str", "<=", "2")}),
        ({"map": {"1": 2}}, ("map", ANY), {"bound": Bound("float", "<=", "1.0")}),
        ({"map": {"-1": 0}}, ("map",), {"bound": Bound("int", ">=", "0"), "is_of_key": True}),
        ({"many": [{}, {"x": "y"}]}, ("many", 1, "x"), {"wanted": ("int",), "got": "str"}),
        ({"text": 5}, ("text",), {"wanted": ("str", "null"), "got": "int"}),
    ],
)
def test_a_message_is_its_place_and_what_it_is_about(
    fields: dict[str, Any], steps: tuple[str | int, ...], about: dict[str, Any]
) -> None:
    found = violation(**fields)
    assert found == Violation(problem=found.problem, steps=steps, **about)


def test_a_number_out_of_range_is_told_as_that() -> None:
    with pytest.raises(msgspec.ValidationError) as caught:
        msgspec.json.decode(b'{"number": 1e999}', type=Root)
    found = taken_apart(caught.value)
    assert (found.steps, found.is_out_of_range) == (("number",), True)


@pytest.mark.parametrize("name", ["q` - at `$.many", "q` - at `$", "a`b", "key` in `$.map"])
def test_an_unknown_field_whose_name_reads_like_a_path_is_told_from_one(name: str) -> None:
    assert violation(**{name: 1}).unknown == name
    assert violation(**{name: 1}).steps == ()


def test_an_unknown_field_with_a_name_of_megabytes_is_told_at_once() -> None:
    name = " - at `$" * 1_000_000
    error = msgspec.ValidationError(f"Object contains unknown field `{name}`")
    began = time.process_time()
    assert taken_apart(error, {name: 1}).unknown == name
    assert time.process_time() - began < 0.2


def test_a_value_of_a_check_of_ones_own_keeps_its_words() -> None:
    error = msgspec.ValidationError("`a` and `b` belong together")
    assert taken_apart(error) == Violation(problem="`a` and `b` belong together")


def test_there_is_nothing_where_a_path_leads_nowhere() -> None:
    data = {"a": [{"b": 1}]}
    assert value_at(data, ("a", 0, "b")) == 1
    for steps in (("b",), ("a", 1), ("a", "b"), ("a", 0, "b", "c")):
        assert value_at(data, steps) is None
