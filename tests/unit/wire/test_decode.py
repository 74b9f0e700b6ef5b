"""The strict decoder, on a struct that no API has: what it says comes from the struct it was made for."""

from __future__ import annotations

import contextlib
import json
from typing import Annotated, Any, Literal

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Meta

from enginehouse.wire import structure
from enginehouse.wire.decode import Decoder
from enginehouse_plugin.errors import InvalidRequest


class Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Something with a base class for all."""


class Coat(Part, frozen=True, tag_field="kind", tag="coat"):
    """A cover."""

    colour: Literal["red", "green"]
    layers: int = 1


class Lamp(Part, frozen=True, tag_field="kind", tag="lamp"):
    """A light; it may carry more of them."""

    watts: Annotated[float, Meta(gt=0, le=100)]
    more: tuple[Coat | Lamp, ...] = ()


class Room(Part, frozen=True):
    """A room of a level."""

    name: Annotated[str, Meta(pattern="^[a-z]+$", extra={"expected": "small letters"})]
    area: int


class House(Part, frozen=True, kw_only=True):
    """A house."""

    street: Annotated[str, Meta(min_length=1)]
    parts: Annotated[list[Coat | Lamp], Meta(max_length=3)] = []
    levels: dict[Annotated[int, Meta(ge=-2, extra={"expected": "levels, from -2"})], Room] = {}
    labels: dict[Annotated[str, Meta(max_length=4)], int] = {}
    codes: dict[int, str] = {}
    zip: Annotated[str, Meta(pattern="^[0-9]+$")] | None = None
    roof: Annotated[None, Meta(description="Built later.")] = None


DECODER = Decoder(House)


def refusal(**fields: Any) -> InvalidRequest:
    body = json.dumps({"street": "Elm", **fields}).encode()
    with pytest.raises(InvalidRequest) as caught:
        DECODER.decode(body)
    return caught.value


@pytest.mark.parametrize(
    ("fields", "param", "code", "words"),
    [
        ({"door": 1}, "door", "unknown_parameter", "This API does not have it."),
        ({"strett": 1}, "strett", "unknown_parameter", "Did you mean 'street'?"),
        ({"street": ""}, "street", "empty_string", "minimum length 1"),
        ({"street": None}, "street", "invalid_type", "expected a string, but got null"),
        ({"parts": [{}]}, "parts[0].kind", "missing_required_parameter", "'parts[0].kind'"),
        ({"parts": [{"kind": "door"}]}, "parts[0].kind", "invalid_value", "'coat', 'lamp'"),
        ({"parts": [{"kind": "coat", "colour": "blue"}]}, "parts[0].colour", "invalid_value", "'green', 'red'"),
        ({"parts": [{"kind": "lamp", "watts": 0}]}, "parts[0].watts", "decimal_below_min_value", "> 0"),
        ({"parts": [{"kind": "lamp", "watts": 1, "more": [{"kind": "lamp", "watts": 1, "hue": 2}]}]},
         "parts[0].more[0].hue", "unknown_parameter", "Known here: kind, more, watts."),
        ({"parts": [{"kind": "coat", "colour": "red"}] * 4}, "parts", "array_above_max_length", "got length 4"),
        ({"levels": {"1": {"name": "b", "area": 1}, "2": {"name": "B", "area": 1}}}, "levels.2.name",
         "invalid_value", "'B'. Expected small letters."),
        ({"levels": {"x": {"name": "a", "area": 1}}}, "levels.x", "invalid_value", "keys must be levels, from -2."),
        ({"levels": {"0": {"name": "a", "area": 1}, "-3": {"name": "a", "area": 1}}}, "levels.-3",
         "invalid_value", "Invalid key '-3' in 'levels'"),
        ({"labels": {"a": 1, "b": "x", "c": "y"}}, "labels.b", "invalid_type", "got a string"),
        ({"labels": {"a": 1, "abcde": 2}}, "labels.abcde", "string_above_max_length", "at most 4 characters"),
        ({"codes": {"1.0": "x"}}, "codes.1.0", "invalid_value", "keys must be integers in decimal."),
        ({"codes": {"-0": "x"}}, "codes.-0", "invalid_value", "Invalid key '-0'"),
        ({"zip": "x"}, "zip", "invalid_value", "Expected a string matching '^[0-9]+$'."),
        ({"roof": "flat"}, "roof", "unsupported_parameter", "Built later."),
    ],
)  # fmt: skip
def test_a_violation_names_its_place_and_what_is_allowed(
    fields: dict[str, Any], param: str, code: str, words: str
) -> None:
    error = refusal(**fields)
    assert (error.param, error.code) == (param, code)
    assert words in error.message


def test_a_body_that_fits_is_the_struct() -> None:
    room = {"name": "hall", "area": 12}
    body = json.dumps({"street": "Elm", "levels": {"-1": room}, "parts": [{"kind": "lamp", "watts": 5}]}).encode()
    house, unknown = DECODER.decode(body)
    assert (house, unknown) == (House(street="Elm", levels={-1: Room("hall", 12)}, parts=[Lamp(5.0)]), ())


def test_integers_may_have_a_zero_fraction_wherever_the_struct_has_one() -> None:
    body = b"""{"street": "Elm", "labels": {"a": 2.0}, "levels": {"1": {"name": "a", "area": 3e0}},
                "parts": [{"kind": "lamp", "watts": 1, "more": [{"kind": "coat", "colour": "red", "layers": 4.0}]}]}"""
    house, _ = DECODER.decode(body)
    assert (house.labels["a"], house.levels[1].area) == (2, 3)
    assert house.parts == [Lamp(1.0, (Coat("red", 4),))]
    assert refusal(labels={"a": 2.5}).code == "invalid_type"


def test_unknown_fields_are_left_out_and_named_once_for_all_items() -> None:
    lamps = [{"kind": "lamp", "watts": 1, "hue": at} for at in range(2)]
    body = json.dumps({"street": "Elm", "parts": lamps, "door": 1, "levels": {"0": {"name": "a", "area": 1, "x": 0}}})
    house, unknown = DECODER.decode(body.encode(), unknown_fields="report")
    assert unknown == ("parts[].hue", "door", "levels.*.x")
    assert house.parts == [Lamp(1.0), Lamp(1.0)]


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (b'{"street": "a", "street": "b"}', "street"),
        (b'{"street": 5, "street": "b"}', "street"),
        (b'{"street": "a", "labels": {"a": "x", "a": 1}}', "labels.a"),
        (b'{"street": "a", "codes": {"1": "a:b", "1": "\\u003a"}}', "codes.1"),
        (b'{"street": "a", "parts": [{"kind": "lamp", "watts": 1, "\\u0077atts": 2}]}', "parts[0].watts"),
    ],
)
def test_a_key_given_twice_is_refused_whatever_its_values(body: bytes, param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        DECODER.decode(body)
    assert (caught.value.code, caught.value.param) == ("duplicate_key", param)


STRINGS = st.text(alphabet='a:"\\{é\n', max_size=5)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("01"), STRINGS), max_size=4), st.booleans(), st.booleans(), st.booleans())
def test_no_text_of_a_value_hides_a_key_given_twice(
    pairs: list[tuple[str, str]], is_escaped: bool, are_colons_escaped: bool, is_compact: bool
) -> None:
    def written(text: str) -> str:
        found = json.dumps(text, ensure_ascii=is_escaped)
        return found.replace(":", "\\u003A") if are_colons_escaped else found

    colon = ":" if is_compact else " :\t"
    codes = ",".join(f"{written(key)}{colon}{written(value)}" for key, value in pairs)
    body = f'{{"street":"a:b","codes":{{{codes}}}}}'.encode()
    if len({key for key, _ in pairs}) == len(pairs):
        assert DECODER.decode(body)[0].codes == {int(key): value for key, value in pairs}
    else:
        with pytest.raises(InvalidRequest) as caught:
            DECODER.decode(body)
        assert caught.value.code == "duplicate_key"


@pytest.mark.parametrize(
    ("fields", "at_least"),
    [({"levels": {"1": {"name": "a", "area": 1}}}, 2), ({"unknown": 1}, 4), ({"zip": "y"}, 4), ({"street": 1}, 4)],
    ids=["right", "an unknown field", "a wrong value", "a wrong type"],
)
def test_of_a_large_body_no_two_long_calls_follow_each_other(
    fields: dict[str, Any], at_least: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    turns: list[float] = []
    monkeypatch.setattr(structure.time, "sleep", turns.append)
    for size, is_large in ((1_000, False), (2_000_000, True)):
        turns.clear()
        body = json.dumps({"street": "Elm" * size, "codes": {"1": "c" * size}, **fields}).encode()
        with contextlib.nullcontext() if "levels" in fields else pytest.raises(InvalidRequest):
            DECODER.decode(body)
        if is_large:  # typed, then untyped, and encoded to count keys, as far as it goes
            assert len(turns) >= at_least
        else:
            assert not turns
