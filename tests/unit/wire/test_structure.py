"""A body has a budget of values, whatever they are and wherever they stand."""

from __future__ import annotations

import json
from typing import Any

import pytest

from enginehouse.wire.structure import MAX_BODY_VALUES, MAX_DEPTH, check_values, is_too_deep
from enginehouse_plugin.errors import InvalidRequest


@pytest.mark.parametrize(
    "value",
    [
        [0] * (MAX_BODY_VALUES - 1),
        {f"a long name, with commas [{{ {at}": "" for at in range(MAX_BODY_VALUES - 1)},
        [["a, b [c] {d}: e"]] * ((MAX_BODY_VALUES - 1) // 2),
        ["a, b [c] {d}: e" * 10 * MAX_BODY_VALUES],
        ['quotes: "a", "b", \\", \\' * MAX_BODY_VALUES],
    ],
    ids=["numbers", "keys", "arrays", "text", "quotes"],
)
def test_a_body_of_as_many_values_as_are_allowed_is_read(value: Any) -> None:
    check_values(json.dumps(value).encode())


@pytest.mark.parametrize(
    "value",
    [
        [0] * (2 * MAX_BODY_VALUES),
        {f"name {at}": "" for at in range(MAX_BODY_VALUES + 1)},
        [["text"]] * MAX_BODY_VALUES,
        ["text"] * (5 * MAX_BODY_VALUES),
    ],
    ids=["numbers", "keys", "arrays", "texts"],
)
def test_a_body_of_more_values_is_refused_before_it_is_decoded(value: Any) -> None:
    with pytest.raises(InvalidRequest, match=f"more than {MAX_BODY_VALUES} values") as refused:
        check_values(json.dumps(value).encode())
    assert refused.value.code == "too_large"


def test_what_is_no_json_is_left_to_the_decoder() -> None:
    check_values(b'"' * 3 + b" " * 3 * MAX_BODY_VALUES)


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b"[" * MAX_DEPTH + b"]" * MAX_DEPTH, False),
        (b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1), True),
        (b'{"a":[' * 64 + b"1" + b"]}" * 64, False),
        (b'{"a":[' * 65 + b"1" + b"]}" * 65, True),
        (b"[" + b"[]," * 1000 + b"[]]", False),
        (b'{"a":"' + b"[" * 1000 + b'\\"' + b"{" * 1000 + b'"}', False),
        (b"[" * (MAX_DEPTH + 1), True),
        (b"]" * 1000 + b"[" * MAX_DEPTH, False),
        (b"", False),
    ],
)
def test_levels_are_counted_outside_of_strings_whether_they_end_or_not(body: bytes, told: bool) -> None:
    assert is_too_deep(body) is told
