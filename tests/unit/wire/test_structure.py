"""A body has a budget of values, whatever they are and wherever they stand."""

from __future__ import annotations

import json
from typing import Any

import pytest

from enginehouse.wire.structure import MAX_BODY_VALUES, check_values
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
